"""Runs a row of the benchmark on one side, in separate processes."""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

OURS, WRITTEN, WRAPPED = "ours", "as_written", "wrapped"
NAMED = {
    "model0": "10:noaugment",
    "last10": "10+10:noaugment:last10",
    "model2": "10",
    "model3": "10+10:last10",
    "all": "10+10:all:1",
    "exact": "10+10:last10:solved",
}
STUDY = "study"
# Before a row that this trainer runs a second time, with the first one's cache.
AGAIN = "again:"
_STUDY = ("10:noaugment", "1", "10", "10+10:last10", "10+100:last10")
_ROW = re.compile(
    r"(?P<head>[\d.]+)(?:\+(?P<finetune>[\d.]+))?(?P<plain>:noaugment)?"
    r"(?::(?P<unfreeze>all|last\d+))?(?P<solved>:solved)?"
    r"(?::(?P<epochs>\d+))?"
)


class Row(NamedTuple):
    """The training that both sides run.

    Attributes:
      name: the text that the row was parsed from.
      head_pct: percentage of the photos for the head.
      finetune_pct: percentage for fine-tuning; None for no fine-tuning.
      augment: whether training images are augmented.
      unfreeze: `all` or `last:N`.
      epochs: epochs of each stage.
      solved: whether this trainer only solves the head exactly, on the last
        stage's photos, where `fit` trains all stages.
    """

    name: str
    head_pct: float
    finetune_pct: float | None
    augment: bool
    unfreeze: str
    epochs: int
    solved: bool = False


class Spent(NamedTuple):
    """Time, memory and accuracy of one side.

    Attributes:
      wall: seconds.
      cpu: seconds of all threads.
      peak_mib: largest resident set size.
      accuracy: final accuracy on the test photos.
      images: number of images classified.
      step_seconds: mean time of a training step in the last stage, without
        the first step.
    """

    wall: float
    cpu: float
    peak_mib: float
    accuracy: float
    images: int
    step_seconds: float


def parse_row(text: str) -> Row:
    """Reads a row's name, or its parts as in the module's docstring."""
    match = _ROW.fullmatch(NAMED.get(text, text))
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r}: not a row; give {STUDY}, one of {', '.join(NAMED)}, or"
            " HEAD[+FINETUNE][:noaugment][:UNFREEZE][:solved][:EPOCHS], with or"
            f" without {AGAIN} before it"
        )
    unfreeze = (match["unfreeze"] or "last10").replace("last", "last:")
    return Row(
        text,
        float(match["head"]),
        float(match["finetune"]) if match["finetune"] else None,
        match["plain"] is None,
        unfreeze,
        int(match["epochs"] or 5),
        match["solved"] is not None,
    )


def folder_name(row: str) -> str:
    """Returns the name of a row's folder."""
    return row.replace(":", "_")


def timed(
    command: Sequence[str], log: Path, env: Mapping[str, str] | None = None
) -> tuple[float, float, float]:
    """Runs a process; returns wall seconds, CPU seconds and peak MiB.

    Args:
      command: the command.
      log: file for its output.
      env: its environment; None is that of this process.

    Raises:
      SystemExit: the process failed.
    """
    with log.open("w") as stream:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, env=env
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: failed; see {log}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def shared_flags(args: argparse.Namespace) -> list[str]:
    """Returns the flags that this trainer and `keras_fit` have in common."""
    return [
        f"--dataset={args.dataset}",
        f"--weights={args.weights}",
        f"--backbone={args.backbone}",
        f"--backbone_args={args.backbone_args}",
        f"--image_size={args.image_size}",
        f"--batch_size={args.batch_size}",
    ]


def our_flags(args: argparse.Namespace, *flags: str) -> list[str]:
    """Returns `main.py` and the flags of a run of this trainer."""
    if args.weights_origin:
        flags = (*flags, f"--weights_origin={args.weights_origin}")
    return ["main.py", *shared_flags(args), *flags, *args.ours]


def ours(
    row: Row, folder: Path, cache: Path, args: argparse.Namespace
) -> Spent:
    """Runs this trainer, with a second command to fine-tune on other data."""
    if row.solved:
        return _solved(row, folder, cache, args)
    same = row.finetune_pct in (None, row.head_pct)
    commands = []
    first = "feature_extract"
    if same and row.finetune_pct is not None:
        first = "finetune"
    for number, (stage, pct) in enumerate(
        [(first, row.head_pct)]
        + ([] if same else [("finetune", row.finetune_pct)])
    ):
        flags = [
            f"--stage={stage}",
            f"--data_pct={pct:g}",
            f"--epochs={row.epochs}",
            f"--workdir={folder / f'ours{number}'}",
            f"--cache_dir={cache}",
            f"--augment={row.augment}",
            f"--seed={args.seed}",
            "--log_every_steps=1",
        ]
        if stage == "finetune":
            flags.append(f"--unfreeze={row.unfreeze}")
            flags.append(
                f"--head_epochs={row.epochs}"
                if same
                else f"--init_from={folder / 'ours0'}"
            )
        commands.append([sys.executable, *our_flags(args, *flags)])
    spent = [
        timed(command, folder / f"ours{number}.log")
        for number, command in enumerate(commands)
    ]
    workdir = folder / f"ours{len(commands) - 1}"
    result = json.loads((workdir / "result.json").read_text())
    return Spent(
        sum(s[0] for s in spent),
        sum(s[1] for s in spent),
        max(s[2] for s in spent),
        result["test_accuracy"],
        0,
        _our_step(workdir, result["stage"], args.batch_size),
    )


