"""Workdirs that may not be written to, and those with unusual names."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import tempfile
import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.command import Said, arguments, command
from tests.support.photos import make_photos
from tests.support.runs import assert_same_arrays, lines, stopped_after, weights
from tests.support.tiny import use_tiny_backbone
from trainer.workdir import Workdir

pytestmark = pytest.mark.slow

_NOBODY = 65534


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """A block in which permissions hold, for root too."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_backbone(patch)
        yield


@pytest.fixture(scope="module")
def root() -> Iterator[pathlib.Path]:
    """A folder that everybody may read; those that pytest makes are not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        make_photos(pathlib.Path(name) / "photos", train=4, test=3)
        yield pathlib.Path(name)


def run(root: pathlib.Path, workdir: pathlib.Path, **values: Any) -> Said:
    """Returns the arguments of a training in a workdir."""
    flags = {
        "stage": "feature_extract",
        "dataset": root / "photos",
        "workdir": workdir,
        "backbone": "MobileNetV2",
        "weights": "none",
        "image_size": 32,
        "batch_size": 4,
        "epochs": 1,
        "augment": False,
        "keep_checkpoints": 1,
        **values,
    }
    return command(*arguments(flags))


def use(stage: str, workdir: pathlib.Path, **values: Any) -> Said:
    return command(*arguments({"stage": stage, "workdir": workdir, **values}))


# Runs before each test, because an unprivileged process may be unable to read
# the modules of Python that a first training imports.
@pytest.fixture(scope="module", autouse=True)
def finished(root, tiny) -> pathlib.Path:
    workdir = root / "finished"
    said = run(root, workdir)
    assert said.status == 0, said.err
    for folder, _, names in os.walk(workdir):
        os.chmod(folder, 0o555)
        for name in names:
            os.chmod(f"{folder}/{name}", 0o444)
    return workdir


def refusal(workdir: pathlib.Path, reason: str = "Permission denied") -> str:
    return (
        f"error: --workdir={str(workdir)!r}: cannot be written to ({reason});"
        " give a writable folder\n"
    )


@pytest.mark.parametrize("epochs", [1, 2], ids=["complete", "with more to do"])
def test_training_in_a_read_only_workdir_is_refused(root, finished, epochs):
    with unprivileged():
        said = run(root, finished, epochs=epochs)
    assert (said.status, said.err) == (1, refusal(finished))


def test_training_below_a_read_only_folder_is_refused(root, finished):
    with unprivileged():
        said = run(root, finished / "below")
    assert (said.status, said.err) == (1, refusal(finished / "below"))


def test_training_with_a_read_only_file_is_refused(root):
    workdir = root / "one_file"
    Workdir(str(workdir)).create()
    os.chmod(workdir, 0o777)
    events = workdir / "events.jsonl"
    events.touch(0o444)
    with unprivileged():
        said = run(root, workdir)
    assert said.status == 1
    assert said.err.splitlines()[-1] + "\n" == refusal(
        workdir, f"{events}: Permission denied"
    )
    assert not (workdir / "lock").exists()


def test_a_read_only_workdir_can_be_used(root, finished):
    with unprivileged():
        said = use("evaluate", finished)
        assert said.status == 0, said.err
        assert "9 examples: loss" in said.out
        assert (
            f"warning: --workdir={str(finished)!r}: cannot be written to"
            " (Permission denied), so evaluation.json is not saved;" in said.out
        )
        said = use("predict", finished, inputs=root / "photos/test")
        assert said.status == 0, said.err
        assert len(said.out.splitlines()) == 1 + 9
        said = use("export", finished)
    assert said.status == 1
    assert said.err.splitlines()[-1].startswith(
        f"error: --output={str(finished / 'export')!r}: cannot be written to"
    )
    assert not (finished / "evaluation.json").exists()
    assert not list(finished.glob(".trainer-*"))


def test_a_workdir_of_any_name_works(root, finished, tmp_path):
    """The first word is composed, the second decomposed."""
    words = ("NFC", "Mañana"), ("NFD", "й"), ("NFC", "пицца 100% {x} 'ß' 🍕")
    name = ", ".join(unicodedata.normalize(*word) for word in words)
    for form in ("NFC", "NFD"):
        assert not unicodedata.is_normalized(form, name)
    workdir = tmp_path / name / "the run"
    with stopped_after(1):
        run(root, workdir, checkpoint_every_steps=2)
    said = run(root, workdir, checkpoint_every_steps=2)
    assert said.status == 0, said.err
    assert f"workdir: {workdir}\n" in said.out
    events = [line["event"] for line in lines(workdir, "events.jsonl")]
    assert "resume" in events
    stage = "feature_extract"
    assert_same_arrays(weights(workdir, stage), weights(finished, stage))
    kept = workdir / "checkpoints" / stage / "last"
    assert len(list(kept.glob("*.index"))) == 1
    assert len(list(kept.glob("*.data-*"))) == 1
    said = use("evaluate", workdir)
    assert said.status == 0, said.err
    found = json.loads((workdir / "evaluation.json").read_text())
    result = json.loads((workdir / "result.json").read_text())
    assert found["test_loss"] == result["test_loss"]
    said = use("export", workdir, export_formats="saved_model")
    assert said.status == 0, said.err
    assert said.out.endswith(f"export: {workdir / 'export'}\n")
    assert (workdir / "export/saved_model/saved_model.pb").exists()
    # No second folder of the other form was made beside it.
    assert os.listdir(tmp_path) == [name]
