"""Measures how a run grows with its data: time, memory and disk.

    python -m benchmarks.growth --workdir=OUT

Draws a data set of Food-101's size (101 classes of 750 training and 250 test
photos) once, and trains a head on 1, 10 and 100 % of it. Each size runs twice,
first with an empty cache and then with a warm one, in another workdir. The
classes differ in colour only, so accuracies mean nothing.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks.against_keras import machine
from benchmarks.sides import timed

_MIB = 2**20


class Growth(NamedTuple):
    """The cost of one run.

    Attributes:
      photos: number of training and test photos.
      wall: seconds of the whole process.
      cpu: seconds of all threads.
      before: seconds before the stage: imports, check of the photos, model.
      stage: seconds of features, steps and validations.
      after: seconds of the final test and of the report.
      peak_mib: largest resident set size.
      cache_mib: size of the cache on disk, at the end.
      workdir_mib: size of the workdir.
    """

    photos: int
    wall: float
    cpu: float
    before: float
    stage: float
    after: float
    peak_mib: float
    cache_mib: float
    workdir_mib: float


def draw_photos(folder: Path, *, photos: Mapping[str, int], classes: int,
                side: int) -> None:  # fmt: skip
    """Draws SPLIT/CLASS/NNNN.jpg, each with its own pixels.

    Args:
      folder: made if it is missing; photos that it has are not drawn again.
      photos: number of photos of each class, by split.
      classes: number of classes.
      side: side of a photo, in pixels.
    """
    folders = [
        (split, count, number)
        for split, count in photos.items()
        for number in range(classes)
    ]
    with concurrent.futures.ProcessPoolExecutor() as pool:
        done = [pool.submit(_draw_class, folder, *f, side) for f in folders]
        for future in done:
            future.result()


def _draw_class(
    folder: Path, split: str, count: int, number: int, side: int
) -> None:
    """Draws smooth photos with the class's mean colour, and some noise."""
    into = folder / split / f"class{number:03d}"
    into.mkdir(parents=True, exist_ok=True)
    colour = np.random.default_rng(number).uniform(60, 200, 3)
    rng = np.random.default_rng([number, len(split)])
    grain = rng.normal(0, 6, (2 * side, 2 * side, 1))
    for photo in range(count):
        coarse = np.clip(rng.normal(colour, 40, (8, 8, 3)), 0, 255)
        left, top = rng.integers(0, side, 2)
        path = into / f"{photo:04d}.jpg"
        if path.exists():
            continue
        smooth = Image.fromarray(coarse.astype(np.uint8)).resize((side, side))
        pixels = (
            np.asarray(smooth) + grain[top : top + side, left : left + side]
        )
        pixels = np.clip(pixels, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path, quality=85)


def measure(
    args: argparse.Namespace, pct: str, folder: Path, cache: Path
) -> Growth:
    """Trains a head in a new process.

    Args:
      args: the arguments of the benchmark.
      pct: percentage of the training photos.
      folder: folder of the workdir and the log.
      cache: the cache to use.
    """
    folder.mkdir(parents=True)
    workdir = folder / "run"
    command = [sys.executable, "main.py", *shlex.split(args.flags)]
    command += [f"--dataset={args.workdir / 'photos'}", f"--data_pct={pct}"]
    command += [f"--workdir={workdir}", f"--cache_dir={cache}"]
    began = time.time()
    wall, cpu, peak = timed(command, folder / "log")
    events = [
        json.loads(line)
        for line in (workdir / "events.jsonl").read_text().splitlines()
    ]
    at = {event["event"]: event["time"] for event in events}
    result = json.loads((workdir / "result.json").read_text())
    return Growth(
        photos=result["train_examples"] + result["test_examples"],
        wall=wall,
        cpu=cpu,
        before=at["begin"] - began,
        stage=at["save"] - at["begin"],
        after=began + wall - at["save"],
        peak_mib=peak,
        cache_mib=_size(cache),
        workdir_mib=_size(workdir),
    )


def _size(folder: Path) -> float:
    """Returns the MiB of all files of a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files) / _MIB


def table(rows: Mapping[str, Growth]) -> str:
    """Returns a Markdown table with a row per run."""
    lines = [
        "| photos | cache | wall, s | before the stage | stage"
        " | test and report | processor, s | peak MiB | cache, MiB"
        " | workdir, MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = [f"{row.photos:,}", name.split()[1], f"{row.wall:.0f}"]
        cells += [f"{v:.1f}" for v in (row.before, row.stage, row.after)]
        cells += [f"{row.cpu:.0f}", f"{row.peak_mib:.0f}"]
        cells += [f"{row.cache_mib:.0f}", f"{row.workdir_mib:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str]) -> None:
    """Draws the photos, measures all runs, and prints the table."""
    parser = argparse.ArgumentParser(
        prog="growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--workdir", type=Path, required=True, help="folder for everything")
    add("--percent", default="1,10,100", help="of the training photos")
    add("--classes", type=int, default=101)
    add("--train", type=int, default=750, help="photos per class")
    add("--test", type=int, default=250, help="photos per class")
    add("--side", type=int, default=256, help="of a photo, in pixels")
    add(
        "--flags",
        default="--stage=feature_extract --augment=off --image_size=96"
        " --backbone=MobileNetV2 --backbone_args=alpha=0.35 --weights=none",
        help="flags of every run, in quotes",
    )
    args = parser.parse_args(argv)
    began = time.perf_counter()
    draw_photos(
        args.workdir / "photos",
        photos={"train": args.train, "test": args.test},
        classes=args.classes,
        side=args.side,
    )
    print(f"{machine()}\nphotos: {time.perf_counter() - began:.0f} s to draw")
    rows: dict[str, Growth] = {}
    for pct in args.percent.split(","):
        folder = args.workdir / f"{pct}pct"
        shutil.rmtree(folder, ignore_errors=True)
        for cache in ("empty", "warm"):
            name = f"{pct} {cache}"
            rows[name] = measure(args, pct, folder / cache, folder / "cache")
            print(table({name: rows[name]}).splitlines()[-1], flush=True)
    print(f"\n{table(rows)}")


if __name__ == "__main__":
    main(sys.argv[1:])
