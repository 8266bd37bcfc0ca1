"""Faults planted among real photos, and how many of them are found."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainer.config import Config
from trainer.doctor.run import FOUND, check_data
from trainer.doctor.suspects import margins

_DATA = os.environ.get("TRAINER_TEST_DATA", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not _DATA, reason="TRAINER_TEST_DATA is not set"),
]
_COPIES = 20


def checked(
    folder: pathlib.Path, tmp_path: pathlib.Path, **flags: Any
) -> dict[str, Any]:
    """Runs check_data, and returns check.json."""
    config = Config(
        stage="check_data",
        dataset=str(folder),
        workdir=str(tmp_path / "checked"),
        cache_dir=str(tmp_path / "cache"),
        **flags,
    )
    assert check_data(config) == FOUND
    return json.loads((tmp_path / "checked/check.json").read_text())


def plant_copies(folder: pathlib.Path, seed: int) -> dict[str, str]:
    """Copies photos of train to test; returns how, by the copy's file name."""
    rng = np.random.default_rng(seed)
    photos = sorted(folder.glob("train/*/*.jpg"))
    chosen = rng.choice(len(photos), 3 * _COPIES, replace=False)
    how = {}
    for number, row in enumerate(chosen.tolist()):
        path = photos[row]
        target = folder / "test" / path.parent.name / f"planted_{number}.jpg"
        image = Image.open(path).convert("RGB")
        kind = ("exact", "re-encoded", "resized")[number % 3]
        if kind == "exact":
            shutil.copyfile(path, target)
        elif kind == "re-encoded" and number % 2:
            target = target.with_suffix(".png")
            image.save(target)
        elif kind == "re-encoded":
            image.save(target, quality=int(rng.integers(30, 90)))
        else:
            factor = rng.choice([0.5, 0.75, 1.5, 2.0])
            image = image.resize(
                (round(image.width * factor), round(image.height * factor)),
                Image.Resampling.LANCZOS,
            )
            image.save(target, quality=85)
        how[target.name] = kind
    return how


@pytest.mark.parametrize("name", ["food3", "food10_64px"])
def test_planted_copies_across_splits_are_found(
    name: str, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(pathlib.Path(_DATA, name), folder)
    how = plant_copies(folder, seed=len(name))
    record = checked(folder, tmp_path, weights="none", image_size=32)
    found: dict[str, set[str]] = {"exact": set(), "near": set()}
    false_pairs = set()
    for kind in record["findings"]:
        if "across" not in kind and "within" not in kind:
            continue
        for finding in record["findings"][kind]:
            pair = {finding["id"], finding["other"]["id"]}
            planted = [n for n in how if any(n in i for i in pair)]
            if not planted:
                false_pairs.add(frozenset(pair))
            else:
                found[kind.split("_")[0]].add(planted[0])
    exact = {n for n, kind in how.items() if kind == "exact"}
    others = set(how) - exact
    print(
        f"{name}: {len(exact & found['exact'])} of {len(exact)} exact,"
        f" {len(others & found['near'])} of {len(others)} others,"
        f" {len(false_pairs)} false pairs in {record['images']} images:"
        f" {sorted(map(sorted, false_pairs))}"
    )
    assert found["exact"] == exact
    assert len(others & found["near"]) >= 0.95 * len(others)
    assert len(false_pairs) <= record["images"] / 1000


def test_flipped_labels_rank_first(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flips 5 % of the labels of 447 photos."""
    folder = tmp_path / "photos"
    shutil.copytree(pathlib.Path(_DATA, "food3/train"), folder)
    classes = sorted(path.name for path in folder.iterdir())
    photos = sorted(folder.glob("*/*.jpg"))
    assert len(photos) == 447
    rng = np.random.default_rng(5)
    flipped = set()
    for row in rng.choice(len(photos), round(0.05 * 447), replace=False):
        path = photos[row]
        others = [name for name in classes if name != path.parent.name]
        target = folder / str(rng.choice(others)) / f"flipped_{path.name}"
        path.rename(target)
        flipped.add(target.name)
    ranks: list[str] = []

    def ranked(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return np.argsort(margins(probabilities, labels), kind="stable")

    # All images in the order of their margins, not only the suspects.
    monkeypatch.setattr("trainer.doctor.run.ranked_suspects", ranked)
    weights = "weights/mobilenetv2_0.35_224_notop.weights.h5"
    record = checked(
        folder,
        tmp_path,
        backbone="MobileNetV2",
        backbone_args="alpha=0.35",
        weights=str(pathlib.Path(_DATA, weights)),
    )
    ranks = [
        finding["id"].rpartition("/")[2]
        for finding in record["findings"]["suspect"]
    ]
    assert len(ranks) == 447
    first = flipped & set(ranks[:45])
    print(f"{len(first)} of {len(flipped)} flipped labels in the first 45")
    assert len(first) >= 0.7 * len(flipped)


_MEASURED = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), used.ru_maxrss)
"""


def test_a_whole_check_needs_less_than_1_gib(tmp_path: pathlib.Path) -> None:
    root = pathlib.Path(__file__).parents[2]
    # The peak of a process includes that of the process that started it, so a
    # small one starts it.
    done = subprocess.run(
        [
            *(sys.executable, "-c", _MEASURED),
            sys.executable,
            str(root / "main.py"),
            "--stage=check_data",
            f"--dataset={pathlib.Path(_DATA, 'food3')}",
            f"--workdir={tmp_path / 'checked'}",
            f"--cache_dir={tmp_path / 'cache'}",
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    status, kibibytes = map(int, done.stdout.split())
    assert status == FOUND
    assert kibibytes < 2**20
