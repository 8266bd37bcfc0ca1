"""The loop of a stage with steps that train nothing."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.classifiers import tiny_classifier
from tests.support.inputs import Made
from trainer import interrupt
from trainer.config import Config, StageSpec
from trainer.data.samples import WHOLE_FILE, Samples
from trainer.distribute.processes import ALONE
from trainer.distribute.runtime import Runtime
from trainer.errors import TrainerError
from trainer.learning import updates
from trainer.learning.batches import TrainingBatches
from trainer.learning.checkpoints import StageCheckpoints
from trainer.learning.graph_loops import TrainCall
from trainer.learning.loop import StageLoop
from trainer.learning.losses import TrainingLoss
from trainer.learning.nonfinite import NonFiniteError
from trainer.learning.stage import StageJob
from trainer.learning.stopping import Stopwatch
from trainer.model.classifier import Classifier
from trainer.model.freeze import freeze_plan
from trainer.results.evaluate import Evaluation
from trainer.workdir import Workdir

STAGE = "finetune"
RATE = 0.5


class NoWriter:
    """A writer of metrics that drops them."""

    def scalars(self, split: str, step: int, values: dict[str, float]) -> None:
        pass


class Epochs:
    """A progress that records the epochs, with the examples already done."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, int, int]] = []

    def epoch(
        self, stage: str, epoch: int, epochs: int, done: int, *, passes: int
    ) -> None:
        self.begun.append((epoch, epochs, done))

    def steps(self, examples: int, loss: float, accuracy: float) -> None:
        pass

    def end_epoch(self, line: str) -> None:
        pass

    def rows(self, what: str, done: int, total: int) -> None:
        pass


def loop_in(path: pathlib.Path, **values: Any) -> StageLoop:
    """Returns a new loop on a workdir, as a new start of the run makes it.

    An epoch has five steps of four samples.
    """
    classifier = tiny_classifier()
    ids = tuple(f"a/{i}.jpg" for i in range(20))
    validated = Evaluation(
        loss=1.0,
        accuracy=0.5,
        top5_accuracy=None,
        confusion=np.eye(2),
        class_names=("a", "b"),
    )
    job = StageJob(
        spec=StageSpec(
            stage=STAGE, epochs=2, learning_rate=RATE, unfreeze="none"
        ),
        config=Config(
            dataset="d",
            stage=STAGE,
            batch_size=4,
            **{"on_nonfinite": "rollback", **values},
        ),
        runtime=Runtime(
            strategy=tf.distribute.get_strategy(),
            processes=ALONE,
            xla=False,
            deterministic=True,
        ),
        classifier=classifier,
        plan=freeze_plan(classifier, "none"),
        partition=None,
        inputs=Made(None, "off").inputs,
        train=Samples(
            ids=ids,
            labels=np.zeros(len(ids), np.int32),
            paths=ids,
            offsets=np.zeros(len(ids), np.int64),
            lengths=np.full(len(ids), WHOLE_FILE, np.int64),
        ),
        start_step=0,
        workdir=Workdir(str(path)),
        validate=lambda: validated,
        writer=NoWriter(),
        progress=Epochs(),
        loss=TrainingLoss(),
        stopwatch=Stopwatch(),
        restore_best=False,
    )
    return StageLoop(job)


def add_line(loop: StageLoop, step: int) -> None:
    loop._metrics.record("train", step, 1, {}, span="steps", times={})


def rate_of(loop: StageLoop) -> float:
    return float(loop._updates.optimizer.learning_rate)


def steps_in(path: pathlib.Path) -> list[int]:
    return [line["step"] for line in Workdir(str(path)).metrics().lines()]


def test_a_resume_restores_the_halved_rate_and_the_metrics(
    tmp_path: pathlib.Path,
) -> None:
    before = loop_in(tmp_path)
    before._resume()
    assert rate_of(before) == RATE
    add_line(before, 1)
    before._state.step, before._state.rollbacks = 1, 2
    before._save()
    add_line(before, 2)
    after = loop_in(tmp_path)
    after._resume()
    assert after._state.step == 1
    assert rate_of(after) == RATE / 4
    assert steps_in(tmp_path) == [1]


