"""Measures the speed of a replica's step on the available device.

    python -m benchmarks.step_rate --unfreeze=none,all --image_size=224
    python -m benchmarks.step_rate --evaluate

Runs the pure step (warp, forward, loss, backward) on one GPU, compiled by XLA,
or on the CPU if there is no GPU. Weights are random. One batch is repeated, so
no images are read. Prints images/s by wall clock and by processor time, median
and quartiles of several rounds, and the bytes of the gradient that replicas
exchange in each step. `Scale, on paper` in docs/distributed.md uses these
numbers and those of `benchmarks.input_rate`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks.input_rate import measure, show
from benchmarks.models import random_classifier
from trainer.data.augment import warp_kernel
from trainer.learning.steps import make_evaluation_step, make_train_step
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan, freeze_plan
from trainer.model.trunk.partition import partition_classifier


def main() -> None:
    """Parses the flags, measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--backbone", default="EfficientNetB0")
    parser.add_argument("--unfreeze", default="none,all")
    parser.add_argument("--evaluate", action="store_true")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--classes", type=int, default=101)
    parser.add_argument("--steps", type=int, default=2, help="per round")
    parser.add_argument("--rounds", type=int, default=8)
    args = parser.parse_args()
    gpus = tf.config.list_physical_devices("GPU")
    cores = len(os.sched_getaffinity(0))
    print(
        f"{args.backbone}, {args.image_size} px, batch {args.batch_size},"
        f" {args.classes} classes, on"
        f" {gpus[0].name if gpus else f'{cores} cores'}"
    )
    classifier = random_classifier(args.backbone, args.image_size, args.classes)
    batch = random_batch(args.image_size, args.batch_size, args.classes)
    for unfreeze in args.unfreeze.split(","):
        plan = freeze_plan(classifier, unfreeze)
        print(
            f"--unfreeze={unfreeze}: {plan.trainable_params:,} parameters"
            f" trained, {4 * plan.trainable_params / 1e6:.2f} MB of gradient"
        )
        make = evaluation_call if args.evaluate else _training
        step = make(classifier, plan, batch, xla=bool(gpus))
        step()  # Traces and compiles.

        def some(step: Callable[[], None] = step) -> int:
            for _ in range(args.steps):
                step()
            return args.steps * args.batch_size

        name = "judge" if args.evaluate else "train"
        show(name, measure(some, args.rounds), cores)


def random_batch(
    image_px: int, batch_size: int, num_classes: int
) -> dict[str, tf.Tensor]:
    """Returns a training batch of noise, each image to be warped."""
    rng = np.random.default_rng(0)
    shape = (batch_size, image_px, image_px, 3)
    turn = np.array([[0.8, 0.6], [-0.6, 0.8]], np.float32)
    return {
        "images": tf.constant(rng.uniform(0, 255, shape), tf.float32),
        "labels": tf.constant(np.arange(batch_size) % num_classes, tf.int32),
        "mask": tf.ones(batch_size),
        "matrices": tf.constant(np.tile(turn, (batch_size, 1, 1))),
    }


def _training(
    classifier: Classifier,
    plan: FreezePlan,
    batch: dict[str, tf.Tensor],
    *,
    xla: bool,
) -> Callable[[], None]:
    pure = make_train_step(
        classifier,
        plan,
        kernel=warp_kernel(xla),
        partition=partition_classifier(
            classifier,
            plan,
            fold_batch_norm=True,
            cut_trunk=False,
            quick_gradients=not xla,
        ),
    )
    step = tf.function(pure, jit_compile=xla)
    values = [
        _values([classifier.variables[key] for key in keys])
        for keys in (plan.trainable, plan.frozen)
    ]
    examples = tf.reduce_sum(batch["mask"])

    def run() -> None:
        # numpy() waits for the result.
        step(*values, batch, examples).sums["loss"].numpy()

    return run


def evaluation_call(
    classifier: Classifier,
    plan: FreezePlan,
    batch: dict[str, tf.Tensor],
    *,
    xla: bool,
) -> Callable[[], None]:
    """Returns a function that evaluates the batch and waits for the result."""
    partition = partition_classifier(
        classifier, plan, fold_batch_norm=True, cut_trunk=False
    )
    step = tf.function(
        make_evaluation_step(
            classifier, classifier.head.units, partition=partition
        ),
        jit_compile=xla,
    )
    values = _values(list(classifier.variables.values()))
    plain = {k: v for k, v in batch.items() if k != "matrices"}

    def run() -> None:
        step(values, plain)[0]["loss"].numpy()

    return run


def _values(variables: list[keras.Variable]) -> list[tf.Tensor]:
    return [tf.convert_to_tensor(variable.value) for variable in variables]


if __name__ == "__main__":
    main()
