"""What the demo backbone is compared with, on real photos."""

from __future__ import annotations

import argparse
import os

import tensorflow as tf

from tools.pretrain import backbone as backbones
from tools.pretrain.runs import (
    facts,
    finish,
    one_device,
    open_workdir,
    recipe_of,
    settle,
)
from tools.pretrain.training import train
from trainer.config import Config
from trainer.data.pipeline import (
    Reading,
    Shard,
    steps_per_epoch,
    training_batches,
)
from trainer.prepare import read_manifest
from trainer.results.evaluate import Evaluator


def calibrate(args: argparse.Namespace) -> None:
    """Writes random weights with moving statistics of real photos."""
    strategy = one_device(args)
    classifier = backbones.random_classifier(
        2,
        image_px=args.image_size,
        seed=args.seed,
        strategy=strategy,
        calm=False,
    )
    manifest = read_manifest(_config(args))
    count = min(args.photos, len(manifest.train))
    data = training_batches(
        manifest.train,
        reading=Reading(image_px=args.image_size),
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
    workdir = open_workdir(args)
    settle(workdir, args)
    strategy = one_device(args)
    manifest = read_manifest(_config(args))
    classifier = backbones.random_classifier(
        len(manifest.class_names), image_px=args.image_size, seed=args.seed,
        strategy=strategy,
    )  # fmt: skip
    steps = args.epochs * steps_per_epoch(len(manifest.train), args.batch_size)

    def batches(step: int) -> tf.data.Dataset:
        return training_batches(
            manifest.train,
            reading=Reading(image_px=args.image_size),
            shard=Shard(global_batch=args.batch_size, num_replicas=1),
            seed=args.seed,
            start_step=step,
            total_steps=steps,
            augment=True,
        ).map(without_blanks)

    evaluator = Evaluator(
        strategy, classifier, manifest.class_names,
        batch_size=args.batch_size, xla=False,
    )  # fmt: skip

    def evaluate() -> tuple[float, float]:
        found = evaluator.evaluate(manifest.final)
        return found.loss, found.accuracy

    trained = train(
        classifier,
        recipe_of(args, steps),
        strategy=strategy,
        batches=batches,
        evaluate=evaluate,
        workdir=workdir,
    )
    finish(
        workdir,
        {
            "dataset": manifest.name,
            "data_pct": args.data_pct,
            "train_examples": len(manifest.train),
            "test_accuracy": trained.accuracy,
            "test_loss": trained.loss,
            "test_examples": len(manifest.final),
            **facts(args, steps, trained),
        },
    )


def without_blanks(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Repeats real pictures where a batch is padded; the mask stays.

    BatchNorm in training mode sees the whole batch: blank pictures would
    change what it normalises the real ones with.
    """
    count = tf.reduce_sum(tf.cast(batch["mask"], tf.int32))
    rows = tf.range(tf.shape(batch["mask"])[0]) % count
    return {**batch, "images": tf.gather(batch["images"], rows)}


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
