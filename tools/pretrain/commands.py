"""The commands: what each does, once its arguments are parsed."""

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

from tools.pretrain import backbone as backbones
from tools.pretrain.batches import held_out_batches, training_batches
from tools.pretrain.catalogue import picture_classes
from tools.pretrain.pool import Pool, draw_pool
from tools.pretrain.training import STAGE, Recipe, Trained, train
from trainer import devices
from trainer.config import Config
from trainer.data.pipeline import (
    Shard,
    steps_per_epoch,
)
from trainer.data.pipeline import (
    training_batches as photo_batches,
)
from trainer.errors import TrainerError
from trainer.prepare import read_manifest
from trainer.results.evaluate import Evaluator
from trainer.train.checkpoints import find_checkpoint, restore_variables
from trainer.train.steps import make_evaluation_function
from trainer.workdir import RESULT, Workdir


def draw(args: argparse.Namespace) -> None:
    """Draws the pictures."""
    _pool(args, _workdir(args))


def train_backbone(args: argparse.Namespace) -> None:
    """Trains on the pictures, drawing them first where they are missing."""
    workdir = _workdir(args)
    pool = _pool(args, workdir)
    strategy = _strategy(args)
    num_classes = len(picture_classes())
    classifier = backbones.random_classifier(
        num_classes, image_px=args.image_size, seed=args.seed,
        strategy=strategy,
    )  # fmt: skip

    if args.init_from:
        restore_variables(_last(Workdir(args.init_from)), classifier.variables)

    def batches(step: int) -> tf.data.Dataset:
        return training_batches(
            pool,
            batch_size=args.batch_size,
            image_px=args.image_size,
            seed=args.seed,
            start_step=step,
            total_steps=args.steps,
        )

    evaluation = make_evaluation_function(
        strategy, classifier, num_classes, xla=False
    )

    def evaluate() -> tuple[float, float]:
        data = held_out_batches(
            pool, batch_size=args.batch_size, image_px=args.image_size
        )
        sums = evaluation(
            iter(strategy.experimental_distribute_dataset(data)),
            steps_per_epoch(pool.held_out, args.batch_size),
        )
        count = float(sums["count"])
        correct = float(np.trace(sums["confusion"]))
        return float(sums["loss"]) / count, correct / count

    trained = train(
        classifier,
        _recipe(args, args.steps),
        strategy=strategy,
        batches=batches,
        evaluate=evaluate,
        workdir=workdir,
    )
    drawing = workdir.read_json("pictures.json") or {}
    earlier = (
        {"init_from": Workdir(args.init_from).read_json(RESULT)}
        if args.init_from
        else {}
    )
    _finish(
        workdir,
        {
            "held_out_accuracy": trained.accuracy,
            "held_out_loss": trained.loss,
            "held_out_pictures": pool.held_out,
            "classes": num_classes,
            "pictures": pool.training,
            "drawing_seconds": round(drawing.get("seconds", 0.0)),
            **_common(args, args.steps, trained),
            **earlier,
        },
    )


def export(args: argparse.Namespace) -> None:
    """Writes the weights of a finished training, and the facts about them."""
    workdir = _workdir(args)
    result = workdir.read_json(RESULT)
    if result is None:
        raise TrainerError(
            f"{workdir.path}: no finished training; run the train command"
        )
    strategy = _strategy(args)
    classifier = backbones.random_classifier(
        result["classes"],
        image_px=result["image_size"],
        seed=0,
        strategy=strategy,
    )
    restore_variables(_last(workdir), classifier.variables)
    backbones.save_backbone(classifier.backbone, args.output)
    facts = {**backbones.file_facts(args.output), **result}
    suffix = ".weights.h5"
    path = args.output.removesuffix(suffix) + ".json"
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(facts, stream, indent=2)
        stream.write("\n")
    print(f"{args.output}: {facts['bytes']:,} bytes; {path}")


