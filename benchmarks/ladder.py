r"""Measures what each part of a recipe adds to the accuracy.

    python -m benchmarks.ladder --dataset=FOLDER --data_pct=10 --seeds=10 \
        --workdir=OUT --flags='--backbone=EfficientNetLite0 --image_size=96'

The rungs are recipes, each but a few with one change more than the one before.
Every rung is run with every seed, each time in a new process. All rungs train
on the same photos per seed and are tested on the same photos.

The table has, for each rung:
  unused: the accuracy on training photos that --data_pct left out, which alone
    may decide about a recipe; up to --unused of them per class.
  test: the mean test accuracy over the seeds.
  gain: test accuracy minus that of the first rung, with a 95 % interval: a
    bootstrap over the test photos, of the difference averaged over the seeds.

Finished runs in OUT are not repeated, so that rungs and seeds can be added.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import csv
import json
import os
import queue
import re
import shlex
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.sides import timed

__all__ = ["RUNGS", "gain", "main", "table"]

_SOLVED = ("--stage=feature_extract", "--recipe=quick")
_FROM_SOLVED = ("--stage=finetune", "--head_solver=lbfgs")
_ALL = (*_FROM_SOLVED, "--unfreeze=all")
_STEPS = (*_ALL, "--epochs=10", "--min_steps=600")
_ADAMW = (*_STEPS, "--optimizer=adamw", "--weight_decay=0.01")
_COSINE = (*_ADAMW, "--schedule=cosine", "--warmup=0.05")
_RATE = (*_COSINE, "--learning_rate=3e-4")
_MILD = (*_RATE, "--augment=mild")
_SMOOTH = (*_MILD, "--label_smoothing=0.1")
_AVERAGED = (*_SMOOTH, "--ema=0.99")
_BEST = ("--stage=finetune", "--recipe=best")
RUNGS: Mapping[str, tuple[str, ...]] = {
    "tutorial": ("--stage=finetune",),
    "solved head alone": _SOLVED,
    "last ten layers, from the solved head": _FROM_SOLVED,
    "all layers": _ALL,
    "10 epochs, at least 600 steps": _STEPS,
    "AdamW 0.01": _ADAMW,
    "warm-up and cosine": _COSINE,
    "rate 3e-4": _RATE,
    "mild augmentation": _MILD,
    "label smoothing 0.1": _SMOOTH,
    "averaged weights": _AVERAGED,
    "dropout 0.2, mirror images": (*_AVERAGED, "--dropout=0.2", "--tta=flip"),
    # Besides, it applies the EXIF orientation and lays images on white.
    "best: the central square": _BEST,
    # Each of these changes one flag of `best`.
    "best, rate 1e-4": (*_BEST, "--learning_rate=1e-4"),
    "best, rate 5e-4": (*_BEST, "--learning_rate=5e-4"),
    "best, rate 1e-3": (*_BEST, "--learning_rate=1e-3"),
    "best, 300 steps": (*_BEST, "--min_steps=300"),
    "best, stretched": (*_BEST, "--resize=stretch"),
    "best, tutorial augmentation": (*_BEST, "--augment=tutorial"),
    "best, TrivialAugment": (*_BEST, "--augment=trivial"),
    "best, no augmentation": (*_BEST, "--augment=off"),
    "best, layer decay 0.8": (*_BEST, "--layer_decay=0.8"),
    "best, 5 views for the head": (*_BEST, "--head_views=5"),
    "best, mixup 0.2": (*_BEST, "--mix=mixup:0.2"),
    "best, CutMix 1": (*_BEST, "--mix=cutmix:1"),
    "best, erasing 0.25": (*_BEST, "--erasing=0.25"),
    "best, no dropout": (*_BEST, "--dropout=0"),
    "best, no label smoothing": (*_BEST, "--label_smoothing=0"),
}
# Rungs that use the run of another one with other flags.
SAME_RUN: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "best, without mirror images": (
        "best: the central square",
        ("--tta=off",),
    ),
}


def gain(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray], *, seed: int = 0
) -> tuple[float, float, float]:
    """Returns the gain in accuracy of runs over others, with its interval.

    Args:
      first: of each seed, whether each test photo is classified correctly,
        bool (photos,).
      second: the same of the other runs, seed by seed.
      seed: of the bootstrap.

    Returns:
      The mean difference, second minus first, and the ends of its 95 %
      percentile interval over 10,000 resamples of the photos.
    """
    per_photo = np.mean(
        [
            b.astype(float) - a.astype(float)
            for a, b in zip(first, second, strict=True)
        ],
        axis=0,
    )
    draws = np.random.default_rng(seed)
    total = len(per_photo)
    means = [
        per_photo[draws.integers(0, total, total)].mean() for _ in range(10_000)
    ]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(per_photo.mean()), float(low), float(high)


def table(
    tested: Mapping[str, Mapping[int, np.ndarray]],
    unused: Mapping[str, Mapping[int, float]],
) -> str:
    """Returns Markdown with a row per rung.

    Args:
      tested: by rung and seed, whether each test photo is classified
        correctly, bool (photos,). The first rung is the one to compare with.
      unused: by rung and seed, the accuracy on unused training photos.
    """
    lines = [
        "| rung | seeds | unused | test | gain | 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    first = next(iter(tested))
    for rung, by_seed in tested.items():
        if not by_seed:
            continue
        known = list(unused.get(rung, {}).values())
        cells = [
            rung,
            str(len(by_seed)),
            f"{100 * statistics.mean(known):.1f}" if known else "",
            f"{100 * np.mean([np.mean(v) for v in by_seed.values()]):.1f}",
        ]
        both = sorted(by_seed.keys() & tested[first].keys())
        if rung == first or not both:
            cells += ["", ""]
        else:
            mean, low, high = gain(
                [tested[first][seed] for seed in both],
                [by_seed[seed] for seed in both],
            )
            cells += [f"{100 * mean:+.1f}", f"{100 * low:+.1f} to "]
            cells[-1] += f"{100 * high:+.1f}"
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _correct(predictions: Path) -> dict[str, bool]:
    """Returns which test photos a run classifies correctly, by their id."""
    with predictions.open(newline="") as stream:
        return {
            row["id"]: row["true"] == row["predicted"]
            for row in csv.DictReader(stream)
        }


def _unused_photos(args: argparse.Namespace, workdir: Path) -> list[Path]:
    """Returns the training photos that a run has not used."""
    manifest = json.loads((workdir / "manifest.json").read_text())
    used = set(manifest["train_ids"])
    taken: Counter[str] = Counter()
    found: list[Path] = []
    for path in sorted((args.dataset / "train").glob("*/*")):
        if _id(path) in used or taken[path.parent.name] >= args.unused:
            continue
        taken[path.parent.name] += 1
        found.append(path)
    return found


def _id(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _predicted(
    workdir: Path, photos: Sequence[Path], csv_name: str, *flags: str
) -> dict[str, bool]:
    """Returns which photos are classified correctly, by their id."""
    done = workdir / csv_name
    if not done.exists():
        partial = workdir / f"partial_{csv_name}"
        subprocess.run(
            [
                *(sys.executable, "main.py", "--stage=predict", *flags),
                *(f"--workdir={workdir}", "--inputs=-", f"--output={partial}"),
            ],
            input="\n".join(map(str, photos)),
            text=True,
            check=True,
            capture_output=True,
        )
        partial.rename(done)
    with done.open(newline="") as stream:
        return {
            _id(Path(row["file"])): Path(row["file"]).parent.name
            == row["class_1"]
            for row in csv.DictReader(stream)
        }


def _results(
    args: argparse.Namespace, rung: str, seed: int
) -> tuple[np.ndarray, float | None]:
    """Trains a rung, unless it is done.

    Returns:
      Whether each test photo is classified correctly, in the order of their
      ids, and the accuracy on unused training photos; None without any.
    """
    trained, flags = SAME_RUN.get(rung, (rung, ()))
    workdir = _run(args, trained, seed)
    unused = _unused_photos(args, workdir)
    name = f"_{_file_name(rung)}" if flags else ""
    if flags:
        photos = sorted((args.dataset / "test").glob("*/*"))
        tested = _predicted(workdir, photos, f"test{name}.csv", *flags)
    else:
        tested = _correct(workdir / "predictions.csv")
    others = unused and _predicted(workdir, unused, f"unused{name}.csv", *flags)
    correct = np.array([tested[name] for name in sorted(tested)])
    return correct, statistics.mean(others.values()) if others else None


def _file_name(rung: str) -> str:
    return re.sub(r"\W+", "_", rung)


def _run(args: argparse.Namespace, rung: str, seed: int) -> Path:
    """Trains a rung, unless it is done; returns its workdir."""
    name = _file_name(rung)
    workdir: Path = args.workdir / f"seed{seed}" / name
    if not (workdir / "predictions.csv").exists():
        workdir.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "main.py", *RUNGS[rung]]
        command += [f"--dataset={args.dataset}", f"--data_pct={args.data_pct}"]
        command += [f"--seed={seed}", f"--workdir={workdir}"]
        command += ["--keep_checkpoints=1", *shlex.split(args.flags)]
        timed(command, args.workdir / f"seed{seed}" / f"{name}.log")
    return workdir


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ladder",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--dataset", type=Path, required=True, help="train/CLASS, test/CLASS")
    add("--workdir", type=Path, required=True, help="folder for all runs")
    add("--data_pct", default="10", help="percentage of the training photos")
    add("--seeds", type=int, default=3, help="number of seeds")
    add("--rungs", default="", help="regular expression that the rungs match")
    add("--unused", type=int, default=200, help="photos per class")
    add("--flags", default="", help="flags of every run, in quotes")
    add("--jobs", type=int, default=1, help="runs at a time, on separate cores")
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Runs what is missing, and prints the table."""
    args = _parse(argv)
    wanted = [
        rung for rung in (*RUNGS, *SAME_RUN) if re.search(args.rungs, rung)
    ]
    tested: dict[str, dict[int, np.ndarray]] = {rung: {} for rung in wanted}
    unused: dict[str, dict[int, float]] = {rung: {} for rung in wanted}
    # The rungs of one run follow each other in one thread.
    runs = [
        (seed, [rung for rung in wanted if _trained(rung) == trained])
        for seed in range(args.seeds)
        for trained in dict.fromkeys(map(_trained, wanted))
    ]

    def measure(seed: int, rungs: Sequence[str]) -> None:
        for rung in rungs:
            correct, others = _results(args, rung, seed)
            tested[rung][seed] = correct
            if others is not None:
                unused[rung][seed] = others
            print(
                f"seed {seed}: {rung}: test {correct.mean():.4f}"
                f" unused {others}",
                flush=True,
            )

    with _threads(args.jobs) as pool:
        done = [pool.submit(measure, *run) for run in runs]
        for future in concurrent.futures.as_completed(done):
            if future.exception():
                pool.shutdown(wait=False, cancel_futures=True)
            future.result()
    print(f"\n{table(tested, unused)}\n", flush=True)


def _trained(rung: str) -> str:
    """Returns the rung whose run it uses."""
    return SAME_RUN.get(rung, (rung,))[0]


def _threads(jobs: int) -> concurrent.futures.ThreadPoolExecutor:
    """Returns threads whose processes have separate cores, on Linux."""
    if not hasattr(os, "sched_setaffinity"):
        return concurrent.futures.ThreadPoolExecutor(jobs)
    cores = sorted(os.sched_getaffinity(0))
    shares: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
    for job in range(jobs):
        shares.put(cores[job::jobs] or cores)
    return concurrent.futures.ThreadPoolExecutor(
        # The processes that a thread starts inherit its cores.
        jobs,
        initializer=lambda: os.sched_setaffinity(0, shares.get()),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
