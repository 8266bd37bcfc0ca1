r"""Compares the accuracy of this trainer and Keras 3 `fit` on the same photos.

    python -m benchmarks.accuracy --dataset=FOLDER --weights=FILE \
        --backbone=MobileNetV2 --backbone_args=alpha=0.35 \
        --recipes=10+10,100+100 --seeds=3 --workdir=OUT

A recipe is HEAD[+FINETUNE][:noaugment], with percentages of the training
photos: `10` trains a head on 10 %, `10+100` then fine-tunes on 100 %. For each
seed, a recipe runs in this trainer, in `fit` as the tutorials write it, and in
`fit` with the base in inference mode, each time in its own process. All three
train on the photos in this trainer's manifest. Finished runs in OUT are not
repeated.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.sides import shared_flags, timed

__all__ = ["Recipe", "main", "parse_recipe", "table"]

OURS, WRITTEN, WRAPPED = "this trainer", "fit, as written", "fit, wrapped"
SIDES = (OURS, WRITTEN, WRAPPED)
_MODES = {WRITTEN: "as_written", WRAPPED: "wrapped"}
_RECIPE = re.compile(r"([\d.]+)(?:\+([\d.]+))?(:noaugment)?")


class Recipe(NamedTuple):
    """The stages to train: a head, and optionally fine-tuning."""

    head_pct: float
    finetune_pct: float | None
    augment: bool

    def rows(self) -> list[str]:
        """Returns the names of the recipe's rows in the table, in order."""
        plain = "" if self.augment else ", no augmentation"
        names = [f"feature_extract {self.head_pct:g} %{plain}"]
        if self.finetune_pct is not None:
            after = (
                f" after {names[0]}"
                if self.finetune_pct != self.head_pct
                else plain
            )
            names.append(f"finetune {self.finetune_pct:g} %{after}")
        return names


def parse_recipe(text: str) -> Recipe:
    """Reads HEAD[+FINETUNE][:noaugment]."""
    match = _RECIPE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r}: not HEAD[+FINETUNE][:noaugment], such as 10+100"
        )
    head, finetune, plain = match.groups()
    return Recipe(
        float(head), float(finetune) if finetune else None, plain is None
    )


def _ours(
    recipe: Recipe, seed: int, folder: Path, args: argparse.Namespace
) -> list[float]:
    """Returns test accuracies by stage; the workdirs are in `folder`."""
    workdirs: list[Path] = []
    for stage, pct in (
        ("feature_extract", recipe.head_pct),
        ("finetune", recipe.finetune_pct),
    ):
        if pct is None:
            continue
        workdir = folder / stage
        start = [f"--init_from={workdirs[0]}"] if workdirs else []
        command = [sys.executable, "main.py", *shared_flags(args), *start]
        command += [f"--stage={stage}", f"--data_pct={pct}", f"--seed={seed}"]
        command += [f"--augment={recipe.augment}", f"--workdir={workdir}"]
        timed(command, folder / f"{stage}.log")
        workdirs.append(workdir)
    return [
        json.loads((workdir / "result.json").read_text())["test_accuracy"]
        for workdir in workdirs
    ]


def _photo_list(workdir: Path) -> Path:
    """Writes a file with the training photos of a run of this trainer."""
    manifest = json.loads((workdir / "manifest.json").read_text())
    file = workdir / "train_list.txt"
    file.write_text("\n".join(manifest["train_ids"]) + "\n")
    return file


def _fit(
    side: str, recipe: Recipe, seed: int, folder: Path, args: argparse.Namespace
) -> list[float]:
    """Returns test accuracies of `fit` by stage, on this trainer's photos."""
    out = folder / f"{_MODES[side]}.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.keras_fit",
        *shared_flags(args),
        f"--seed={seed}",
        f"--inference_mode={_MODES[side]}",
        f"--train_list={_photo_list(folder / 'feature_extract')}",
        f"--json={out}",
    ]
    if recipe.finetune_pct is None:
        command.append("--epochs=0")
    else:
        photos = _photo_list(folder / "finetune")
        command += [f"--finetune_list={photos}", "--finetune_pct=100"]
    if not recipe.augment:
        command.append("--noaugment")
    timed(command, folder / f"{_MODES[side]}.log")
    stages = json.loads(out.read_text())["stages"]
    return [metrics["test_accuracy"] for metrics in stages.values()]


def table(accuracies: Mapping[str, Mapping[str, Mapping[int, float]]]) -> str:
    """Returns Markdown: a row per stage, a column per side, mean and seeds.

    Args:
      accuracies: test accuracies by row, side and seed.
    """
    lines = [
        f"| | {' | '.join(SIDES)} |",
        f"|---|{'---|' * len(SIDES)}",
    ]
    for row, sides in accuracies.items():
        cells = []
        for side in SIDES:
            values = list(sides.get(side, {}).values())
            each = " ".join(f"{value:.3f}" for value in values)
            mean = f"**{statistics.mean(values):.3f}**" if values else "-"
            cells.append(f"{mean} ({each})" if len(values) > 1 else mean)
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="accuracy", allow_abbrev=False)
    add = parser.add_argument
    add("--dataset", type=Path, required=True, help="train/CLASS, test/CLASS")
    add("--weights", type=Path, required=True, help="imagenet, or a file")
    add("--workdir", type=Path, required=True, help="folder for all runs")
    add("--backbone", default="EfficientNetB0")
    add("--backbone_args", default="", help="NAME=VALUE")
    add("--image_size", type=int, default=224, help="pixels")
    add("--batch_size", type=int, default=32)
    add("--recipes", default="10+10,100+100", help="separated by commas")
    add("--seeds", type=int, default=3, help="number of seeds")
    add("--sides", default=",".join(_MODES.values()), help="forms of Keras fit")
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Runs missing recipes and prints the table after each seed."""
    args = _parse(argv)
    recipes = [parse_recipe(text) for text in args.recipes.split(",")]
    wanted = [s for s in SIDES if s == OURS or _MODES[s] in args.sides]
    accuracies: dict[str, dict[str, dict[int, float]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for seed in range(args.seeds):
        for recipe in recipes:
            name = "_".join(str(part) for part in recipe)
            folder = args.workdir / f"seed{seed}" / name
            folder.mkdir(parents=True, exist_ok=True)
            for side in wanted:
                done = folder / f"{side.replace(' ', '_')}.accuracy.json"
                if not done.exists():
                    values = (
                        _ours(recipe, seed, folder, args)
                        if side == OURS
                        else _fit(side, recipe, seed, folder, args)
                    )
                    done.write_text(json.dumps(values))
                values = json.loads(done.read_text())
                for row, value in zip(recipe.rows(), values, strict=True):
                    # Two recipes may have the same head.
                    accuracies[row][side][seed] = value
        print(f"\nafter {seed + 1} of {args.seeds} seeds\n{table(accuracies)}")


if __name__ == "__main__":
    main(sys.argv[1:])