def calibrate(args: argparse.Namespace) -> None:
    """Writes random weights with moving statistics of real photos."""
    strategy = _strategy(args)
    classifier = backbones.random_classifier(
        2,
        image_px=args.image_size,
        seed=args.seed,
        strategy=strategy,
        calm=False,
    )
    manifest = read_manifest(_config(args))
    count = min(args.photos, len(manifest.train))
    data = photo_batches(
        manifest.train,
        image_px=args.image_size,
        shard=Shard(global_batch=count, num_replicas=1),
        seed=args.seed,
        start_step=0,
        total_steps=1,
        augment=False,
    )
    images = next(iter(data))["images"].numpy()
    backbones.calibrate(classifier.backbone, images)
    backbones.save_backbone(classifier.backbone, args.output)
    print(f"{args.output}: random, calibrated on {count} photos")


def real(args: argparse.Namespace) -> None:
    """Trains from random weights on a real data set, and tests."""
    workdir = _workdir(args)
    strategy = _strategy(args)
    manifest = read_manifest(_config(args))
    classifier = backbones.random_classifier(
        len(manifest.class_names), image_px=args.image_size, seed=args.seed,
        strategy=strategy,
    )  # fmt: skip
    steps = args.epochs * steps_per_epoch(len(manifest.train), args.batch_size)

    def batches(step: int) -> tf.data.Dataset:
        return photo_batches(
            manifest.train,
            image_px=args.image_size,
            shard=Shard(global_batch=args.batch_size, num_replicas=1),
            seed=args.seed,
            start_step=step,
            total_steps=steps,
            augment=True,
        )

    evaluator = Evaluator(
        strategy, classifier, manifest.class_names,
        batch_size=args.batch_size, xla=False,
    )  # fmt: skip

    def evaluate() -> tuple[float, float]:
        found = evaluator.evaluate(manifest.final)
        return found.loss, found.accuracy

    trained = train(
        classifier,
        _recipe(args, steps),
        strategy=strategy,
        batches=batches,
        evaluate=evaluate,
        workdir=workdir,
    )
    _finish(
        workdir,
        {
            "dataset": manifest.name,
            "data_pct": args.data_pct,
            "train_examples": len(manifest.train),
            "test_accuracy": trained.accuracy,
            "test_loss": trained.loss,
            "test_examples": len(manifest.final),
            **_common(args, steps, trained),
        },
    )


def _workdir(args: argparse.Namespace) -> Workdir:
    workdir = Workdir(args.workdir)
    workdir.create()
    return workdir


def _strategy(args: argparse.Namespace) -> tf.distribute.Strategy:
    devices.configure(logical_cpus=1)
    batch_size = getattr(args, "batch_size", 1)
    return devices.make_strategy("one_device", batch_size, 1)


def _pool(args: argparse.Namespace, workdir: Workdir) -> Pool:
    # Room for crops of four fifths.
    return draw_pool(
        workdir,
        seed=args.seed,
        count=args.pictures,
        held_out=args.held_out,
        px=args.image_size * 5 // 4,
    )


def _config(args: argparse.Namespace) -> Config:
    return Config(
        stage="feature_extract",
        dataset=os.path.abspath(args.dataset)
        if os.path.isdir(args.dataset)
        else args.dataset,
        tfds_data_dir=args.tfds_data_dir,
        data_pct=getattr(args, "data_pct", 100.0),
        image_size=args.image_size,
        seed=args.seed,
    )


def _recipe(args: argparse.Namespace, steps: int) -> Recipe:
    return Recipe(
        steps=steps,
        learning_rate=args.learning_rate,
        warmup_steps=args.warmup_steps,
        weight_decay=args.weight_decay,
        clip_global_norm=args.clip_global_norm,
        log_every_steps=args.log_every_steps,
        validate_every_steps=args.validate_every_steps,
    )


def _last(workdir: Workdir) -> str:
    path = find_checkpoint(workdir, STAGE, "last")
    if path is None:
        raise TrainerError(f"{workdir.path}: holds no checkpoint")
    return path


def _common(
    args: argparse.Namespace, steps: int, trained: Trained
) -> dict[str, Any]:
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


def _finish(workdir: Workdir, result: dict[str, Any]) -> None:
    workdir.write_json(RESULT, result)
    print(json.dumps(result, indent=2), flush=True)
