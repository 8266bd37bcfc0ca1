"""A stopped run resumed with other flags: refused, or the same result."""

from __future__ import annotations

import pathlib
import shutil
from typing import Any

import pytest

from tests.end_to_end.test_resume_rules import BASE, warnings
from tests.support.runs import (
    FINISHED,
    assert_same_arrays,
    assert_same_runs,
    stopped_after,
    train,
    weights,
)
from trainer.errors import TrainerError
from trainer.learning import checkpoints


@pytest.fixture(scope="module")
def original(photos, tiny, tmp_path_factory):
    """A run that ended after its first save, of four."""
    workdir = tmp_path_factory.mktemp("stopped") / "run"
    with stopped_after(1):
        train(photos, workdir, **BASE)
    return workdir


@pytest.fixture
def stopped(original, tmp_path):
    """A copy of that run."""
    return shutil.copytree(original, tmp_path / "run")


@pytest.fixture(scope="module")
def whole(photos, tiny, tmp_path_factory):
    """The weights of a run in one piece, and its result."""
    folder = tmp_path_factory.mktemp("whole")
    result = train(photos, folder / "run", **BASE)
    return weights(folder / "run", "finetune"), result


@pytest.mark.slow
def test_a_resume_with_other_logging_is_bit_identical(photos, stopped, whole):
    """Also after a refused resume with another seed."""
    with pytest.raises(TrainerError, match="--seed was 0, is 3"):
        train(photos, stopped, **BASE, seed=3)
    free = {"log_every_steps": 5, "checkpoint_every_steps": 2}
    train(photos, stopped, **BASE, **free, keep_checkpoints=1)
    assert warnings(stopped) == []
    assert_same_arrays(weights(stopped, "finetune"), whole[0])


@pytest.mark.slow
def test_a_resume_on_two_replicas_gives_one_warning(photos, stopped, whole):
    two = {"strategy": "mirrored", "logical_cpus": 2}
    result = train(photos, stopped, **BASE, **two)
    (text,) = warnings(stopped)
    assert "replicas was 1, is 2" in text
    assert result["steps"] == whole[1]["steps"]
    assert result["test_loss"] == pytest.approx(whole[1]["test_loss"], rel=1e-4)


@pytest.mark.slow
def test_a_run_of_an_earlier_version_resumes(
    photos: str,
    tiny: None,
    finished: tuple[pathlib.Path, dict[str, Any]],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All its checkpoints have all weights, before and after the resume."""
    resumed = tmp_path / "resumed"
    values = {**FINISHED, "stage": "finetune"}
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "left_out", lambda *a, **k: frozenset())
        # The third save is the first of finetune.
        with stopped_after(3):
            train(photos, resumed, **values)
    assert not (resumed / "checkpoints/frozen").exists()
    assert_same_runs((resumed, train(photos, resumed, **values)), finished)
