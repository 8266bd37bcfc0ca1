"""Parts of `benchmarks.gpu` on several devices, and on the forward pass."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.gpu import Settings
from benchmarks.gpu_lines import Lines, Part, rates, run_part
from benchmarks.gpu_steps import (
    PRECISIONS,
    batch_of,
    classifier_of,
    peak_mib,
    reset_memory,
    seconds_of,
    target,
    timed_training,
    training,
)
from benchmarks.step_rate import evaluation_call
from tools import xla_step
from trainer.distribute import devices
from trainer.distribute.strategies import make_strategy
from trainer.learning.steps import StepOutput
from trainer.model.backbones import parse_backbone_args
from trainer.model.freeze import freeze_plan
from trainer.model.trunk.device import DeviceTrunk, TrunkDevices
from trainer.model.trunk.partition import partition_classifier


def parity(settings: Settings, lines: Lines) -> None:
    """Compares a step of all layers with the CPU's plain one.

    A small network has few units, so rounding that moves one across the kink of
    its ReLU changes the gradients by percents. Its last layers have few kinks.
    """
    devices.configure(1, "off")
    classifier = xla_step.live_classifier(
        settings.backbone,
        settings.image_size,
        backbone_args=parse_backbone_args(settings.backbone_args),
    )
    plan = freeze_plan(classifier, "last:10" if settings.small else "all")
    step, arguments = xla_step.training_step(classifier, plan)

    def outputs(device: str, *, xla: bool) -> list[StepOutput]:
        with tf.device(device):
            function = tf.function(step, jit_compile=xla)
            return [function(*given) for given in arguments]

    expected = outputs("CPU:0", xla=False)
    for xla, tf32 in itertools.product((False, True), repeat=2):

        def measure(xla: bool = xla, tf32: bool = tf32) -> Mapping[str, Any]:
            tf.config.experimental.enable_tensor_float_32_execution(tf32)
            found = outputs(target(), xla=xla)
            return {"xla": xla, "tf32": tf32, **differences(found, expected)}

        lines.case(
            f"parity, XLA {'on' if xla else 'off'},"
            f" TensorFloat-32 {'on' if tf32 else 'off'}",
            measure,
        )


def save_live_weights(
    file: str, backbone: str, backbone_args: str, image_px: str
) -> None:
    """Saves random weights of a backbone whose features vary."""
    xla_step.live_classifier(
        backbone,
        int(image_px),
        backbone_args=parse_backbone_args(backbone_args),
    ).backbone.save_weights(file)


def differences(
    found: list[StepOutput], expected: list[StepOutput]
) -> dict[str, Any]:
    """Returns the largest differences over the batches.

    Returns:
      `loss`, relative; `gradients`, the norm of the difference relative to the
      norm; `largest_entry`, the largest difference of an entry relative to the
      largest entry; and the `devices` that computed the losses.
    """
    losses, norms, entries = [], [], []
    for mine, theirs in zip(found, expected, strict=True):
        a, b = (float(s.sums["loss"]) for s in (mine, theirs))
        losses.append(abs(a - b) / abs(b))
        one, two = (
            [g.numpy() for g in xla_step.gradients(s)] for s in (mine, theirs)
        )
        norms.append(xla_step.apart(one, two))
        pairs = zip(one, two, strict=True)
        entries.append(
            max(float(np.abs(x - y).max()) for x, y in pairs)
            / max(float(np.abs(y).max()) for y in two)
        )
    return {
        "loss": max(losses),
        "gradients": max(norms),
        "largest_entry": max(entries),
        "devices": [
            s.sums["loss"].device.rpartition("device:")[2]
            for s in (found[0], expected[0])
        ],
    }


def _split_devices() -> tuple[list[str], str]:
    """Configures several devices: all GPUs, two halves of one, or two CPUs.

    Returns:
      Their names, and what they are.
    """
    gpus = tf.config.list_physical_devices("GPU")
    kind = "GPU" if gpus else "CPU"
    what = "GPUs" if gpus else "logical CPUs"
    if len(gpus) == 1:
        what = "logical GPUs"
        # TensorFlow requires a limit, and has no growing memory for these.
        half = tf.config.LogicalDeviceConfiguration(_free_mib() * 2 // 5)
        tf.config.set_logical_device_configuration(gpus[0], [half, half])
    else:
        devices.configure(2, "off")
    return [d.name for d in tf.config.list_logical_devices(kind)], what


def _free_mib() -> int:
    """Returns the free memory of the first GPU."""
    query = ["--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    text = subprocess.check_output(["nvidia-smi", *query], text=True)
    return int(text.splitlines()[0])


def mirrored(settings: Settings, lines: Lines) -> None:
    """Compares several replicas with one: results, and rate per replica."""
    names, what = _split_devices()
    # Half a GPU may be too small for the larger batch.
    size = settings.batch_sizes[-1 if what == "GPUs" else 0]
    for xla in (True, False):

        def measure(xla: bool = xla) -> Mapping[str, Any]:
            one = tf.distribute.OneDeviceStrategy(names[0])
            several = make_strategy("mirrored", size, logical_cpus=2)
            replicas = several.num_replicas_in_sync

            def timed(
                strategy: tf.distribute.Strategy, batch_size: int
            ) -> dict[str, Any]:
                train = training(
                    settings,
                    strategy,
                    unfreeze="last:10" if settings.small else "all",
                    batch_size=batch_size,
                    precision="float32",
                    xla=xla,
                    augment=True,
                )
                return timed_training(settings, train, batch_size)

            alone, shared = timed(one, size), timed(several, size)
            larger = timed(several, size * replicas)
            rate = "images_per_second"
            return {
                "replicas": replicas,
                "xla": xla,
                "batch_size": size,
                # Both took the same first step, on the same global batch.
                **{
                    f"{name}_difference": abs(shared[name] / alone[name] - 1)
                    for name in ("first_loss", "first_gradient_norm")
                },
                "one": alone,
                "same_batch": shared,
                "larger_batch": larger,
                "speedup_same_batch": round(shared[rate] / alone[rate], 2),
                "speedup_larger_batch": round(larger[rate] / alone[rate], 2),
            }

        lines.case(
            f"mirrored, {len(names)} {what}, XLA {'on' if xla else 'off'}",
            measure,
        )


def evaluate(settings: Settings, lines: Lines) -> None:
    """Measures the evaluation step, its batch in the memory of the device."""
    devices.configure(1, "off")
    cases = itertools.product(
        reversed(settings.batch_sizes), PRECISIONS, (True, False)
    )
    for size, precision, xla in cases:

        def measure(
            size: int = size, precision: str = precision, xla: bool = xla
        ) -> Mapping[str, Any]:
            reset_memory()
            devices.set_precision(precision)
            classifier = classifier_of(settings)
            with tf.device(target()):
                batch = {
                    k: tf.identity(v)
                    for k, v in batch_of(settings, size, augment=True).items()
                }
            plan = freeze_plan(classifier, "none")
            call = evaluation_call(classifier, plan, batch, xla=xla)
            return {
                "batch_size": size,
                "precision": precision,
                "xla": xla,
                **_timed(settings, call, size),
            }

        lines.case(
            f"evaluate, batch {size}, {precision}, XLA"
            f" {'on' if xla else 'off'}",
            measure,
        )


def features(settings: Settings, lines: Lines) -> None:
    """Measures --trunk_engine=device, copies to and from the device included.

    The features of `none` are pooled; those of `last:10` are two tensors.
    """
    devices.configure(1, "off")
    rules = ("none",) if settings.small else ("none", "last:10")
    cases = itertools.product(rules, PRECISIONS, (True, False))
    for unfreeze, precision, xla in cases:

        def measure(
            unfreeze: str = unfreeze,
            precision: str = precision,
            xla: bool = xla,
        ) -> Mapping[str, Any]:
            reset_memory()
            devices.set_precision(precision)
            classifier = classifier_of(settings)
            plan = freeze_plan(classifier, unfreeze)
            partition = partition_classifier(
                classifier, plan, fold_batch_norm=True
            )
            assert partition is not None
            on = TrunkDevices(names=(target(),), xla=xla, facts={})
            trunk = DeviceTrunk(partition, on)
            size = settings.batch_sizes[-1]
            images = batch_of(settings, size, augment=False)["images"].numpy()
            return {
                "unfreeze": unfreeze,
                "precision": precision,
                "xla": xla,
                "block": trunk.block,
                "feature_shapes": partition.feature_shapes,
                **_timed(settings, lambda: trunk(images), size),
            }

        lines.case(
            f"features, {unfreeze}, {precision}, XLA {'on' if xla else 'off'}",
            measure,
        )


def _timed(
    settings: Settings, call: Callable[[], Any], images: int
) -> dict[str, Any]:
    """Measures a call that waits for its result."""
    first = seconds_of(call)

    def some() -> None:
        for _ in range(settings.steps):
            call()

    rounds = [seconds_of(some) for _ in range(settings.rounds)]
    return {
        "first_call_seconds": round(first, 2),
        **rates(settings.steps * images, rounds),
        "peak_mib": peak_mib(),
    }


PARTS: Mapping[str, Part] = {
    "parity": parity,
    "mirrored": mirrored,
    "evaluate": evaluate,
    "features": features,
}

if __name__ == "__main__":
    sys.exit(run_part(PARTS, sys.argv[1:]))
