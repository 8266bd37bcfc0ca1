"""Time and memory of this trainer beside Keras 3 `fit`, on the same photos.

    python -m benchmarks.against_keras --dataset=FOLDER --workdir=OUT

Each row is done by both sides in turn, each time in a process of its own, and
the ratio of whole processes (imports, tracing and evaluation included) is
taken round by round. FOLDER holds train/CLASS and test/CLASS. Without
--weights a backbone with random weights is made once for both sides: then the
times mean something and the accuracies do not.

A row is named, or written HEAD[+FINETUNE][:noaugment][:UNFREEZE][:EPOCHS]:
`10+100:last10:5` trains a head on 10 % of the photos and then the last ten
layers on all of them, five epochs each. `:all` unfreezes everything. Named
rows: model0, last10 (after model 0, without augmentation), model2, model3,
all, study (the five models), again (model 0 a second time, with its cache).
--growth adds a table of how cost grows with data, epochs and layers.

Photos are decoded again by each side; file caches of the system are warm for
both after the first round, which --discard leaves out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Row", "main", "markdown", "parse_row"]

OURS, WRITTEN, WRAPPED = "ours", "as_written", "wrapped"
_NAMED = {
    "model0": "10:noaugment",
    "last10": "10+10:noaugment:last10",
    "model2": "10",
    "model3": "10+10:last10",
    "all": "10+10:all:1",
}
STUDY, AGAIN = "study", "again"
_STUDY = ("10:noaugment", "1", "10", "10+10:last10", "10+100:last10")
_GROWTH = (
    *("1:noaugment", "10:noaugment", "100:noaugment"),
    *("10:1", "10:5", "10:20"),
    *("10+10:last10:1", "10+10:last50:1", "10+10:all:1"),
)
_ROW = re.compile(
    r"(?P<head>[\d.]+)(?:\+(?P<finetune>[\d.]+))?(?P<plain>:noaugment)?"
    r"(?::(?P<unfreeze>all|last\d+))?(?::(?P<epochs>\d+))?"
)


class Row(NamedTuple):
    """What both sides train.

    Attributes:
      name: as it was asked for.
      head_pct: of the photos, for the head.
      finetune_pct: of the photos, for fine-tuning after it; None does none.
      augment: whether to.
      unfreeze: `all` or `last:N`.
      epochs: of each stage.
    """

    name: str
    head_pct: float
    finetune_pct: float | None
    augment: bool
    unfreeze: str
    epochs: int


class Spent(NamedTuple):
    """What one process took.

    Attributes:
      wall: seconds.
      cpu: seconds, of all its threads.
      peak_mib: largest resident set.
      accuracy: on the test photos, at its end.
      images: that went through the classifier.
      step_seconds: of a training step in the last stage, the mean of all but
        the first.
    """

    wall: float
    cpu: float
    peak_mib: float
    accuracy: float
    images: int
    step_seconds: float


def parse_row(text: str) -> Row:
    """Reads a row's name or HEAD[+FINETUNE][:noaugment][:UNFREEZE][:EPOCHS]."""
    match = _ROW.fullmatch(_NAMED.get(text, text))
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r}: not a row; give one of {', '.join(_NAMED)}, {STUDY},"
            f" {AGAIN}, or HEAD[+FINETUNE][:noaugment][:UNFREEZE][:EPOCHS]"
        )
    unfreeze = (match["unfreeze"] or "last10").replace("last", "last:")
    return Row(
        text,
        float(match["head"]),
        float(match["finetune"]) if match["finetune"] else None,
        match["plain"] is None,
        unfreeze,
        int(match["epochs"] or 5),
    )


def _timed(command: Sequence[str], log: Path) -> tuple[float, float, float]:
    """Wall and CPU seconds and peak MiB of a process.

    Raises:
      SystemExit: it failed.
    """
    with log.open("w") as stream:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: failed; see {log}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def _shared(args: argparse.Namespace) -> list[str]:
    return [
        f"--dataset={args.dataset}",
        f"--weights={args.weights}",
        f"--backbone={args.backbone}",
        f"--backbone_args={args.backbone_args}",
        f"--image_size={args.image_size}",
        f"--batch_size={args.batch_size}",
    ]


