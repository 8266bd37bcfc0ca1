"""A fold on several replicas and processes; all folds are for one process."""

from __future__ import annotations

import csv
import pathlib
from typing import Any

import numpy as np
import pytest

from tests.support.command import arguments, command
from tests.support.jobs import Job, run_command
from tests.support.photos import make_photos

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny")]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    """27 images to train on, of which a fold of two has 13 or 14."""
    return make_photos(tmp_path_factory.mktemp("photos") / "p", train=9)


def asked(photos: str, workdir: pathlib.Path, **values: Any) -> list[str]:
    """Returns the arguments of a run of the head in batches of 12."""
    fields = {
        "stage": "feature_extract",
        "dataset": photos,
        "workdir": workdir,
        "backbone": "MobileNetV2",
        "weights": "none",
        "image_size": 32,
        "batch_size": 12,
        "epochs": 2,
        "learning_rate": 0.1,
        "validation": "fold:1/2",
        **values,
    }
    return arguments(fields)


def table(workdir: pathlib.Path) -> tuple[list[str], np.ndarray]:
    """Returns the ids of out_of_fold.csv, and both probabilities."""
    with open(workdir / "out_of_fold.csv", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))[1:]
    return [row[0] for row in rows], np.array([r[4:] for r in rows], float)


@pytest.fixture(scope="module")
def alone(
    tiny: None, photos: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], np.ndarray]:
    """The predictions of the fold's run on one replica."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    said = command(*asked(photos, workdir))
    assert said.status == 0, said.err
    return table(workdir)


def test_replicas_predict_each_held_out_image_once(
    alone: tuple[list[str], np.ndarray], photos: str, tmp_path: pathlib.Path
) -> None:
    values = {"strategy": "mirrored", "logical_cpus": 4}
    left = Job(1, tmp_path / "job", run_command,
               asked(photos, tmp_path / "run", **values)).wait()  # fmt: skip
    assert left[0].status == 0, left[0].err
    ids, probabilities = table(tmp_path / "run")
    assert ids == alone[0]
    np.testing.assert_allclose(probabilities, alone[1], atol=1e-4)


def test_processes_predict_each_held_out_image_once(
    alone: tuple[list[str], np.ndarray], photos: str, tmp_path: pathlib.Path
) -> None:
    left = Job(
        2, tmp_path / "job", run_command, asked(photos, tmp_path / "run")
    ).wait()
    assert [process.status for process in left] == [0, 0], left
    assert "(on fold 1 of 2 of the training subset)" in left[0].out
    assert left[1].out == ""
    ids, probabilities = table(tmp_path / "run")
    assert ids == alone[0]
    np.testing.assert_allclose(probabilities, alone[1], atol=1e-4)


def test_several_processes_are_refused_in_one_line(
    photos: str, tmp_path: pathlib.Path
) -> None:
    workdir = tmp_path / "run"
    left = Job(
        2,
        tmp_path / "job",
        run_command,
        asked(photos, workdir, validation="kfold:2"),
    ).wait()
    assert [process.status for process in left] == [2, 2], left
    assert left[0].err == (
        "error: --validation=kfold:2: for one process only, and this job has"
        " 2; run each fold by itself with --validation=fold:1/2 and a --workdir"
        " of its own\n"
    )
    assert not workdir.exists()
