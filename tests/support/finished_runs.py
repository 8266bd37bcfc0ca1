"""Workdirs of finished runs without models, for --stage=compare."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.results.predictions_file import predictions_text

NAMES = ("pie", "sushi")


def make_finished(
    workdir: pathlib.Path,
    correct: Sequence[int],
    *,
    names: Sequence[str] = NAMES,
    digests: Sequence[str] | None = None,
) -> pathlib.Path:
    """Writes what compare reads of a run of two classes.

    Args:
      workdir: the folder to create.
      correct: 1 or 0 for each test sample: whether the run is right.
      names: of the classes.
      digests: of the test images.

    Returns:
      The folder.
    """
    n = len(correct)
    labels = np.arange(n) % 2
    ids = [f"{names[label]}/{i}.jpg" for i, label in enumerate(labels)]
    predicted = np.where(np.array(correct, bool), labels, 1 - labels)
    split = {
        "ids": ids,
        "labels": labels.tolist(),
        "digests": list(digests or (f"d{i}" for i in range(n))),
    }
    workdir.mkdir(parents=True)
    write(workdir, "workdir.json", {"program": "transfer-trainer"})
    write(workdir, "config.json", {"config": {"stage": "finetune"}})
    manifest = {"class_names": list(names), "splits": {"test": split}}
    write(workdir, "manifest.json", manifest)
    write(workdir, "result.json", result(float(np.mean(correct))))
    text = predictions_text(ids, labels, np.eye(2)[predicted], names)
    (workdir / "predictions.csv").write_text(text, encoding="utf-8")
    return workdir


def write(workdir: pathlib.Path, name: str, values: dict[str, Any]) -> None:
    """Writes a JSON file."""
    (workdir / name).write_text(json.dumps(values), encoding="utf-8")


def change(workdir: pathlib.Path, name: str, **values: Any) -> None:
    """Changes keys of a JSON file; None removes one."""
    stored = json.loads((workdir / name).read_text("utf-8")) | values
    kept = {k: v for k, v in stored.items() if v is not None}
    write(workdir, name, kept)


def result(accuracy: float) -> dict[str, Any]:
    """Returns a result.json."""
    return {
        "stage": "finetune",
        "epochs": 1,
        "steps": 3,
        "train_examples": 9,
        "final_split": "test",
        "test_loss": 0.5,
        "test_accuracy": accuracy,
        "test_per_class_accuracy": {},
        "validation_from_test": True,
        "best_step": 3,
        "best_validation_accuracy": accuracy,
        "total_params": 10,
        "trainable_params": 2,
        "train_seconds": 1.0,
    }
