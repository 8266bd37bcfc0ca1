"""Golden metrics of short runs of the tiny backbone.

They guard against silent changes of order, augmentation, subset or
initialisation. To renew them after an intended change of training, run

    python -m tests.end_to_end.test_golden

and say in the commit why they changed.
"""

from __future__ import annotations

import json
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.photos import make_photos
from tests.support.runs import TINY, lines, small
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.run import training
from trainer.study import run as study

# 45 of 90 images to train on, in steps of 8, augmented; 15 to test on. Of the
# 10 % that the study takes there are 9.
SHARED: Mapping[str, Any] = {
    **TINY,
    "data_pct": 50.0,
    "epochs": 2,
    "learning_rate": 0.01,
    "trunk_engine": "graph",
    "seed": 7,
}
RUNS: Mapping[str, Mapping[str, Any]] = {
    "feature_extract": {"stage": "feature_extract"},
    "finetune": {
        "stage": "finetune",
        "head_epochs": 1,
        "head_learning_rate": 0.01,
        "unfreeze": "last:3",
    },
    "study": {"stage": "study", "models": "0,2,3", "head_epochs": 1},
}
# Loss and accuracy of each stage's last epoch: of its training steps, of its
# validation and of the test. Printed by the command above on an x86-64 CPU
# with AVX-512 and TensorFlow 2.21.0.
GOLDEN: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "feature_extract": {
        "feature_extract feature_extract train": (1.06154, 0.4),
        "feature_extract feature_extract validation": (1.03803, 0.5),
        "feature_extract feature_extract test": (1.05026, 0.4),
    },
    "finetune": {
        "finetune feature_extract train": (1.07635, 0.33333),
        "finetune feature_extract validation": (1.0548, 0.5),
        "finetune feature_extract test": (1.06448, 0.4),
        "finetune finetune train": (0.28812, 1.0),
        "finetune finetune validation": (0.1521, 1.0),
        "finetune finetune test": (0.14918, 1.0),
    },
    "study": {
        "study/seed7/model0 feature_extract train": (1.08698, 0.33333),
        "study/seed7/model0 feature_extract validation": (1.06892, 0.375),
        "study/seed7/model0 feature_extract test": (1.07835, 0.33333),
        "study/seed7/model2 feature_extract train": (1.07875, 0.33333),
        "study/seed7/model2 feature_extract validation": (1.06895, 0.375),
        "study/seed7/model2 feature_extract test": (1.07838, 0.33333),
        "study/seed7/model3 finetune train": (0.77087, 0.77778),
        "study/seed7/model3 finetune validation": (0.42267, 1.0),
        "study/seed7/model3 finetune test": (0.46031, 1.0),
    },
}
# Kernels differ between processors.
TOLERANCE = 1e-4


def metrics_of(name: str, folder: pathlib.Path) -> dict[str, Any]:
    """Trains a run and returns its golden metrics."""
    photos = make_photos(folder / "photos", train=30)
    workdir = folder / name
    values = {**SHARED, **RUNS[name]}
    if name == "study":
        del values["data_pct"]
    config = Config(**small(photos, workdir, **values))
    (study if name == "study" else training).train(config)
    return {
        f"{path.parent.relative_to(folder)} {stage} {split}": last
        for path in sorted(workdir.rglob("metrics.jsonl"))
        for (stage, split), last in last_metrics(path.parent).items()
    }


def last_metrics(
    workdir: pathlib.Path,
) -> dict[tuple[str, str], tuple[float, float]]:
    """Returns the last loss and accuracy of each stage and split."""
    return {
        (line["stage"], line["split"]): (
            round(line["loss"], 5),
            round(line["accuracy"], 5),
        )
        for line in lines(workdir, "metrics.jsonl")
        if line["span"] != "steps"
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_metrics_are_those_of_earlier_versions(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    use_tiny_backbone(monkeypatch)
    found = metrics_of(name, tmp_path)
    expected = GOLDEN[name]
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, abs=TOLERANCE), key


if __name__ == "__main__":
    use_tiny_backbone(pytest.MonkeyPatch())
    for run in RUNS:
        with tempfile.TemporaryDirectory() as temporary:
            found = metrics_of(run, pathlib.Path(temporary))
            print(json.dumps({run: found}, indent=4))
