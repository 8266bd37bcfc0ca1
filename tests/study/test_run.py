"""The order of a study's runs, and what its report gets; nothing trains."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from tests.support.stage import METRICS
from trainer.config import Config, ResolvedConfig
from trainer.study import run
from trainer.workdir import REPORT, RESULT, Workdir


class Study:
    """A study whose runs only write their results.

    Attributes:
      trained: seed, model's folder and epochs of each run, in order.
      report: what the report was made from.
    """

    def __init__(
        self, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._path = path
        self.trained: list[tuple[int, str, int]] = []
        self.report: dict[str, Any] = {}
        monkeypatch.setattr(run.training, "train", self._train)
        monkeypatch.setattr(run, "_mistakes", lambda *given: None)
        monkeypatch.setattr(run, "_write_report", self._write_report)

    def _train(self, config: ResolvedConfig) -> None:
        workdir = Workdir(config.workdir)
        name = str(pathlib.Path(config.workdir).relative_to(self._path))
        self.trained.append((config.seed, name, config.epochs))
        result = {
            **METRICS,
            "dataset": "d",
            "classes": ["a", "b"],
            "test_examples": 2,
            "test_confusion": [[1, 0], [1, 0]],
        }
        workdir.write_json(RESULT, result)
        for span in ("steps", "epoch"):
            workdir.metrics().append({"seed": config.seed, "span": span})
        if "model2" in config.workdir:
            workdir.write_text(REPORT, "<html>")

    def _write_report(
        self, workdir: Workdir, record: Any, lines: Any, *_: Any, reports: Any
    ) -> bool:
        self.report = {"record": record, "lines": lines, "reports": reports}
        return True

    def train(self, **values: Any) -> None:
        run.train(
            Config(
                stage="study",
                dataset="d",
                workdir=str(self._path),
                epochs=7,
                head_epochs=4,
                **values,
            )
        )


def test_each_seed_trains_all_models_in_order(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(tmp_path, monkeypatch)
    study.train(models="0,3", seed=5, seeds=2)
    assert study.trained == [
        (seed, f"seed{seed}/model{number}", epochs)
        for seed in (5, 6)
        for number, epochs in ((0, 4), (2, 4), (3, 7))
    ]
    assert study.report["record"]["seeds"] == [5, 6]
    # Curves and reports are of one seed.
    lines = [{"seed": 5, "span": span} for span in ("steps", "epoch")]
    assert study.report["lines"] == {0: lines, 2: lines, 3: lines}
    assert study.report["reports"] == {"model 2": "seed5/model2/report.html"}
