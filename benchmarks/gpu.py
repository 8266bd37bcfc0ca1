"""Measures speed and checks results on a GPU, the most important part first.

    python -m benchmarks.gpu --json=gpu.jsonl --minutes=15
    python -m benchmarks.gpu --small

Each part runs in its own process, so that GPU memory is free and determinism is
off when it begins. Each case of a part prints one JSON line as soon as it ends.
A case that fails prints its error as a JSON line; the others still run, and the
exit status is 1. Diagnostic output of the parts goes to files in --workdir.

The images are drawn and the weights are random, unless --dataset and --weights
are given. --small runs the same code with a small network and few images, on a
CPU too: it finds faults of this script. Its rates mean nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from benchmarks.against_keras import machine

__all__ = ["PARTS", "Settings", "main", "parse"]

# The module and the content of each part, in order of importance.
PARTS: Mapping[str, tuple[str, str]] = {
    "train": ("gpu_runs", "main.py fine-tunes on the GPU and on the CPU"),
    "determinism": ("gpu_runs", "whether two equal runs give the same bits"),
    "step": ("gpu_steps", "images/s and memory of a training step"),
    "fit": ("gpu_steps", "a step compared with Keras fit, alternately"),
    "parity": ("gpu_devices", "loss and gradients compared with the CPU's"),
    "mirrored": ("gpu_devices", "one replica compared with several"),
    "programs": ("gpu_runs", "programs that XLA compiles in a run"),
    "evaluate": ("gpu_devices", "images/s of evaluation"),
    "features": ("gpu_devices", "images/s of the frozen part"),
    "exact": ("gpu_runs", "the exact head, without and with its cache"),
    "resume": ("gpu_runs", "whether a killed run continues with the same bits"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The sizes of all parts.

    Attributes:
      small: whether only a few cases run, with few steps.
      workdir: folder of runs and logs.
      dataset: folder of photos; None draws images.
      weights: value of --weights of `main.py`; None draws weights.
      weights_origin: value of --weights_origin of `main.py`; may be None.
      backbone: value of --backbone.
      backbone_args: value of --backbone_args.
      image_size: in pixels.
      batch_sizes: the batch sizes of a step; runs use the first.
      classes: number of classes of a step.
      steps: number of steps per round.
      rounds: number of rounds.
      images: number of drawn images to train on.
      epochs: number of epochs of each stage of a run.
    """

    small: bool
    workdir: Path
    dataset: str | None
    weights: str | None
    weights_origin: str | None
    backbone: str
    backbone_args: str
    image_size: int
    batch_sizes: list[int]
    classes: int
    steps: int
    rounds: int
    images: int
    epochs: int


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parses the arguments; unset sizes are those of --small or a GPU."""
    parser = argparse.ArgumentParser(
        prog="gpu",
        description=__doc__,
        epilog="parts:\n"
        + "\n".join(
            f"  {name:<12} {text}" for name, (_, text) in PARTS.items()
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--small", action="store_true", help="small sizes, for any device")
    add("--parts", default=",".join(PARTS), help="names, separated by commas")
    add("--minutes", type=float, default=60, help="start nothing after this")
    add("--part_minutes", type=float, default=20, help="end a part after this")
    add("--json", type=Path, help="file for the lines, one JSON value each")
    add("--workdir", type=Path, help="folder of runs and logs; default: new")
    add("--dataset", help="folder with train/CLASS and test/CLASS")
    add("--weights", help="as of main.py; default: random")
    add("--weights_origin", help="as of main.py")
    add("--backbone", help="as of main.py; EfficientNetB0")
    add("--backbone_args", help="as of main.py")
    add("--image_size", type=int, help="pixels; 224")
    args = parser.parse_args(argv)
    unknown = [name for name in args.parts.split(",") if name not in PARTS]
    if unknown:
        parser.error(
            f"--parts={args.parts}: {unknown[0]!r} is not a part; give some of"
            f" {', '.join(PARTS)}"
        )
    return args


def settings_of(args: argparse.Namespace) -> Settings:
    """Returns the settings that the arguments ask for."""
    small: bool = args.small
    return Settings(
        small=small,
        workdir=args.workdir or Path(tempfile.mkdtemp(prefix="gpu-")),
        dataset=args.dataset,
        weights=args.weights,
        weights_origin=args.weights_origin,
        backbone=args.backbone or ("MobileNet" if small else "EfficientNetB0"),
        backbone_args=args.backbone_args
        or ("alpha=0.25" if small and not args.backbone else ""),
        image_size=args.image_size or (32 if small else 224),
        batch_sizes=[8] if small else [32, 256],
        classes=3 if small else 101,
        steps=2 if small else 20,
        rounds=3 if small else 7,
        images=32 if small else 512,
        epochs=1 if small else 3,
    )


class Output:
    """Prints lines, and appends them to the file of --json."""

    def __init__(self, file: TextIO | None) -> None:
        """Creates the object; None writes no file."""
        self._file = file

    def line(self, text: str) -> None:
        """Writes a line that a part printed."""
        print(text, flush=True)
        if self._file:
            print(text, file=self._file, flush=True)

    def show(self, **values: object) -> None:
        """Writes the values as a JSON line."""
        self.line(json.dumps(values))


def run_part(
    name: str, settings: Settings, seconds: float, limit: float, output: Output
) -> bool:
    """Runs a part in its own process; returns whether all cases succeeded.

    Args:
      name: a key of PARTS.
      settings: the settings of all parts.
      seconds: the part starts no case after this.
      limit: seconds after which the part is ended.
      output: gets the lines of the part.
    """
    given = dataclasses.asdict(settings) | {"workdir": str(settings.workdir)}
    command = [sys.executable, "-m", f"benchmarks.{PARTS[name][0]}"]
    command += [name, json.dumps(given), str(seconds)]
    log = settings.workdir / f"{name}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "1"},
            # A part that hangs is ended together with the runs it started.
            start_new_session=True,
        )
        timer = threading.Timer(limit, os.killpg, (process.pid, 9))
        timer.start()
        failed = 0
        assert process.stdout is not None
        try:
            for text in process.stdout:
                # Libraries may print to standard output, too.
                if text.startswith("{"):
                    output.line(text.rstrip("\n"))
                    failed += '"error":' in text
            status = process.wait()
        finally:
            timer.cancel()
            # After a signal, which the new session does not receive.
            if process.poll() is None:
                os.killpg(process.pid, 9)
    if status and not failed:
        why = f"ended after {limit:.0f} s" if status == -9 else f"exit {status}"
        output.show(part=name, error=f"{why}; see {log}")
    return not status


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the parts in the order of PARTS; returns the exit status."""
    end = time.monotonic() + 60 * args.minutes
    settings = settings_of(args)
    settings.workdir.mkdir(parents=True, exist_ok=True)
    output.show(part="machine", what=machine(), workdir=str(settings.workdir))
    chosen = set(args.parts.split(","))
    failed = False
    for name in PARTS:
        if name not in chosen:
            continue
        seconds = end - time.monotonic()
        if seconds <= 0:
            output.show(
                part=name, skipped=f"--minutes={args.minutes:g} is over"
            )
            continue
        limit = 60 * args.part_minutes
        failed |= not run_part(name, settings, seconds, limit, output)
    return int(failed)


def main(argv: Sequence[str]) -> int:
    """Runs the chosen parts; returns the exit status."""
    args = parse(argv)
    if args.json is None:
        return run(args, Output(None))
    with args.json.open("w", encoding="utf-8") as file:
        return run(args, Output(file))


if __name__ == "__main__":
    # Ends the part that runs, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
