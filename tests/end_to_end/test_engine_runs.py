"""Whole runs by every engine of the trunk, beside the plain one."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from tests.support.cached_runs import (
    STAGES,
    TINY,
    forget,
    tiny_runs_without_rows,
)
from tests.support.photos import make_photos
from tests.support.replicas import counted_calls
from tests.support.runs import (
    assert_same_runs,
    copied_after,
    lines,
    stopped_after,
    train,
    weights,
)
from trainer.config import Config
from trainer.learning import stage_trunk
from trainer.model.trunk.engines import GraphTrunk, LiteTrunk
from trainer.run import fast_paths
from trainer.run.use import evaluate
from trainer.workdir import Workdir

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_photos(tmp_path_factory.mktemp("photos"), train=7, test=4)


@pytest.fixture(autouse=True)
def tiny_runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with tiny_runs_without_rows(monkeypatch):
        yield


def distance(one: dict, two: dict) -> float:
    """Over all variables of the model together."""
    assert one.keys() == two.keys()
    return float(
        np.sqrt(
            sum(
                np.sum((one[k].astype(np.float64) - two[k]) ** 2)
                for k in one
                if k.startswith("model/")
            )
        )
    )


# Runs that train in one stage.
NO_HEAD = {"head_epochs": 0}
PATHS: Mapping[str, dict[str, Any]] = {
    "step_unfolded": {"trunk_engine": "step", "fold_batch_norm": False},
    "step": {"trunk_engine": "step", "augment_kernel": "gather"},
    "graph_unfolded": {
        "trunk_engine": "graph",
        "fold_batch_norm": False,
        "quick_gradients": "off",
    },
    "litert": {"trunk_engine": "litert"},
}


def test_all_engines_train_alike_with_and_without_folding(
    photos: str, tmp_path: pathlib.Path
) -> None:
    head = tmp_path / "head"
    train(photos, head, **{**TINY, "stage": "feature_extract"})
    found = {}
    for name, values in PATHS.items():
        workdir = tmp_path / name
        fields = {**TINY, "augment": True, "cache": "off", **values}
        fields |= {"init_from": str(head)}
        result = train(photos, workdir, **fields)
        found[name] = weights(workdir, "finetune"), result["test_loss"]
        stored = json.loads((workdir / "config.json").read_text())
        assert stored["environment"]["trunk_engine"] == values["trunk_engine"]
    first = weights(head, "feature_extract")
    plain, loss = found["step_unfolded"]
    way = distance(
        {k: v for k, v in first.items() if k.startswith("model/")},
        {k: v for k, v in plain.items() if k.startswith("model/")},
    )
    assert way > 0.01
    for name, (end, its_loss) in found.items():
        assert distance(end, plain) < 1e-3 * way, name
        assert its_loss == pytest.approx(loss, rel=1e-3), name


def test_a_resumed_run_keeps_its_engine(
    photos: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine that auto would choose now does not matter."""
    fields = {**TINY, **NO_HEAD, "checkpoint_every_steps": 2, "augment": True}
    monkeypatch.setattr(stage_trunk, "_MIN_IMAGES_FOR_LITERT", 10**9)
    again = tmp_path / "again"
    with copied_after(2, again):
        whole = tmp_path / "whole", train(photos, tmp_path / "whole", **fields)
    forget()
    monkeypatch.setattr(stage_trunk, "_MIN_IMAGES_FOR_LITERT", 0)
    with (
        counted_calls(monkeypatch, GraphTrunk, "__call__") as mine,
        counted_calls(monkeypatch, LiteTrunk, "__call__") as others,
    ):
        resumed = train(photos, again, **fields)
        assert_same_runs((again, resumed), whole)
        evaluate_again(again)
    assert mine[0] > 0
    assert others[0] == 0
    assert "may differ" not in (again / "events.jsonl").read_text()


def evaluate_again(workdir: pathlib.Path, **values: Any) -> dict[str, Any]:
    given = {"stage": "evaluate", "workdir": str(workdir), **values}
    evaluate(Config(**given), frozenset(given))
    return json.loads((workdir / "evaluation.json").read_text())


