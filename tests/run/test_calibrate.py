"""When a run fits a temperature, and when a command uses it."""

from __future__ import annotations

import json
import pathlib
import types
from typing import Any

import numpy as np
import pytest

from tests.support.photos import make_photos
from tests.support.runs import TINY, train
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.results.evaluation import Evaluation
from trainer.run.calibrate import final_metrics, stored_calibration
from trainer.run.export import export
from trainer.run.use import evaluate

CLASSES = ("a", "b")


def evaluated(samples: Any, **given: bool) -> Evaluation:
    """Returns an evaluation in which every fourth prediction is wrong."""
    outputs = np.zeros((len(samples), 2), np.float32)
    wrong = np.arange(len(samples)) % 4 == 0
    outputs[np.arange(len(samples)), samples.labels ^ wrong] = 5
    return Evaluation(
        loss=1.0,
        accuracy=0.75,
        top5_accuracy=None,
        confusion=np.array([[3, 1], [1, 3]]),
        class_names=CLASSES,
        outputs=outputs,
    )


class FakeSamples:
    """Samples of which only labels and number count."""

    def __init__(self, count: int) -> None:
        self.labels = np.arange(count) % 2

    def __len__(self) -> int:
        return len(self.labels)


@pytest.mark.parametrize(
    ("count", "final_split", "on_final", "why"),
    [
        (100, "test", False, ""),
        (99, "test", False, "there are only 99 validation images; 100 are"),
        (100, "test", True, "the validation images are those of the test"),
        (100, "held_out", False, "the validation images are those of the test"),
    ],
)
def test_when_a_temperature_is_fitted(
    count: int, final_split: str, on_final: bool, why: str
) -> None:
    """75 of 100 images are right, at a confidence of 0.9933.

    The optimum has the confidence 0.75, so T = 5 / log 3.
    """
    manifest = types.SimpleNamespace(
        final_split=final_split,
        validates_on_final=on_final,
        validation=FakeSamples(count),
        final=FakeSamples(8),
    )
    evaluator = types.SimpleNamespace(evaluate=evaluated)
    metrics = final_metrics(manifest, evaluator, evaluated(manifest.final))
    found = metrics["calibration"]
    assert found["why_not"].startswith(why)
    if why:
        assert found["temperature"] == 1
        assert "test_ece_calibrated" not in metrics
        return
    assert found["temperature"] == pytest.approx(5 / np.log(3))
    assert found["examples"] == 100
    # Two of eight are wrong.
    assert metrics["test_ece_calibrated"] == pytest.approx(0, abs=1e-9)
    assert metrics["test_ece"] == pytest.approx(1 / (1 + np.exp(-5)) - 0.75)


RESULT = {
    "stage": "finetune",
    "steps": 9,
    "result_step": 6,
    "result_checkpoint": "best",
    "tta": "off",
    "calibration": {"temperature": 1.5, "examples": 200, "why_not": ""},
}
UNFITTED = {
    **RESULT,
    "calibration": {"temperature": 1.0, "examples": 0, "why_not": "only 3"},
}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"which": "last"}, "another checkpoint"),
        ({"step": 9}, "another checkpoint"),
        ({"stage": "feature_extract"}, "another checkpoint"),
        ({"tta": "flip"}, "another --tta"),
        ({"result": {"stage": "finetune"}}, "stored none"),
        ({"result": None}, "stored none"),
        ({"result": UNFITTED}, "only 3"),
        ({"result": UNFITTED, "tta": "flip"}, "only 3"),
    ],
)
def test_a_temperature_is_used_for_its_own_weights(
    changes: dict[str, Any], why: str
) -> None:
    values = {
        "stage": "finetune",
        "which": "best",
        "step": 6,
        "tta": "off",
        "result": RESULT,
        **changes,
    }
    trained = types.SimpleNamespace(
        workdir=types.SimpleNamespace(read_json=lambda name: values["result"]),
        classifier=types.SimpleNamespace(multilabel=False),
        run=types.SimpleNamespace(tta=values["tta"]),
        **{name: values[name] for name in ("stage", "which", "step")},
    )
    found = stored_calibration(trained)
    assert why in found.why_not
    assert found.temperature == (1 if why else 1.5)


@pytest.mark.slow
def test_a_run_stores_its_temperature_for_evaluate_and_export(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """105 of 210 training images are held out; some are classified wrong."""
    use_tiny_backbone(monkeypatch)
    photos = make_photos(tmp_path / "photos", train=70, test=5)
    workdir = tmp_path / "run"
    result = train(
        photos,
        workdir,
        **TINY,
        stage="finetune",
        head_epochs=0,
        unfreeze="last:3",
        learning_rate=0.001,
        validation="train:0.5",
    )
    stored = result["calibration"]
    assert stored["examples"] == 105
    assert stored["loss_after"] < stored["loss_before"]
    assert stored["loss_before"] == pytest.approx(
        result["best_validation_loss"], rel=1e-5
    )
    given = frozenset({"stage", "workdir"})
    evaluate(Config(stage="evaluate", workdir=str(workdir)), given)
    found = json.loads((workdir / "evaluation.json").read_text())
    assert found["calibration"] == stored
    for key in ("test_ece", "test_ece_calibrated", "test_average_precision"):
        assert found[key] == pytest.approx(result[key], rel=1e-4)
    export(Config(stage="export", workdir=str(workdir)), given)
    record = json.loads((workdir / "export/export.json").read_text())
    assert record["calibration"] == stored
