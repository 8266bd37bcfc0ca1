"""The start of a run, before its first stage trains."""

from __future__ import annotations

import pathlib
import types
from typing import Any

import pytest

from tests.support.stage import METRICS
from trainer.config import Config
from trainer.learning.start import Start
from trainer.run.resolve import resolve
from trainer.run.stages import TrainingRun
from trainer.workdir import REPORT, RESULT, Workdir


@pytest.mark.parametrize(("cut", "left"), [(True, [1]), (False, [1, 2])])
def test_a_start_removes_the_old_result_and_later_metrics(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    cut: bool,
    left: list[int],
) -> None:
    """A killed run must not show the result of an earlier one."""
    workdir = Workdir(str(tmp_path))
    workdir.write_json(RESULT, METRICS)
    workdir.write_text(REPORT, "<html>")
    workdir.metrics().append({"step": 1})
    position = workdir.metrics().position()
    workdir.metrics().append({"step": 2})
    config = resolve(Config(dataset="d", workdir=str(tmp_path)), 8)
    start = Start(
        stages=config.stages()[-1:],
        start_step=4,
        metrics_position=position if cut else None,
        why="",
    )

    def stage(self: TrainingRun, spec: Any, later: Any, step: int) -> None:
        assert workdir.read_json(RESULT) is None
        assert not (tmp_path / REPORT).exists()
        assert [x["step"] for x in workdir.metrics().lines()] == left
        assert (spec.stage, later, step) == ("finetune", None, 4)
        raise ZeroDivisionError

    monkeypatch.setattr(TrainingRun, "_stage", stage)
    # This run has no model, of which the size of a checkpoint could be told.
    monkeypatch.setattr(TrainingRun, "_say_needs", lambda self: None)
    unused: Any = types.SimpleNamespace(config=config, runtime=None, train=())
    with pytest.raises(ZeroDivisionError):
        TrainingRun(unused, workdir, unused, unused, start, unused).run()
