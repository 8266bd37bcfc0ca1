"""Defaults of the flags of images, by recipe and workdir."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from trainer.config import Config
from trainer.run.resolve import resolve

BEFORE = {"exif": "ignore", "background": "off", "resize": "stretch"}
NOW = {"exif": "apply", "background": "white", "resize": "stretch"}
BEST = {**NOW, "resize": "crop"}


def resolved(**values: Any) -> dict[str, str | None]:
    found = resolve(Config(backbone="MobileNetV2", **values), 224)
    return {name: getattr(found, name) for name in BEFORE}


def started(folder: pathlib.Path, **values: str) -> str:
    """Writes the record of a run with these values, and returns its workdir."""
    folder.mkdir(parents=True)
    runs = {"feature_extract": {"seed": 0, **values}}
    (folder / "config.json").write_text(json.dumps({"runs": runs}))
    return str(folder)


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [("tutorial", BEFORE), ("quick", NOW), ("best", BEST)],
)
def test_a_recipe_decides_for_a_new_workdir(
    tmp_path: pathlib.Path, recipe: str, expected: dict[str, str]
) -> None:
    new = {"recipe": recipe, "workdir": str(tmp_path / "new")}
    assert resolved(**new) == expected
    given = {"exif": "apply", "resize": "pad"}
    assert resolved(**new, **given) == {**expected, **given}


@pytest.mark.parametrize("recipe", ["tutorial", "quick", "best"])
def test_a_workdir_keeps_its_values(
    tmp_path: pathlib.Path, recipe: str
) -> None:
    old = started(tmp_path / "old")
    assert resolved(recipe=recipe, workdir=old) == BEFORE
    now = started(tmp_path / "now", **NOW)
    assert resolved(recipe=recipe, workdir=now) == NOW
    assert resolved(recipe=recipe, workdir=now, exif="ignore") == {
        **NOW,
        "exif": "ignore",
    }


def test_folds_keep_the_values_of_the_first(tmp_path: pathlib.Path) -> None:
    started(tmp_path / "run" / "fold-1")
    workdir = str(tmp_path / "run")
    found = resolved(recipe="best", validation="kfold:3", workdir=workdir)
    assert found == BEFORE


def test_a_damaged_workdir_is_left_to_its_reader(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "config.json").write_text("{")
    assert resolved(workdir=str(tmp_path)) == BEFORE


@pytest.mark.parametrize("recipe", ["tutorial", "best"])
def test_default_workdirs_keep_their_names(recipe: str) -> None:
    def name(**values: str) -> str:
        config = Config(backbone="MobileNetV2", recipe=recipe, **values)
        return resolve(config, 224).workdir

    defaults = BEST if recipe == "best" else BEFORE
    assert name() == name(**defaults)
    others = {
        name(exif="ignore" if recipe == "best" else "apply"),
        name(background="black"),
        name(resize="pad"),
    }
    assert len(others | {name()}) == 4


def test_a_default_workdir_is_that_of_earlier_versions() -> None:
    # As 0.1.0 named it.
    found = resolve(Config(backbone="MobileNetV2"), 224).workdir
    assert found.rpartition("-")[2] == "0d011d6e"
