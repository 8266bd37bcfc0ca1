"""Compares time and memory of this trainer and Keras 3 `fit`.

    python -m benchmarks.against_keras --dataset=FOLDER --workdir=OUT

Both sides run each row alternately on the same photos, each time in a new
process. The ratio of the times of whole processes, imports, tracing and
evaluation included, is computed per round. FOLDER holds train/CLASS and
test/CLASS. Without --weights both sides load the same random weights: times are
valid, accuracies are not.

A row is a name or HEAD[+FINETUNE][:noaugment][:UNFREEZE][:solved][:EPOCHS]:
`10+100:last10:5` trains a head on 10 % of the photos and then the last ten
layers on all of them, five epochs each. `:all` unfreezes everything. With
`:solved` this trainer only solves the head exactly. Named rows: model0, last10
(after model 0, without augmentation), model2, model3, all, study (the five
models), exact (a solved head against model 3 of `fit`). `again:ROW` repeats a
row with its cache; `fit` has none and is not run again.
--growth adds a table of how cost grows with data, epochs and layers.

Each side decodes the photos again. The page cache is warm for both after the
first round, which --discard=1 leaves out.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.sides import (
    AGAIN,
    OURS,
    STUDY,
    WRAPPED,
    WRITTEN,
    Spent,
    again,
    folder_name,
    keras_fit,
    our_flags,
    ours,
    parse_row,
    study,
    timed,
)

__all__ = ["machine", "main", "markdown", "measure"]

_GROWTH = (
    *("1:noaugment", "10:noaugment", "100:noaugment"),
    *("10:1", "10:5", "10:20"),
    *("10+10:last10:1", "10+10:last50:1", "10+10:all:1"),
)


def measure(args: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """Runs all rows; returns one `Spent` per round, by row and side."""
    found: dict[str, dict[str, list[Spent]]] = {}
    for number in range(args.rounds + args.discard):
        this_round: dict[str, dict[str, Spent]] = {}
        for name in names:
            folder = args.workdir / f"round{number}" / folder_name(name)
            folder.mkdir(parents=True)
            cache = folder / "cache"
            for side in (*args.sides, OURS):
                first = name.removeprefix(AGAIN)
                if first != name and side in this_round.get(first, {}):
                    spent = again(name, side, this_round, folder, args)
                elif name == STUDY:
                    spent = study(side, folder, cache, args)
                elif side != OURS:
                    row = parse_row(first)
                    spent = keras_fit(side, row, folder, args)
                else:
                    row = parse_row(first)
                    spent = ours(row, folder, cache, args)
                    if first != name:
                        second = folder / "again"
                        second.mkdir()
                        spent = ours(row, second, cache, args)
                this_round.setdefault(name, {})[side] = spent
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
    """Returns a table of ratios (Keras / ours, median and range)."""
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
    """Returns the processor, its cores and the versions in one line."""
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
    """Saves random weights of the backbone, in a separate process."""
    args.weights = args.workdir.absolute() / "random.weights.h5"
    code = (
        "import sys; from benchmarks.models import save_random_weights;"
        " save_random_weights(*sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, str(args.weights), args.backbone]
    command += [args.backbone_args, str(args.image_size)]
    subprocess.run(command, check=True)
    # Keras builds two forms of these backbones only.
    if args.backbone.startswith("EfficientNetB"):
        args.weights_origin = "keras_none"


def _profile(args: argparse.Namespace, name: str) -> None:
    """Prints a Python profile of a run of this trainer."""
    row = parse_row("model0" if name == STUDY else name.removeprefix(AGAIN))
    folder = args.workdir / "profile"
    folder.mkdir(parents=True, exist_ok=True)
    stage = "feature_extract" if row.finetune_pct is None else "finetune"
    command = [sys.executable, "-m", "cProfile", "-o", str(folder / "out")]
    flags = [f"--stage={stage}", f"--data_pct={row.head_pct:g}"]
    flags += [f"--augment={row.augment}", f"--workdir={folder / 'run'}"]
    flags.append(f"--cache_dir={folder / 'c'}")
    timed(command + our_flags(args, *flags), folder / "log")
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
    add("--workdir", type=Path, required=True, help="folder for all runs")
    add("--weights", type=Path, help="imagenet, or a file")
    add("--weights_origin", choices=("imagenet", "keras_none"))
    add("--backbone", default="EfficientNetB0")
    add("--backbone_args", default="", help="NAME=VALUE")
    add("--image_size", type=int, default=224, help="pixels")
    add("--batch_size", type=int, default=32)
    add("--seed", type=int, default=0)
    add("--rows", default="model0,last10,model2,model3,all,again:model0")
    add("--sides", default="as_written,wrapped", help="forms of Keras fit")
    add("--rounds", type=int, default=3)
    add("--discard", type=int, default=0, help="warm-up rounds")
    add("--growth", action="store_true", help="also print the second table")
    add("--profile", help="row to profile")
    add("--json", type=Path, help="file for the measurements")
    add("--ours", nargs="*", default=[], help="more flags of this trainer")
    args = parser.parse_args(argv)
    args.sides = args.sides.split(",")
    unknown = set(args.sides) - {WRITTEN, WRAPPED}
    if unknown:
        parser.error(f"--sides: {', '.join(unknown)}: no such side")
    for name in args.rows.split(","):
        if name != STUDY:
            try:
                parse_row(name.removeprefix(AGAIN))
            except argparse.ArgumentTypeError as error:
                parser.error(f"--rows: {error}")
    return args


def main(argv: Sequence[str]) -> None:
    """Runs both sides alternately and prints the tables."""
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
        rows = {
            name: {
                side: [s._asdict() for s in each] for side, each in v.items()
            }
            for name, v in found.items()
        }
        text = json.dumps({"machine": machine(), "rows": rows}, indent=2)
        args.json.write_text(text + "\n")
    if args.profile:
        _profile(args, args.profile)


if __name__ == "__main__":
    main(sys.argv[1:])
