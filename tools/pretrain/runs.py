"""What the commands share: workdir, device, recipe, result."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tools.pretrain.training import Recipe, Trained
from trainer import devices, strategies
from trainer.errors import TrainerError
from trainer.workdir import RESULT, Workdir

_REQUEST = "request.json"


def open_workdir(args: argparse.Namespace) -> Workdir:
    """The folder that `--workdir` names, made where it is missing."""
    workdir = Workdir(args.workdir)
    workdir.create()
    return workdir


def settle(workdir: Workdir, args: argparse.Namespace) -> None:
    """Remembers what a training was asked for, or insists on it.

    Raises:
      TrainerError: the workdir holds a training of another request.
    """
    asked = {
        name: value
        for name, value in vars(args).items()
        if name not in ("run", "workdir")
    }
    stored = workdir.read_json(_REQUEST)
    if stored is None:
        workdir.write_json(_REQUEST, asked)
    elif stored != asked:
        names = sorted(
            name
            for name in {*stored, *asked}
            if stored.get(name) != asked.get(name)
        )
        raise TrainerError(
            f"{workdir.path}: began with another"
            f" {' and '.join(f'--{name}' for name in names)}; give the same"
            " flags to go on, or another --workdir"
        )


def one_device(args: argparse.Namespace) -> tf.distribute.Strategy:
    """The one device of this process, ready for a batch."""
    devices.configure(logical_cpus=1)
    batch_size = getattr(args, "batch_size", 1)
    return strategies.make_strategy("one_device", batch_size, 1)


def recipe_of(args: argparse.Namespace, steps: int) -> Recipe:
    """The flags as a recipe."""
    return Recipe(
        steps=steps,
        learning_rate=args.learning_rate,
        warmup_steps=args.warmup_steps,
        weight_decay=args.weight_decay,
        clip_global_norm=args.clip_global_norm,
        log_every_steps=args.log_every_steps,
        validate_every_steps=args.validate_every_steps,
    )


def facts(
    args: argparse.Namespace, steps: int, trained: Trained
) -> dict[str, Any]:
    """What every result says about how it came about."""
    arguments = [_without_folders(argument) for argument in sys.argv[1:]]
    return {
        "steps": steps,
        "images_seen": steps * args.batch_size,
        "image_size": args.image_size,
        "seconds": round(trained.seconds),
        "command": shlex.join(["python", "-m", "tools.pretrain", *arguments]),
        "seed": args.seed,
        "finished": time.strftime("%Y-%m-%d", time.gmtime()),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
        "cpu_count": os.cpu_count(),
    }


def _without_folders(argument: str) -> str:
    """--workdir=/some/where/a as --workdir=a: where it lies is nobody's."""
    name, equals, value = argument.partition("=")
    if name in ("--workdir", "--init_from", "--dataset"):
        value = os.path.basename(os.path.normpath(value))
    return f"{name}{equals}{value}"


def finish(workdir: Workdir, result: dict[str, Any]) -> None:
    """Writes the result, and shows it."""
    workdir.write_json(RESULT, result)
    print(json.dumps(result, indent=2), flush=True)
