"""The state of a loop after a resume and after a rollback; nothing trains."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.classifiers import tiny_classifier
from trainer.config import Config, StageSpec
from trainer.data.samples import WHOLE_FILE, Samples
from trainer.distribute.processes import ALONE
from trainer.distribute.runtime import Runtime
from trainer.errors import TrainerError
from trainer.model.freeze import freeze_plan
from trainer.train.loop import StageLoop
from trainer.train.nonfinite import NonFiniteError
from trainer.train.stage import StageJob
from trainer.workdir import Workdir

STAGE = "finetune"
RATE = 0.5


class NoWriter:
    """A writer of metrics that drops them."""

    def scalars(self, split: str, step: int, values: dict[str, float]) -> None:
        pass


def loop_in(path: pathlib.Path) -> StageLoop:
    """Returns a new loop on a workdir, as a new start of the run makes it."""
    classifier = tiny_classifier()
    ids = tuple(f"a/{i}.jpg" for i in range(8))
    unused: Any = None
    job = StageJob(
        spec=StageSpec(
            stage=STAGE, epochs=3, learning_rate=RATE, unfreeze="none"
        ),
        config=Config(
            dataset="d",
            stage=STAGE,
            batch_size=4,
            on_nonfinite="rollback",
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
        inputs=unused,
        train=Samples(
            ids=ids,
            labels=np.zeros(len(ids), np.int32),
            paths=ids,
            offsets=np.zeros(len(ids), np.int64),
            lengths=np.full(len(ids), WHOLE_FILE, np.int64),
        ),
        start_step=0,
        workdir=Workdir(str(path)),
        validate=unused,
        writer=NoWriter(),
        progress=unused,
    )
    return StageLoop(job)


def add_line(loop: StageLoop, step: int) -> None:
    loop._metrics.record("train", step, 1, {}, span="steps", times={})


def rate_of(loop: StageLoop) -> float:
    return float(loop._optimizer.learning_rate)


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
