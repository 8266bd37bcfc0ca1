"""Parts of `benchmarks.gpu` that run steps in their own process."""

from __future__ import annotations

import argparse
import functools
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks import fit_model
from benchmarks.gpu import Settings
from benchmarks.gpu_lines import Lines, Part, rates, run_part
from benchmarks.models import random_classifier, save_random_weights
from benchmarks.step_rate import random_batch
from tools import xla_step
from trainer.config.fields import TUTORIAL
from trainer.distribute import devices
from trainer.learning.graph_loops import TrainCall, make_train_function
from trainer.model.backbones import parse_backbone_args
from trainer.model.classifier import Classifier
from trainer.model.freeze import freeze_plan
from trainer.model.trunk.partition import partition_classifier

# A number of training steps in one call.
Train = Callable[[int], TrainCall]
PRECISIONS = ("float32", "bfloat16")


def target() -> str:
    """Returns the first GPU, or the CPU without one."""
    return "GPU:0" if tf.config.list_physical_devices("GPU") else "CPU:0"


@functools.cache
def _live_weights(
    backbone: str, backbone_args: str, image_px: int
) -> list[np.ndarray]:
    """Returns random weights whose features vary, so that losses do too."""
    return xla_step.live_classifier(
        backbone, image_px, backbone_args=parse_backbone_args(backbone_args)
    ).backbone.get_weights()


def classifier_of(
    settings: Settings, strategy: tf.distribute.Strategy | None = None
) -> Classifier:
    """Builds the classifier with random weights."""
    weights = _live_weights(
        settings.backbone, settings.backbone_args, settings.image_size
    )
    classifier = random_classifier(
        settings.backbone,
        settings.image_size,
        settings.classes,
        backbone_args=parse_backbone_args(settings.backbone_args),
        strategy=strategy,
    )
    classifier.backbone.set_weights(weights)
    return classifier


def batch_of(settings: Settings, size: int, augment: bool) -> dict[str, Any]:
    """Returns a batch in the memory of the host."""
    with tf.device("CPU:0"):
        batch = random_batch(settings.image_size, size, settings.classes)
    return batch if augment else {k: batch[k] for k in batch if k != "matrices"}


def training(
    settings: Settings,
    strategy: tf.distribute.Strategy,
    *,
    unfreeze: str,
    batch_size: int,
    precision: str,
    xla: bool,
    augment: bool,
) -> Train:
    """Returns training steps, optimizer included, on one repeated batch.

    Args:
      settings: the sizes.
      strategy: the replicas that share the batch.
      unfreeze: value of --unfreeze.
      batch_size: the global batch.
      precision: float32 or bfloat16.
      xla: whether to compile the step.
      augment: whether the step warps the images.
    """
    devices.set_precision(precision)
    classifier = classifier_of(settings, strategy)
    plan = freeze_plan(classifier, unfreeze)
    with strategy.scope():
        optimizer = keras.optimizers.Adam(1e-4)
        optimizer.build([classifier.variables[key] for key in plan.trainable])
    train = make_train_function(
        strategy,
        classifier,
        plan,
        optimizer,
        clip_global_norm=None,
        xla=xla,
        partition=partition_classifier(
            classifier,
            plan,
            fold_batch_norm=True,
            cut_trunk=False,
            quick_gradients=devices.all_cpus(strategy)
            and not xla
            and precision == "float32",
        ),
    )
    batch = batch_of(settings, batch_size, augment)
    share = batch_size // strategy.num_replicas_in_sync
    shares = [
        tf.data.Dataset.from_tensors(
            {k: v[start : start + share] for k, v in batch.items()}
        )
        for start in range(0, batch_size, share)
    ]
    # Each replica takes the next share.
    data = functools.reduce(tf.data.Dataset.concatenate, shares).repeat()
    iterator = iter(strategy.distribute_datasets_from_function(lambda _: data))
    return lambda steps: train(iterator, steps)


