"""The commands that make the demo backbone."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import tensorflow as tf

from tools.pretrain import backbone as backbones
from tools.pretrain.batches import held_out_batches, training_batches
from tools.pretrain.catalogue import picture_classes
from tools.pretrain.pool import Pool, draw_pool
from tools.pretrain.runs import (
    facts,
    finish,
    one_device,
    open_workdir,
    recipe_of,
    settle,
)
from tools.pretrain.training import STAGE, train
from trainer.data.pipeline import steps_per_epoch
from trainer.errors import TrainerError
from trainer.train.calls import make_evaluation_function
from trainer.train.checkpoint_files import find_checkpoint
from trainer.train.checkpoints import restore_variables
from trainer.workdir import RESULT, Workdir


def draw(args: argparse.Namespace) -> None:
    """Draws the pictures."""
    _pool(args, open_workdir(args))


def train_backbone(args: argparse.Namespace) -> None:
    """Trains on the pictures, drawing them first where they are missing."""
    workdir = open_workdir(args)
    settle(workdir, args)
    pool = _pool(args, workdir)
    strategy = one_device(args)
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
        recipe_of(args, args.steps),
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
    finish(
        workdir,
        {
            "held_out_accuracy": trained.accuracy,
            "held_out_loss": trained.loss,
            "held_out_pictures": pool.held_out,
            "classes": num_classes,
            "pictures": pool.training,
            "drawing_seconds": round(drawing.get("seconds", 0.0)),
            **facts(args, args.steps, trained),
            **earlier,
        },
    )


def export(args: argparse.Namespace) -> None:
    """Writes the weights of a finished training, and the facts about them."""
    workdir = open_workdir(args)
    result = workdir.read_json(RESULT)
    if result is None:
        raise TrainerError(
            f"{workdir.path}: no finished training; run the train command"
        )
    strategy = one_device(args)
    classifier = backbones.random_classifier(
        result["classes"],
        image_px=result["image_size"],
        seed=0,
        strategy=strategy,
    )
    restore_variables(_last(workdir), classifier.variables)
    backbones.save_backbone(classifier.backbone, args.output)
    known = {
        **backbones.file_facts(args.output),
        "total_images_seen": _total(result, "images_seen"),
        "total_seconds": _total(result, "seconds"),
        **result,
    }
    suffix = ".weights.h5"
    path = args.output.removesuffix(suffix) + ".json"
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(known, stream, indent=2)
        stream.write("\n")
    print(f"{args.output}: {known['bytes']:,} bytes; {path}")


def _total(result: dict[str, Any], name: str) -> int:
    """A figure of a training, and of those that it began from."""
    earlier = result.get("init_from")
    return result[name] + (_total(earlier, name) if earlier else 0)


def _pool(args: argparse.Namespace, workdir: Workdir) -> Pool:
    # Room for crops of four fifths.
    return draw_pool(
        workdir,
        seed=args.seed,
        count=args.pictures,
        held_out=args.held_out,
        px=args.image_size * 5 // 4,
    )


def _last(workdir: Workdir) -> str:
    path = find_checkpoint(workdir, STAGE, "last")
    if path is None:
        raise TrainerError(f"{workdir.path}: holds no checkpoint")
    return path
