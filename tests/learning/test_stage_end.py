"""The weights that a stage ends with: the last, or the best."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import types
from typing import Any

import numpy as np
import pytest

from tests.support.command import command
from tests.support.photos import make_photos
from tests.support.runs import (
    TINY,
    StopError,
    assert_same_runs,
    lines,
    train,
    weights,
)
from tests.support.scripted import script_validation
from tests.support.stage import METRICS, Stage
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.data.manifest import Manifest
from trainer.errors import TrainerError
from trainer.learning import checkpoints
from trainer.learning.audit import digests
from trainer.learning.checkpoint_files import checkpoint_step, find_checkpoints
from trainer.learning.checkpoints import StageCheckpoints
from trainer.learning.stage_end import _restore_best
from trainer.learning.start import result_checkpoint, stage_marker
from trainer.model.freeze import freeze_plan
from trainer.results.evaluate import Evaluator
from trainer.results.report import result_lines
from trainer.workdir import Workdir

HEAD, FINETUNE = "feature_extract", "finetune"
RUN = {**TINY, "stage": HEAD}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_photos(tmp_path_factory.mktemp("photos")))


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_backbone(monkeypatch)


def honest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every run restore its best weights."""
    monkeypatch.setattr(Config, "honest_validation", True)
    monkeypatch.setattr(Manifest, "validates_on_final", False)


@pytest.fixture(scope="module")
def source(
    photos: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, dict[str, Any]]:
    """A finetune whose best validations are those of steps 6 and 12 of 15."""
    path = tmp_path_factory.mktemp("source") / "run"
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_backbone(patch)
        honest(patch)
        script_validation(patch, accuracy=[0.2, 0.8, 0.5, 0.9, 0.1])
        values = {**TINY, "stage": FINETUNE, "head_epochs": 3, "epochs": 2}
        # Moves no weight, so finetune ends with the weights it begins with.
        return path, train(photos, path, **values, learning_rate=1e-30)


def distance(one: dict[str, Any], two: dict[str, Any]) -> float:
    """Returns the largest difference of a weight."""
    return max(
        float(np.abs(one[key] - two[key]).max())
        for key in one
        if key.startswith("model/")
    )


@pytest.mark.slow
def test_the_result_is_of_the_best_validation(source):
    path, result = source
    (head,) = result["earlier_stages"]
    assert (head["result_checkpoint"], head["result_step"]) == ("best", 6)
    assert (result["result_checkpoint"], result["result_step"]) == ("best", 12)
    assert result["steps"] == 15
    assert result["audit"]["frozen_unchanged"] is True
    shown = list(result_lines(result, str(path)))
    assert shown[-6].endswith("the table shows the best validation, step 12")
    final = [
        line["step"]
        for line in lines(path, "metrics.jsonl")
        if line["span"] == "final"
    ]
    assert final == [6, 12]
    # Finetune starts from the best weights of the head.
    after = weights(path, FINETUNE)
    assert distance(weights(path, HEAD, "best"), after) < 1e-20
    assert distance(weights(path, HEAD, "last"), after) > 1e-6


@pytest.mark.slow
def test_evaluate_takes_the_checkpoint_of_the_result(source):
    path, result = source
    evaluate = ["--stage=evaluate", f"--workdir={path}"]
    said = command(*evaluate)
    assert said.status == 0, said.err
    assert "finetune at step 12 (best)" in said.out
    found = json.loads((path / "evaluation.json").read_text())
    assert found["test_loss"] == result["test_loss"]
    said = command(*evaluate, "--checkpoint=last")
    assert "finetune at step 15 (last)" in said.out
    last = json.loads((path / "evaluation.json").read_text())
    assert last["step"] == 15


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        (None, "last"),
        (METRICS, "last"),
        ({**METRICS, "result_checkpoint": "best"}, "best"),
        # A workdir may come from another person.
        ({**METRICS, "result_checkpoint": "../../../tmp"}, "last"),
    ],
)
def test_the_checkpoint_of_a_result(tmp_path, marker, expected):
    workdir = Workdir(str(tmp_path))
    if marker:
        workdir.write_json(stage_marker(HEAD), marker)
    assert result_checkpoint(workdir, HEAD) == expected


@pytest.mark.slow
def test_the_next_run_starts_from_the_weights_of_the_result(
    photos, source, tmp_path
):
    path, _ = source
    values = {**RUN, "epochs": 1, "learning_rate": 1e-30}
    # Finetune moved nothing, so its weights are the best ones of the head.
    head = weights(path, HEAD, "best")
    train(photos, tmp_path / "run", **values, init_from=str(path))
    assert distance(weights(tmp_path / "run", HEAD), head) < 1e-20
    events = lines(tmp_path / "run", "events.jsonl")
    assert f"from finetune of {path}" in events[0]["why"]