def seconds_of(work: Callable[[], Any]) -> float:
    """Returns the wall time of a call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def reset_memory() -> None:
    """Begins a new measurement of the peak memory of each GPU."""
    for number in range(len(tf.config.list_logical_devices("GPU"))):
        tf.config.experimental.reset_memory_stats(f"GPU:{number}")


def peak_mib() -> list[float] | None:
    """Returns the peak memory of each GPU; None without one."""
    peaks = [
        tf.config.experimental.get_memory_info(f"GPU:{number}")["peak"] / 2**20
        for number in range(len(tf.config.list_logical_devices("GPU")))
    ]
    return [round(peak, 1) for peak in peaks] or None


def timed_training(
    settings: Settings, train: Train, batch_size: int
) -> dict[str, Any]:
    """Measures the first step, the rate of the others, and the memory."""
    began = time.perf_counter()
    sums = train(1).sums
    first = time.perf_counter() - began
    # The first call may time kernels; the second runs as the others.
    train(settings.steps)
    rounds = [
        seconds_of(lambda: train(settings.steps))
        for _ in range(settings.rounds)
    ]
    return {
        "first_step_seconds": round(first, 2),
        "first_loss": float(sums["loss"][0]),
        "first_gradient_norm": float(sums["gradient_norm"][0]),
        **rates(settings.steps * batch_size, rounds),
        "peak_mib": peak_mib(),
    }


def step(settings: Settings, lines: Lines) -> None:
    """Measures training steps of augmented images on one device."""
    devices.configure(1, "off")
    cases = itertools.product(
        reversed(settings.batch_sizes),
        ("last:10",) if settings.small else ("all", "last:10", "none"),
        PRECISIONS,
        (True, False),
    )
    for batch_size, unfreeze, precision, xla in cases:

        def measure(
            batch_size: int = batch_size,
            unfreeze: str = unfreeze,
            precision: str = precision,
            xla: bool = xla,
        ) -> Mapping[str, Any]:
            reset_memory()
            train = training(
                settings,
                tf.distribute.OneDeviceStrategy(target()),
                unfreeze=unfreeze,
                batch_size=batch_size,
                precision=precision,
                xla=xla,
                augment=True,
            )
            return {
                "unfreeze": unfreeze,
                "batch_size": batch_size,
                "precision": precision,
                "xla": xla,
                **timed_training(settings, train, batch_size),
            }

        lines.case(
            f"step, {unfreeze}, batch {batch_size}, {precision},"
            f" XLA {'on' if xla else 'off'}",
            measure,
        )


def _fit(
    settings: Settings,
    *,
    unfreeze: str,
    batch_size: int,
    jit_compile: bool,
) -> Callable[[int], Any]:
    """Returns steps of Keras `fit`, with the base in inference mode."""
    weights = settings.workdir / "random.weights.h5"
    if not weights.exists():
        save_random_weights(
            str(weights),
            settings.backbone,
            settings.backbone_args,
            str(settings.image_size),
        )
    args = argparse.Namespace(
        backbone=settings.backbone,
        backbone_args=parse_backbone_args(settings.backbone_args),
        image_size=settings.image_size,
        weights=weights,
        augment=False,
        recipe=TUTORIAL,
        inference_mode="wrapped",
    )
    model, base = fit_model.build(args, settings.classes)
    base.trainable = unfreeze != "none"
    if unfreeze.startswith("last:"):
        for layer in base.layers[: -int(unfreeze[5:])]:
            layer.trainable = False
    model.compile(
        optimizer=keras.optimizers.Adam(1e-4),
        loss=keras.losses.CategoricalCrossentropy(),
        metrics=["accuracy"],
        jit_compile=jit_compile,
    )
    batch = batch_of(settings, batch_size, augment=False)
    with tf.device("CPU:0"):
        labels = tf.one_hot(batch["labels"], settings.classes)
    data = tf.data.Dataset.from_tensors((batch["images"], labels)).repeat()
    return lambda steps: model.fit(data, steps_per_epoch=steps, verbose=0)


def fit(settings: Settings, lines: Lines) -> None:
    """Compares steps without augmentation with Keras `fit`, alternately."""
    devices.configure(1, "off")
    cases = itertools.product(
        reversed(settings.batch_sizes),
        ("last:10",) if settings.small else ("all", "last:10"),
        ("bfloat16",) if settings.small else PRECISIONS,
    )
    for batch_size, unfreeze, precision in cases:

        def measure(
            batch_size: int = batch_size,
            unfreeze: str = unfreeze,
            precision: str = precision,
        ) -> Mapping[str, Any]:
            # Clears Keras's session, so it comes before the models of `fit`.
            ours = training(
                settings,
                tf.distribute.OneDeviceStrategy(target()),
                unfreeze=unfreeze,
                batch_size=batch_size,
                precision=precision,
                xla=target() == "GPU:0",
                augment=False,
            )
            same: dict[str, Any] = {
                "unfreeze": unfreeze,
                "batch_size": batch_size,
            }
            sides: dict[str, Callable[[int], Any]] = {
                "ours": ours,
                "fit": _fit(settings, **same, jit_compile=False),
                "fit_jit": _fit(settings, **same, jit_compile=True),
            }
            found = compared(sides, settings.steps, settings.rounds, batch_size)
            return {**same, "precision": precision, **found}

        lines.case(f"fit, {unfreeze}, batch {batch_size}, {precision}", measure)


def compared(
    sides: Mapping[str, Callable[[int], Any]],
    steps: int,
    rounds: int,
    batch_size: int,
) -> dict[str, Any]:
    """Times the sides alternately.

    Returns:
      For each side the seconds of the first step and the rates; for each side
      but the first, the ratios of its seconds to the first side's, by round:
      median, lowest and highest.
    """
    first = {
        name: seconds_of(functools.partial(side, 1))
        for name, side in sides.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for name in sides:
        sides[name](steps)
    for number in range(rounds):
        order = list(sides) if number % 2 else list(sides)[::-1]
        for name in order:
            seconds[name].append(
                seconds_of(functools.partial(sides[name], steps))
            )
    found: dict[str, Any] = {
        name: {
            "first_step_seconds": round(first[name], 2),
            **rates(steps * batch_size, seconds[name]),
        }
        for name in sides
    }
    mine, *others = sides
    for name in others:
        pairs = zip(seconds[name], seconds[mine], strict=True)
        ratios = [theirs / own for theirs, own in pairs]
        found[f"{name}/{mine}"] = [
            round(f(ratios), 2) for f in (statistics.median, min, max)
        ]
    return found


PARTS: Mapping[str, Part] = {"step": step, "fit": fit}

if __name__ == "__main__":
    sys.exit(run_part(PARTS, sys.argv[1:]))