@pytest.mark.parametrize(
    ("stage", "engine"),
    [("finetune", "graph"), ("feature_extract", "litert")],
)
def test_evaluation_equals_the_result_of_the_run(
    photos: str, tmp_path: pathlib.Path, stage: str, engine: str
) -> None:
    fields = {**TINY, "stage": stage, "trunk_engine": engine}
    if stage == "finetune":
        fields |= NO_HEAD
    result = train(photos, tmp_path, **fields)
    forget()
    for values in ({"cache": "ram"}, {"cache": "off", "batch_size": 8}):
        found = evaluate_again(tmp_path, **values)
        for key in ("test_loss", "test_accuracy", "test_confusion"):
            assert found[key] == result[key], key


def test_many_images_test_a_model_without_frozen_layers_in_litert(
    photos: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same run otherwise, and evaluate computes the same again."""
    fields = {**TINY, **NO_HEAD, "unfreeze": "all"}
    fields |= {"trunk_engine": "litert"}
    with counted_calls(monkeypatch, LiteTrunk, "__call__") as calls:
        plain = train(photos, tmp_path / "plain", **fields)
        of_plain = calls[0]
        monkeypatch.setattr(fast_paths, "_MIN_TESTED_BY_LITERT", 1)
        forget()
        result = train(photos, tmp_path / "litert", **fields)
        assert calls[0] > 2 * of_plain
        of_both = calls[0]
        forget()
        found = evaluate_again(tmp_path / "litert", cache="off")
        assert calls[0] > of_both
    ends = [weights(tmp_path / n, "finetune") for n in ("plain", "litert")]
    assert distance(*ends) == 0
    assert result["test_loss"] == pytest.approx(plain["test_loss"], rel=1e-4)
    for key in ("test_loss", "test_accuracy", "test_confusion"):
        assert found[key] == result[key], key


def test_an_unreadable_graph_falls_back_to_the_step(
    photos: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The classifier in the step, whatever engine is asked for."""
    fields = {**TINY, **NO_HEAD, "augment": False}
    plain = {"trunk_engine": "step", "fold_batch_norm": False}
    one = train(photos, tmp_path / "plain", **{**fields, **plain})
    monkeypatch.setattr("trainer.model.trunk.cut.graph_of", lambda model: None)
    two = train(
        photos, tmp_path / "none", **{**fields, "trunk_engine": "graph"}
    )
    assert_same_runs((tmp_path / "plain", one), (tmp_path / "none", two))


def test_a_failing_litert_falls_back_with_a_warning(
    photos: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {**TINY, "augment": True}
    one = train(
        photos, tmp_path / "graph", **{**fields, "trunk_engine": "graph"}
    )

    def fail(*args: Any, **kwargs: Any) -> None:
        raise ValueError("cannot be converted (why)")

    monkeypatch.setattr(stage_trunk, "lite_trunk", fail)
    said: list[str] = []
    monkeypatch.setattr(Workdir, "warn", lambda self, text: said.append(text))
    two = train(
        photos, tmp_path / "litert", **{**fields, "trunk_engine": "litert"}
    )
    assert_same_runs((tmp_path / "graph", one), (tmp_path / "litert", two))
    # Once a stage.
    assert said == [
        "--trunk_engine=litert: the frozen part cannot be converted (why);"
        " falling back to graph, so the last bits may differ"
    ] * len(STAGES)


def test_a_run_before_quick_gradients_is_warned_of_them(
    photos: str, tmp_path: pathlib.Path
) -> None:
    workdir = tmp_path / "run"
    with stopped_after(1):
        train(photos, workdir, **TINY, **NO_HEAD)
    path = workdir / "config.json"
    stored = json.loads(path.read_text())
    del stored["environment"]["quick_gradients"]
    path.write_text(json.dumps(stored))
    forget()
    train(photos, workdir, **TINY, **NO_HEAD)
    warned = [e["text"] for e in lines(workdir, "events.jsonl") if "text" in e]
    assert any("quick_gradients was 'off', is 'on'" in text for text in warned)