def _ours(
    row: Row, folder: Path, cache: Path, args: argparse.Namespace
) -> Spent:
    """Runs this trainer; fine-tuning on other data is a second command."""
    same = row.finetune_pct in (None, row.head_pct)
    commands = []
    first = "feature_extract"
    if same and row.finetune_pct is not None:
        first = "finetune"
    for number, (stage, pct) in enumerate(
        [(first, row.head_pct)]
        + ([] if same else [("finetune", row.finetune_pct)])
    ):
        command = [sys.executable, "main.py", *_shared(args)]
        command += [
            f"--stage={stage}",
            f"--data_pct={pct:g}",
            f"--epochs={row.epochs}",
            f"--workdir={folder / f'ours{number}'}",
            f"--cache_dir={cache}",
            f"--augment={row.augment}",
            f"--seed={args.seed}",
            "--log_every_steps=1",
        ]
        if args.weights_origin:
            command.append(f"--weights_origin={args.weights_origin}")
        if stage == "finetune":
            command.append(f"--unfreeze={row.unfreeze}")
            command.append(
                f"--head_epochs={row.epochs}"
                if same
                else f"--init_from={folder / 'ours0'}"
            )
        commands.append(command + args.ours)
    spent = [
        _timed(command, folder / f"ours{number}.log")
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


def _our_step(workdir: Path, stage: str, batch_size: int) -> float:
    """Seconds of a training step, from its log lines; the first is left out."""
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


def _keras(
    side: str,
    row: Row,
    folder: Path,
    args: argparse.Namespace,
    *more: str,
) -> Spent:
    out = folder / f"{side}.json"
    command = [sys.executable, "-m", "benchmarks.keras_fit", *_shared(args)]
    command += [
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
    wall, cpu, peak = _timed(command, folder / f"{side}.log")
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


def _study(
    side: str, folder: Path, cache: Path, args: argparse.Namespace
) -> Spent:
    """The five models; with `fit`, 3 and 4 load the weights of 2."""
    if side == OURS:
        command = [sys.executable, "main.py", "--stage=study", *_shared(args)]
        command += [f"--workdir={folder / 'study'}", f"--cache_dir={cache}"]
        if args.weights_origin:
            command.append(f"--weights_origin={args.weights_origin}")
        spent = _timed(command + args.ours, folder / "study.log")
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
        each.append(_keras(side, parse_row(text), part, args, *more))
    return Spent(
        sum(s.wall for s in each),
        sum(s.cpu for s in each),
        max(s.peak_mib for s in each),
        each[-1].accuracy,
        sum(s.images for s in each),
        float("nan"),
    )


def measure(args: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """row -> side -> one `Spent` for each round, both sides in turn."""
    found: dict[str, dict[str, list[Spent]]] = {}
    for number in range(args.rounds + args.discard):
        for name in names:
            folder = args.workdir / f"round{number}" / name.replace(":", "_")
            folder.mkdir(parents=True)
            cache = folder / "cache"
            for side in (*args.sides, OURS):
                if name == STUDY:
                    spent = _study(side, folder, cache, args)
                elif side != OURS:
                    row = parse_row("model0" if name == AGAIN else name)
                    spent = _keras(side, row, folder, args)
                else:
                    row = parse_row("model0" if name == AGAIN else name)
                    spent = _ours(row, folder, cache, args)
                    if name == AGAIN:
                        second = folder / "again"
                        second.mkdir()
                        spent = _ours(row, second, cache, args)
                if number >= args.discard:
                    sides = found.setdefault(name, {})
                    sides.setdefault(side, []).append(spent)
            if number >= args.discard:
                print(markdown({name: found[name]}).splitlines()[-1])
    return found


def _spread(values: Sequence[float], digits: int = 2) -> str:
    middle = statistics.median(values)
    if len(values) == 1:
        return f"{middle:.{digits}f}"
    low, high = min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def markdown(
    found: Mapping[str, Mapping[str, Sequence[Spent]]],
) -> str:
    """A row a comparison: ratios (Keras / ours, median and range), figures."""
    lines = [
        "| row | against | wall, Keras / ours | CPU | a training step"
        " | peak MiB, Keras / ours | images/s, Keras / ours"
        " | accuracy, Keras / ours |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, sides in found.items():
        ours = sides[OURS]
        for side, spent in sides.items():
            if side == OURS:
                continue
            pairs = list(zip(spent, ours, strict=True))
            images = spent[0].images
            lines.append(
                f"| {name} | {side}"
                f" | **{_spread([k.wall / o.wall for k, o in pairs])}**"
                f" | {_spread([k.cpu / o.cpu for k, o in pairs])}"
                " | "
                + _spread([k.step_seconds / o.step_seconds for k, o in pairs])
                + f" | {_middle(spent, 'peak_mib'):.0f}"
                f" / {_middle(ours, 'peak_mib'):.0f}"
                f" | {images / _middle(spent, 'wall'):.1f}"
                f" / {images / _middle(ours, 'wall'):.1f}"
                f" | {_middle(spent, 'accuracy'):.3f}"
                f" / {_middle(ours, 'accuracy'):.3f} |"
            )
    return "\n".join(lines)


def _middle(spent: Sequence[Spent], name: str) -> float:
    return statistics.median(getattr(s, name) for s in spent)


def machine() -> str:
    """The processor, its cores and the versions, in a line."""
    model = platform.processor()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
    except OSError:
        pass
    from importlib.metadata import version

    return (
        f"{model}, {os.cpu_count()} CPUs, Python {platform.python_version()},"
        f" TensorFlow {version('tensorflow')}, Keras {version('keras')}"
    )


def _random_weights(args: argparse.Namespace) -> None:
    """Makes the backbone's weights, in a process of its own."""
    path = args.workdir.absolute() / "random.weights.h5"
    code = (
        "import keras, sys; keras.utils.set_random_seed(0);"
        f" keras.applications.{args.backbone}(weights=None, include_top=False,"
        f" input_shape=({args.image_size}, {args.image_size}, 3))"
        ".save_weights(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    args.weights, args.weights_origin = path, "keras_none"
    if not args.backbone.startswith("EfficientNetB"):
        args.weights_origin = None


def _profile(args: argparse.Namespace, name: str) -> None:
    """Prints where a run of this trainer spends its time, in Python."""
    row = parse_row("model0" if name in (STUDY, AGAIN) else name)
    folder = args.workdir / "profile"
    folder.mkdir(parents=True, exist_ok=True)
    stage = "feature_extract" if row.finetune_pct is None else "finetune"
    command = [sys.executable, "-m", "cProfile", "-o", str(folder / "out")]
    command += ["main.py", *_shared(args), f"--stage={stage}"]
    command += [f"--data_pct={row.head_pct:g}", f"--augment={row.augment}"]
    command += [f"--workdir={folder / 'run'}", f"--cache_dir={folder / 'c'}"]
    if args.weights_origin:
        command.append(f"--weights_origin={args.weights_origin}")
    _timed(command + args.ours, folder / "log")
    import pstats

    pstats.Stats(str(folder / "out")).sort_stats("cumulative").print_stats(40)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="against_keras",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--dataset", type=Path, required=True, help="train/CLASS, test/CLASS")
    add("--workdir", type=Path, required=True, help="folder for what is run")
    add("--weights", type=Path, help="of the backbone without top")
    add("--weights_origin", choices=("imagenet", "keras_none"))
    add("--backbone", default="EfficientNetB0")
    add("--backbone_args", default="", help="NAME=VALUE")
    add("--image_size", type=int, default=224, help="pixels")
    add("--batch_size", type=int, default=32)
    add("--seed", type=int, default=0)
    add("--rows", default="model0,last10,model2,model3,all,again")
    add("--sides", default="as_written,wrapped", help="of Keras fit")
    add("--rounds", type=int, default=3)
    add("--discard", type=int, default=0, help="rounds that warm up")
    add("--growth", action="store_true", help="the second table too")
    add("--profile", help="row whose run is profiled, too")
    add("--json", type=Path, help="file for the figures")
    add("--ours", nargs="*", default=[], help="more flags of this trainer")
    args = parser.parse_args(argv)
    args.sides = args.sides.split(",")
    unknown = set(args.sides) - {WRITTEN, WRAPPED}
    if unknown:
        parser.error(f"--sides: {', '.join(unknown)}: no such side")
    for name in args.rows.split(","):
        if name not in (STUDY, AGAIN):
            try:
                parse_row(name)
            except argparse.ArgumentTypeError as error:
                parser.error(f"--rows: {error}")
    return args


def main(argv: Sequence[str]) -> None:
    """Runs both sides in turn, and prints the tables."""
    args = _parse(argv)
    args.workdir.mkdir(parents=True, exist_ok=True)
    if args.weights is None:
        _random_weights(args)
    print(machine(), flush=True)
    found = measure(args, args.rows.split(","))
    print(f"\n{markdown(found)}")
    if args.growth:
        growth = measure(args, _GROWTH)
        print(f"\n{markdown(growth)}")
        found = {**found, **growth}
    if args.json:
        figures = {
            name: {
                side: [s._asdict() for s in each] for side, each in v.items()
            }
            for name, v in found.items()
        }
        text = json.dumps({"machine": machine(), "rows": figures}, indent=2)
        args.json.write_text(text + "\n")
    if args.profile:
        _profile(args, args.profile)


if __name__ == "__main__":
    main(sys.argv[1:])
