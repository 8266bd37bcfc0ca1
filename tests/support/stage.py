"""A stage without data: a tiny classifier, its optimizer, its checkpoints."""

from __future__ import annotations

import os
import pathlib

import keras
import numpy as np

from tests.support.classifiers import tiny_classifier
from trainer.learning.checkpoint_files import find_checkpoint
from trainer.learning.checkpoints import StageCheckpoints
from trainer.learning.state import StageState
from trainer.model.freeze import freeze_plan
from trainer.workdir import Workdir

DATA, INDEX = ".data-00000-of-00001", ".index"
# The metrics that a finished stage leaves.
METRICS = {
    "stage": "feature_extract",
    "epochs": 3,
    "steps": 30,
    "train_examples": 10,
    "final_split": "test",
    "test_loss": 1.0,
    "test_accuracy": 0.5,
    "test_per_class_accuracy": {"a": 0.5, "b": None},
    "validation_from_test": True,
    "best_step": 20,
    "best_validation_accuracy": 0.5,
    "total_params": 10,
    "trainable_params": 2,
    "train_seconds": 1.5,
}
STAGE = "finetune"


class Stage:
    """A tiny classifier, its optimizer and its checkpoints, without data."""

    def __init__(
        self,
        path: pathlib.Path | str,
        *,
        unfreeze: str = "last:2",
        rate: float = 1e-3,
        keep: int = 3,
        seed: int = 0,
    ) -> None:
        """Creates the stage.

        Args:
          path: of the workdir.
          unfreeze: rule of what trains.
          rate: the learning rate.
          keep: number of the latest checkpoints to keep.
          seed: of the weights.
        """
        self.classifier = tiny_classifier(seed=seed)
        self.variables = self.classifier.variables
        plan = freeze_plan(self.classifier, unfreeze)
        self.trainable = [self.variables[key] for key in plan.trainable]
        self.optimizer = keras.optimizers.Adam(rate)
        self.optimizer.build(self.trainable)
        self.state = StageState.begin(STAGE, 0, self.variables, plan)
        self.workdir = Workdir(str(path))
        self.checkpoints = StageCheckpoints(
            self.workdir,
            variables=self.variables,
            optimizer=self.optimizer,
            state=self.state,
            keep=keep,
        )

    def step(self) -> None:
        """Changes all that training changes, differently in each step."""
        self.state.step += 1
        self.optimizer.apply(
            [
                np.full(v.shape, self.state.step + i, np.float32)
                for i, v in enumerate(self.trainable)
            ],
            self.trainable,
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns all values that must survive, without the learning rate."""
        rate = self.optimizer._learning_rate
        kept = [v for v in self.optimizer.variables if v is not rate]
        return {
            **{k: v.numpy().copy() for k, v in self.variables.items()},
            **{f"slot {i}": v.numpy().copy() for i, v in enumerate(kept)},
        }

    def overwrite(self) -> None:
        """Assigns other values everywhere."""
        for variable in (*self.variables.values(), *self.optimizer.variables):
            variable.assign(variable.numpy() + 1)

    def path(self, kind: str = "last") -> str:
        """Returns the prefix of the latest or best checkpoint."""
        path = find_checkpoint(self.workdir, STAGE, kind)
        assert path is not None
        return path


def assert_equal(one: dict, other: dict) -> None:
    """Checks that both hold the same arrays, bit for bit."""
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def cut(path: str, share: float) -> None:
    """Truncates a file to a share of its bytes."""
    os.truncate(path, int(os.path.getsize(path) * share))


def flip(path: str) -> None:
    """Changes the byte in the middle of a file."""
    data = bytearray(pathlib.Path(path).read_bytes())
    data[len(data) // 2] ^= 0xFF
    pathlib.Path(path).write_bytes(data)