@pytest.mark.slow
def test_finetune_in_a_workdir_of_a_head(photos, tmp_path, monkeypatch):
    """A second command continues with the weights that the first ended with."""
    honest(monkeypatch)
    script_validation(monkeypatch, accuracy=[0.2, 0.8, 0.5, 0.9])
    path = tmp_path / "run"
    train(photos, path, **RUN, epochs=3)
    values = {**TINY, "stage": FINETUNE, "epochs": 1, "learning_rate": 1e-30}
    train(photos, path, **values)
    after = weights(path, FINETUNE)
    assert distance(weights(path, HEAD, "best"), after) < 1e-20
    assert distance(weights(path, HEAD, "last"), after) > 1e-6


@pytest.mark.slow
def test_last_weights_of_the_head_may_be_asked_for(
    photos, tmp_path, monkeypatch
):
    honest(monkeypatch)
    script_validation(monkeypatch, accuracy=[0.8, 0.5, 0.9])
    values = {**TINY, "stage": FINETUNE, "head_epochs": 2, "epochs": 1}
    path = tmp_path / "run"
    train(
        photos,
        path,
        **values,
        learning_rate=1e-30,
        init_from_checkpoint="last",
    )
    after = weights(path, FINETUNE)
    assert distance(weights(path, HEAD, "last"), after) < 1e-20
    assert distance(weights(path, HEAD, "best"), after) > 1e-6


@pytest.mark.slow
def test_a_resume_after_the_restore_has_the_same_result(
    photos, tmp_path, monkeypatch
):
    honest(monkeypatch)
    accuracies = [0.2, 0.8, 0.5]
    values = {**RUN, "epochs": 3, "learning_rate": 0.05}
    script_validation(monkeypatch, accuracy=accuracies)
    straight = train(photos, tmp_path / "one", **values)
    script_validation(monkeypatch, accuracy=accuracies)
    real = Evaluator.evaluate

    def evaluate_then_stop(self: Evaluator, *args: Any, **options: Any) -> Any:
        found = real(self, *args, **options)
        if not options.get("again"):
            raise StopError
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "evaluate", evaluate_then_stop)
        with pytest.raises(StopError):
            train(photos, tmp_path / "two", **values)
    resumed = train(photos, tmp_path / "two", **values)
    assert_same_runs((tmp_path / "two", resumed), (tmp_path / "one", straight))
    assert resumed["result_step"] == 6


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_best_checkpoint_is_one_line(
    photos, source, tmp_path, monkeypatch, damage
):
    path = tmp_path / "run"
    shutil.copytree(source[0], path)
    (path / "result.json").unlink()
    (data,) = (path / "checkpoints" / FINETUNE / "best").glob("*.data-*")
    if damage == "missing":
        data.with_name("ckpt-12.index").unlink()
    else:
        os.truncate(data, 100)
    honest(monkeypatch)
    values = {**TINY, "stage": FINETUNE, "head_epochs": 3, "epochs": 2}
    with pytest.raises(TrainerError) as error:
        train(photos, path, **values, learning_rate=1e-30)
    text = str(error.value)
    assert "\n" not in text
    assert str(path / "checkpoints" / FINETUNE / "best") in text
    assert text.endswith(
        "restore its files, or start in another --workdir with"
        f" --init_from={str(path)!r} --init_from_checkpoint=last"
    )


def test_other_frozen_weights_in_the_best_are_refused(tmp_path, monkeypatch):
    # As if an earlier part had trained them, so that they are in the file.
    monkeypatch.setattr(checkpoints, "left_out", lambda *a, **k: frozenset())
    stage = Stage(tmp_path)
    plan = freeze_plan(stage.classifier, "last:2")
    stage.state.digests = digests(stage.variables)
    stage.step()
    stage.state.best = {"step": 1, "loss": 1.0, "accuracy": 0.5}
    frozen = stage.variables[plan.frozen[0]]
    kept = frozen.numpy()
    frozen.assign(kept + 1)
    stage.checkpoints.save(best=True)
    frozen.assign(kept)
    job = types.SimpleNamespace(
        workdir=stage.workdir, classifier=stage.classifier, plan=plan
    )
    with pytest.raises(TrainerError, match=r"is frozen, and differs from its"):
        _restore_best(job, stage.state, 1)


def test_a_kill_between_two_saves_keeps_the_best_of_the_state(tmp_path):
    stage = Stage(tmp_path)

    def checkpoints() -> StageCheckpoints:
        return StageCheckpoints(
            stage.workdir,
            variables=stage.variables,
            optimizer=stage.optimizer,
            state=stage.state,
            keep=3,
            keep_best=2,
        )

    def best_steps() -> list[int]:
        found = find_checkpoints(stage.workdir, "finetune", "best")
        return [checkpoint_step(path) for path in found]

    saved = checkpoints()
    stage.step()
    saved.save(best=True)
    stage.step()
    # The best of step 2 is written, the state that names it is not.
    saved._managers["best"].save(checkpoint_number=2)
    assert best_steps() == [2, 1]
    assert checkpoints().restore() is True
    assert (stage.state.step, best_steps()) == (1, [1])
