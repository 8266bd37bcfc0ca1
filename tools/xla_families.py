"""Compiles the whole training step of every family of backbones with XLA.

    python -m tools.xla_families
    python -m tools.xla_families --only=MobileNetV2,ResNet50 --unfreeze=last:10
    python -m tools.xla_families --compile_only

The step is the one that a run with --xla=on compiles on each replica: warp by
gather, forward, loss, backward, BatchNorm folded. It has random weights and
runs on the CPU. Prints a line for the smallest member of each family of
keras.applications: seconds to compile, the difference between the gradients of
the compiled and the plain step, and the difference between the losses of their
evaluation, each the median of three batches.

In a deep random network, rounding can move units across the kink of ReLU, so
the gradient jumps. To measure this, the plain step runs six more times per
batch, with each pixel rounded differently. A gradient fails if it differs by
more than 0.001 and by more than three times the largest jump.

The exit status is 1 if a difference is too large or XLA does not support an
operation; the output names the operation. --compile_only stops after the
conversion to HLO, which finds unsupported operations, and runs nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence

import tensorflow as tf

from tools.xla_step import (
    BATCH,
    compare,
    evaluation_step,
    gradients,
    live_classifier,
    loss,
    training_step,
)
from trainer.errors import UsageError
from trainer.model.backbones import find_backbone
from trainer.model.freeze import freeze_plan

# The smallest member of each module of keras.applications, and of Lite.
FAMILIES = (
    "ConvNeXtTiny",
    "DenseNet121",
    "EfficientNetB0",
    "EfficientNetLite0",
    "EfficientNetV2B0",
    "InceptionResNetV2",
    "InceptionV3",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "NASNetMobile",
    "ResNet50",
    "ResNet50V2",
    "VGG16",
    "VGG19",
    "Xception",
)
# Bounds relative to the norm of the whole gradient, and to the loss.
GRADIENT_BOUND, LOSS_BOUND = 1e-3, 1e-4
ROUNDINGS = 3.0
_REFUSED = re.compile(r"on XLA_\w+: (.*)")


def check(
    name: str, *, image_px: int, unfreeze: str, compile_only: bool
) -> tuple[str, bool]:
    """Returns a line about a backbone, and whether it passes."""
    image_px = max(image_px, find_backbone(name).min_image_px)
    classifier = live_classifier(name, image_px)
    plan = freeze_plan(classifier, unfreeze)
    step, batch = training_step(classifier, plan)
    judge, judged = evaluation_step(classifier, plan)
    head = f"{name:<18} {image_px:>4} px"
    try:
        trained = compare(
            step,
            batch,
            part=gradients,
            rounds=True,
            compile_only=compile_only,
        )
        evaluated = compare(judge, judged, part=loss, compile_only=compile_only)
    except (tf.errors.OpError, ValueError) as error:
        return f"{head}  refused: {refused(error)}", False
    line = f"{head}  {trained.seconds:6.1f} s  {evaluated.seconds:6.1f} s"
    if trained.difference is None or evaluated.difference is None:
        return f"{line}  ok, not run", True
    good = (
        trained.difference <= max(GRADIENT_BOUND, ROUNDINGS * trained.rounding)
        and evaluated.difference <= LOSS_BOUND
    )
    return (
        f"{line}  {'ok' if good else 'APART'}"
        f"  gradient {trained.difference:.1e}"
        f" (rounding {trained.rounding:.1e})"
        f"  evaluation {evaluated.difference:.1e}",
        good,
    )


def refused(error: Exception) -> str:
    """Returns the unsupported operations, or the error's first line."""
    text = str(error)
    operations = _REFUSED.search(text)
    return operations[1] if operations else text.splitlines()[0][:200]


def main(argv: Sequence[str] | None = None) -> int:
    """Checks the given families; returns 1 if one fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--image_size", type=int, default=32)
    parser.add_argument("--only", default=",".join(FAMILIES))
    parser.add_argument("--unfreeze", default="all")
    parser.add_argument("--compile_only", action="store_true")
    args = parser.parse_args(argv)
    bad = 0
    print(
        f"TensorFlow {tf.__version__}, batch {BATCH}, --unfreeze="
        f"{args.unfreeze}: seconds to compile the training step and evaluation,"
        " and relative differences from the results without XLA"
    )
    for name in args.only.split(","):
        try:
            line, good = check(
                name,
                image_px=args.image_size,
                unfreeze=args.unfreeze,
                compile_only=args.compile_only,
            )
        except UsageError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        bad += not good
        print(line, flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
