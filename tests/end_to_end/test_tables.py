"""Whole runs on tables of images: the bits, and the use of a finished run."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.support.command import command
from tests.support.photos import make_photos
from tests.support.runs import TINY, assert_same_runs, train

pytestmark = pytest.mark.usefixtures("tiny")


def write_table(folder: pathlib.Path, name: str, per_group: int = 0) -> str:
    """Lists CLASS/NNN.jpg, under column names of its own."""
    rows = ["file,dish,who"]
    for photo in folder.glob("*/*.jpg"):
        label, number = photo.parent.name, int(photo.stem)
        group = f"{label} {number // per_group}" if per_group else ""
        rows.append(f"{label}/{photo.name},{label},{group}")
    (folder / name).write_text("\n".join(rows), encoding="utf-8")
    return str(folder / name)


@pytest.fixture
def flat(tmp_path: pathlib.Path) -> pathlib.Path:
    make_photos(tmp_path / "photos", train=12, test=0)
    return tmp_path / "photos" / "train"


COLUMNS = "path=file,label=dish,group=who"
HEAD = {**TINY, "stage": "feature_extract", "augment": False}


@pytest.mark.slow
def test_a_table_trains_as_its_folder_does(
    flat: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    folder, table = tmp_path / "one", tmp_path / "two"
    one = train(str(flat), folder, **HEAD)
    two = train(write_table(flat, "d.csv"), table, columns=COLUMNS, **HEAD)
    for result in (one, two):
        result.pop("dataset", None)
    assert_same_runs((folder, one), (table, two))


@pytest.mark.slow
def test_a_finished_run_finds_its_table(
    flat: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    workdir = tmp_path / "run"
    result = train(
        write_table(flat, "d.csv", per_group=4),
        workdir,
        columns=COLUMNS,
        **{**HEAD, "head_solver": "lbfgs"},
    )
    groups = json.loads((workdir / "manifest.json").read_text())["groups"]
    assert not set(groups["train"]) & set(groups["test"])
    said = command("--stage=evaluate", f"--workdir={workdir}")
    assert said.status == 0, said.err
    found = json.loads((workdir / "evaluation.json").read_text())
    assert found["test_accuracy"] == result["test_accuracy"]
    # The folder is evaluated whole; it has no columns.
    said = command(
        "--stage=evaluate", f"--workdir={workdir}", f"--dataset={flat}"
    )
    assert said.status == 0, said.err