def test_a_rollback_halves_the_rate_and_survives_a_kill(
    tmp_path: pathlib.Path,
) -> None:
    loop = loop_in(tmp_path)
    loop._resume()
    for rollbacks in (1, 2, 3):
        # The head moves, and a line is written, before the loss is NaN.
        head = loop._job.classifier.head.bias
        saved = head.numpy()
        head.assign(saved + 1)
        add_line(loop, 1)
        loop._state.step = 1
        loop._roll_back(NonFiniteError(2, "loss nan"))
        assert loop._state.step == 0
        np.testing.assert_array_equal(head.numpy(), saved)
        assert steps_in(tmp_path) == []
        assert rate_of(loop) == RATE / 2**rollbacks
        killed = loop_in(tmp_path)
        killed._resume()
        assert killed._state.rollbacks == rollbacks
        assert rate_of(killed) == RATE / 2**rollbacks
    with pytest.raises(TrainerError, match="loss nan at step 2 after 3 roll"):
        loop._roll_back(NonFiniteError(2, "loss nan"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replaces training; records the number of steps of each call."""
    found: list[int] = []

    def make(strategy: Any, classifier: Classifier, *_: Any, **__: Any) -> Any:
        def train(batches: Any, steps: int) -> TrainCall:
            found.append(steps)
            for variable in (classifier.head.kernel, classifier.head.bias):
                variable.assign_add(tf.ones_like(variable.value))
            each = {"loss": 8, "correct": 2, "count": 4, "gradient_norm": 1}
            sums = {k: np.full(steps, v, np.float32) for k, v in each.items()}
            return TrainCall(sums, np.ones(2, np.float32))

        return train

    monkeypatch.setattr(updates, "make_train_function", make)
    monkeypatch.setattr(TrainingBatches, "read", lambda *given: iter(()))
    return found


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Records the steps of all checkpoints."""
    found: list[int] = []
    real = StageCheckpoints.save

    def save(self: StageCheckpoints, **which: bool) -> str:
        path = real(self, **which)
        found.append(self._state.step)
        return path

    monkeypatch.setattr(StageCheckpoints, "save", save)
    return found


PERIODIC = {
    "checkpoint_every_steps": 3,
    "steps_per_loop": 10,
    "on_nonfinite": "stop",
}


def test_checkpoints_are_at_multiples_and_at_the_ends_of_epochs(
    tmp_path: pathlib.Path, calls: list[int], saved: list[int]
) -> None:
    outcome = loop_in(tmp_path, **PERIODIC).run()
    assert saved == [3, 5, 6, 9, 10]
    assert calls == [3, 2, 1, 3, 1]
    assert outcome.best == {"step": 5, "loss": 1.0, "accuracy": 0.5}


def test_a_resumed_epoch_shows_the_examples_done(
    tmp_path: pathlib.Path,
    calls: list[int],
    saved: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed = loop_in(tmp_path, **PERIODIC)
    with monkeypatch.context() as patch:
        patch.setattr(interrupt, "check", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            killed.run()
    assert saved == [3]
    again = loop_in(tmp_path, **PERIODIC)
    again.run()
    assert again._job.progress.begun == [(1, 2, 12), (2, 2, 0)]
    assert calls == [3, 2, 1, 3, 1]
    means = [
        (line["step"], line["loss"], line["accuracy"])
        for line in Workdir(str(tmp_path)).metrics().lines()
        if (line["split"], line["span"]) == ("train", "epoch")
    ]
    assert means == [(5, 2.0, 0.5), (10, 2.0, 0.5)]


@pytest.mark.parametrize("largest", [1e-2, 1e-7, 1e-10])
def test_the_expected_move_is_that_of_the_first_step_of_adam(
    tmp_path: pathlib.Path, largest: float
) -> None:
    updates = loop_in(tmp_path)._updates
    variables = updates._variables
    for variable in variables:
        variable.assign(tf.zeros(variable.shape))
    gradients = [tf.fill(variable.shape, largest) for variable in variables]
    updates.optimizer.apply(gradients, variables)
    for key, variable in zip(updates._keys, variables, strict=True):
        expected = updates.move(key, largest, done=1)
        np.testing.assert_allclose(-variable.numpy(), expected, rtol=1e-4)
