"""Arguments of `python -m tools.pretrain`."""

from __future__ import annotations

import argparse
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from tools.pretrain import commands, comparison
from trainer.errors import TrainerError

_DEMO = "trainer/demo/efficientnetb0_64px.weights.h5"


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.pretrain", allow_abbrev=False
    )
    parts = parser.add_subparsers(dest="name", required=True)

    def part(name: str, run: object, about: str) -> argparse.ArgumentParser:
        found = parts.add_parser(name, help=about, allow_abbrev=False)
        found.set_defaults(run=run)
        found.add_argument("--seed", type=int, default=0)
        found.add_argument("--image_size", type=int, default=64, help="px")
        return found

    drawing = part("draw", commands.draw, "draw the pictures")
    training = part(
        "train", commands.train_backbone, "train the backbone on them"
    )
    real = part("real", comparison.real, "train from scratch on real photos")
    exporting = part("export", commands.export, "write the trained weights")
    calibrating = part(
        "calibrate", comparison.calibrate, "write random weights, calibrated"
    )
    for found in (drawing, training, exporting, real):
        found.add_argument("--workdir", required=True)
    for found in (drawing, training):
        found.add_argument("--pictures", type=int, default=60_000)
        found.add_argument("--held_out", type=int, default=3_020)
    for found in (training, real):
        _recipe_arguments(found)
    training.add_argument("--steps", type=int, required=True)
    training.add_argument("--init_from", help="workdir of another training")
    real.add_argument("--epochs", type=int, default=30)
    real.add_argument("--data_pct", type=float, default=100.0)
    for found in (real, calibrating):
        found.add_argument("--dataset", required=True, help="folder or name")
        found.add_argument("--tfds_data_dir")
    calibrating.add_argument("--photos", type=int, default=256)
    calibrating.add_argument("--output", required=True)
    exporting.add_argument("--output", default=_DEMO)
    return parser.parse_args(argv)


def _recipe_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--batch_size", type=int, default=64)
    add("--learning_rate", type=float, default=2e-3)
    add("--warmup_steps", type=int, default=200)
    add("--weight_decay", type=float, default=0.02)
    add("--clip_global_norm", type=float, default=1.0)
    add("--log_every_steps", type=int, default=40)
    add("--validate_every_steps", type=int, default=500)


def main(argv: list[str]) -> int:
    """Runs one command; the exit status."""
    args = _parse(argv)
    try:
        args.run(args)
    except TrainerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