def _solved(
    row: Row, folder: Path, cache: Path, args: argparse.Namespace
) -> Spent:
    """Runs this trainer, which solves the head exactly and does no more."""
    workdir = folder / "ours0"
    pct = row.head_pct if row.finetune_pct is None else row.finetune_pct
    flags = [
        "--stage=feature_extract",
        "--head_solver=lbfgs",
        f"--data_pct={pct:g}",
        f"--workdir={workdir}",
        f"--cache_dir={cache}",
        f"--seed={args.seed}",
    ]
    command = [sys.executable, *our_flags(args, *flags)]
    spent = timed(command, folder / "ours0.log")
    result = json.loads((workdir / "result.json").read_text())
    images = result["train_examples"] + result["test_examples"]
    return Spent(*spent, result["test_accuracy"], images, float("nan"))


def _our_step(workdir: Path, stage: str, batch_size: int) -> float:
    """Returns the mean seconds of a training step, without the first."""
    lines = [
        json.loads(line)
        for line in (workdir / "metrics.jsonl").read_text().splitlines()
    ]
    rates = [
        line["times"]["images_per_second"]
        for line in lines
        if (line["stage"], line["split"], line["span"])
        == (stage, "train", "steps")
    ]
    if not rates:
        return float("nan")
    return statistics.fmean(batch_size / rate for rate in rates[1:] or rates)


def keras_fit(
    side: str,
    row: Row,
    folder: Path,
    args: argparse.Namespace,
    *more: str,
) -> Spent:
    """Runs Keras `fit`; `more` are further flags of `keras_fit`."""
    out = folder / f"{side}.json"
    command = [sys.executable, "-m", "benchmarks.keras_fit"]
    command += [
        *shared_flags(args),
        f"--inference_mode={side}",
        f"--seed={args.seed}",
        f"--json={out}",
        f"--data_pct={row.head_pct:g}",
        f"--head_epochs={row.epochs}",
    ]
    if row.finetune_pct is None:
        command.append("--epochs=0")
    else:
        command += [
            f"--epochs={row.epochs}",
            f"--finetune_pct={row.finetune_pct:g}",
            "--unfreeze_last="
            + ("100000" if row.unfreeze == "all" else row.unfreeze[5:]),
        ]
    if not row.augment:
        command.append("--noaugment")
    command += more
    wall, cpu, peak = timed(command, folder / f"{side}.log")
    stages = list(json.loads(out.read_text())["stages"].values())
    images = sum(stage["images"] for stage in stages)
    return Spent(
        wall,
        cpu,
        peak,
        stages[-1]["test_accuracy"],
        images,
        stages[-1]["step_seconds"],
    )


def study(
    side: str, folder: Path, cache: Path, args: argparse.Namespace
) -> Spent:
    """Trains the five models; with `fit`, 3 and 4 load the weights of 2."""
    if side == OURS:
        flags = ["--stage=study", f"--workdir={folder / 'study'}"]
        flags.append(f"--cache_dir={cache}")
        command = [sys.executable, *our_flags(args, *flags)]
        spent = timed(command, folder / "study.log")
        study = json.loads((folder / "study" / "study.json").read_text())
        return Spent(
            *spent,
            study["models"][-1]["test_accuracy"][0],
            0,
            float("nan"),
        )
    each = []
    saved = folder / f"{side}.model2.weights.h5"
    for number, text in enumerate(_STUDY):
        part = folder / f"{side}{number}"
        part.mkdir()
        more = []
        if number == 2:
            more = [f"--save_to={saved}"]
        elif number > 2:
            more = [f"--start_from={saved}"]
        each.append(keras_fit(side, parse_row(text), part, args, *more))
    return Spent(
        sum(s.wall for s in each),
        sum(s.cpu for s in each),
        max(s.peak_mib for s in each),
        each[-1].accuracy,
        sum(s.images for s in each),
        float("nan"),
    )


def again(
    name: str,
    side: str,
    this_round: Mapping[str, Mapping[str, Spent]],
    folder: Path,
    args: argparse.Namespace,
) -> Spent:
    """Repeats a row with a warm cache; `fit` has none and is not rerun.

    Args:
      name: `again:` and the row.
      side: the side to repeat.
      this_round: the rows of the round so far; has the row to repeat.
      folder: folder of the repetition, beside that of the row.
      args: the arguments of the benchmark.
    """
    first = name.removeprefix(AGAIN)
    if side != OURS:
        return this_round[first][side]
    cache = folder.parent / folder_name(first) / "cache"
    return ours(parse_row(first), folder, cache, args)
