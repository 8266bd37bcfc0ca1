"""Tests that evaluate or resume workdirs with damaged files."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from tests.support.bad_flag_cases.case import (
    BASE,
    FAILURE,
    assert_one_line,
    evaluating,
    filled,
)
from tests.support.command import command
from tests.support.photos import make_photos
from tests.support.runs import assert_same_arrays, weights
from tests.support.tiny import use_tiny_backbone


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with photos."""
    folder = tmp_path_factory.mktemp("damaged")
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_tiny_backbone(monkeypatch)
        make_photos(folder / "photos", train=4, test=3)
        yield folder


@pytest.fixture(scope="module")
def finished(root):
    """A workdir with a complete run, which tests copy and damage."""
    workdir = root / "finished"
    values = {**BASE, "epochs": 2, "workdir": workdir, "keep_checkpoints": 2}
    said = command(*filled(root, values))
    assert said.status == 0, said.err
    return workdir


LAST = "checkpoints/feature_extract/last"
DATA = f"{LAST}/ckpt-6.data-00000-of-00001"


def _truncate(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def _flip(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    content[50] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("again", ["evaluate", "train"])
@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("config.json", _truncate, "/config.json: cannot be read"),
        (
            "backbone.json",
            pathlib.Path.unlink,
            "/backbone.json: missing; restore it",
        ),
    ],
    ids=["config", "backbone"],
)
def test_a_damaged_workdir_is_refused_in_one_line(
    root, finished, tmp_path, capfd, name, damage, words, again
):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    damage(workdir / name)
    flags = {"epochs": 3, "workdir": workdir}
    values = {**BASE, **flags} if again == "train" else evaluating(str(workdir))
    said = command(*filled(root, values))
    assert_one_line(said.err, (str(workdir), words, "another --workdir"))
    assert said.status == FAILURE
    assert capfd.readouterr().err == ""


DAMAGES = {
    "data-truncated": (DATA, _truncate),
    "data-empty": (DATA, lambda path: path.write_bytes(b"")),
    "data-flipped": (DATA, _flip),
    "data-missing": (DATA, pathlib.Path.unlink),
    "index-truncated": (f"{LAST}/ckpt-6.index", _truncate),
}


def test_evaluate_skips_a_checkpoint_truncated_by_a_kill(
    root, finished, tmp_path
):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    name, spoil = DAMAGES["index-truncated"]
    spoil(workdir / name)
    said = command(*filled(root, evaluating(str(workdir))))
    assert said.status == 0, said.err
    assert "feature_extract at step 3 (last)" in said.out


@pytest.mark.parametrize(
    "damage", [d for d in DAMAGES if d != "index-truncated"]
)
def test_evaluate_names_a_damaged_checkpoint(root, finished, tmp_path, damage):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    name, spoil = DAMAGES[damage]
    spoil(workdir / name)
    said = command(*filled(root, evaluating(str(workdir))))
    path = f"{workdir}/{LAST}/ckpt-6"
    assert_one_line(
        said.err,
        (
            f"{path}: cannot be restored",
            f"remove {path}.* to use the checkpoint before it",
        ),
    )
    assert said.status == FAILURE


@pytest.fixture(scope="module")
def longer(root, finished):
    """The weights after one more epoch without damage."""
    workdir = root / "longer"
    shutil.copytree(finished, workdir)
    values = {**BASE, "epochs": 3, "workdir": workdir}
    said = command(*filled(root, values))
    assert said.status == 0, said.err
    assert "resume feature_extract from step 6\n" in said.out
    return weights(workdir, "feature_extract")


# The module tests/learning/test_damaged_checkpoints.py has every damage.
@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", ["data-flipped", "index-truncated", "list", "removed"]
)
def test_a_run_resumes_from_before_a_damaged_checkpoint(
    root, finished, longer, tmp_path, damage
):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    if damage == "list":
        (workdir / LAST / "checkpoint").write_bytes(b"\xff")
    elif damage == "removed":
        for path in (workdir / LAST).glob("ckpt-6.*"):
            path.unlink()
    else:
        name, spoil = DAMAGES[damage]
        spoil(workdir / name)
    values = {**BASE, "epochs": 3, "workdir": workdir}
    said = command(*filled(root, values))
    assert (said.status, said.err) == (0, "")
    warning = f"warning: {workdir}/{LAST}/ckpt-6: cannot be read"
    assert (warning in said.out) is (damage in DAMAGES)
    assert_same_arrays(weights(workdir, "feature_extract"), longer)


def test_no_readable_checkpoint_is_a_one_line_error(root, finished, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    for path in (workdir / LAST).glob("*.data-*"):
        path.write_bytes(b"")
    values = {**BASE, "epochs": 3, "workdir": workdir}
    said = command(*filled(root, values))
    assert_one_line(
        said.err, (f"{workdir}/{LAST}: none of its 2 checkpoints can be read",)
    )
    assert said.status == FAILURE
