"""Pipes and damaged lists in place of weights are rejected at once."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import keras
import pytest
import tensorflow as tf

from tests.support.weights import refusal

DATA = ".data-00000-of-00001"

pytestmark = pytest.mark.usefixtures("in_seconds")


def pipe(path: pathlib.Path) -> None:
    os.mkfifo(path)


def list_that_is_a_pipe(path: pathlib.Path) -> None:
    path.mkdir()
    os.mkfifo(path / "checkpoint")


def damaged_list(path: pathlib.Path) -> None:
    path.mkdir()
    (path / "checkpoint").write_bytes(b"model_checkpoint_path: \xff")


def data_that_is_a_pipe(path: pathlib.Path) -> None:
    tf.train.Checkpoint(v=tf.Variable([1.0])).write(str(path))
    os.remove(f"{path}{DATA}")
    os.mkfifo(f"{path}{DATA}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (pipe, "cannot be read (not a regular file); give a file you may read"),
        (list_that_is_a_pipe, "/checkpoint: cannot be read (not a regular"),
        (damaged_list, "/checkpoint: cannot be read ("),
        (data_that_is_a_pipe, "is missing, or not a regular file); the file"),
    ],
    ids=["file", "list", "damaged-list", "data"],
)
def test_pipes_and_damaged_lists_are_rejected(
    make: Callable[[pathlib.Path], None],
    message: str,
    tiny: keras.Model,
    tmp_path: pathlib.Path,
) -> None:
    make(tmp_path / "a")
    assert message in f"/{refusal(tmp_path / 'a', tiny)}".replace(
        f"{tmp_path}/a", ""
    )
