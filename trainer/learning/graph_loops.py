"""Graph loops: several training or evaluation steps in one call.

They are written as `tf.while_loop`, because AutoGraph would take longer to
convert them than a short run takes to execute them.

`learning.steps` has the pure step with the gradient tape. `learning.apply` has
the code that runs it on a replica and applies the gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf

from trainer.data.augment import warp_kernel
from trainer.learning.apply import STEP_VALUES, ReplicaStep
from trainer.learning.averages import WeightAverages
from trainer.learning.losses import TrainingLoss
from trainer.learning.steps import (
    PLAIN,
    UNCONNECTED,
    Batch,
    frozen_variables,
    make_evaluation_step,
    make_train_step,
    used_variables,
    values_of,
)
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan
from trainer.model.trunk.partition import Partition

# Long enough to hide Python's overhead, short enough for live progress.
_CALL_SECONDS = 1.0


class TrainCall(NamedTuple):
    """The result of several steps in one call.

    Attributes:
      sums: float32 (steps,) arrays over the global batch, by name: loss,
        correct, count, gradient_norm (before clipping).
      gradient_max: float32 (trainable variables,), the largest absolute entry
        of any step's gradient, after clipping; UNCONNECTED if the loss does
        not depend on the variable.
    """

    sums: dict[str, np.ndarray]
    gradient_max: np.ndarray


class StepsPerCall:
    """Chooses the number of steps of the next call.

    Attributes:
      steps: number of steps of the next call.
    """

    def __init__(self, steps_per_loop: int) -> None:
        """Creates the object.

        Args:
          steps_per_loop: number of steps of every call; 0 lets calls grow to
            about one second.
        """
        self.steps = steps_per_loop or 1
        self._fixed = bool(steps_per_loop)

    def update(self, seconds_per_step: float) -> None:
        """Updates the step count from the measured time per step."""
        if not self._fixed:
            # The number at most doubles, because the first call includes
            # tracing, so its time is too long.
            longest = int(_CALL_SECONDS / seconds_per_step)
            self.steps = max(1, min(2 * self.steps, longest))


def make_train_function(
    strategy: tf.distribute.Strategy,
    classifier: Classifier,
    plan: FreezePlan,
    optimizer: keras.Optimizer,
    *,
    clip_global_norm: float | None,
    xla: bool,
    kernel: str | None = None,
    partition: Partition | None = None,
    accumulate_steps: int = 1,
    loss: TrainingLoss = PLAIN,
    averages: WeightAverages | None = None,
) -> Callable[[Iterator[Batch], int], TrainCall]:
    """Returns a function that runs several training steps in one call.

    Args:
      strategy: the model and the built optimizer were created under it.
      classifier: updated in place.
      plan: the trainable and the frozen variables.
      optimizer: built on the plan's trainable variables, in that order.
      clip_global_norm: see `ReplicaStep`.
      xla: whether to compile the pure step.
      kernel: see `make_train_step`; None uses gather if `xla`, else projective.
      partition: see `make_train_step`.
      accumulate_steps: see `make_train_step`; divides each replica's share.
      loss: see `make_train_step`.
      averages: see `ReplicaStep`.

    Returns:
      A function of a batch iterator and a number of steps. It raises
      TrainerError if `ReplicaStep.check_traced` finds a problem.
    """
    trainable = [classifier.variables[key] for key in plan.trainable]
    step = make_train_step(
        classifier,
        plan,
        kernel=kernel or warp_kernel(xla),
        partition=partition,
        accumulate_steps=accumulate_steps,
        loss=loss,
    )
    replica_step = ReplicaStep(
        tf.function(step, jit_compile=xla, autograph=False),
        trainable=trainable,
        frozen=frozen_variables(classifier, plan, partition),
        optimizer=optimizer,
        clip_global_norm=clip_global_norm,
        replicas=strategy.num_replicas_in_sync,
        averages=averages,
    )
    train_steps = _train_steps(strategy, replica_step, len(trainable))

    def call(iterator: Iterator[Batch], steps: int) -> TrainCall:
        rows, largest = train_steps(iterator, tf.constant(steps, tf.int32))
        replica_step.check_traced()
        sums = dict(zip(STEP_VALUES, rows.numpy().T, strict=True))
        return TrainCall(sums, largest.numpy())

    return call


def _train_steps(
    strategy: tf.distribute.Strategy, replica_step: ReplicaStep, gradients: int
) -> Callable[[Iterator[Batch], tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Returns the graph loop: (iterator, steps) -> (values, gradient maxima).

    Args:
      strategy: runs the step on each replica.
      replica_step: the step.
      gradients: number of trainable variables.
    """

    @tf.function(reduce_retracing=True, autograph=False)
    def train_steps(
        iterator: Iterator[Batch], steps: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        rows = tf.TensorArray(
            tf.float32, size=steps, element_shape=(len(STEP_VALUES),)
        )
        largest = tf.fill([gradients], UNCONNECTED)

        def one_step(
            i: tf.Tensor, rows: tf.TensorArray, largest: tf.Tensor
        ) -> tuple[tf.Tensor, tf.TensorArray, tf.Tensor]:
            sums, step_largest = strategy.run(
                replica_step.run, (next(iterator),)
            )
            row = tf.stack(
                [_first(strategy, sums[name]) for name in STEP_VALUES]
            )
            largest = tf.maximum(largest, _first(strategy, step_largest))
            return i + 1, rows.write(i, row), largest

        _, rows, largest = tf.while_loop(
            lambda i, *_: i < steps, one_step, (0, rows, largest)
        )
        return rows.stack(), largest

    return train_steps


class EvaluationFunction(Protocol):
    """Evaluates a number of batches in one call."""

    def __call__(
        self, iterator: Iterator[Batch], steps: int, *, outputs: bool = False
    ) -> dict[str, np.ndarray]:
        """Evaluates the next batches of an iterator.

        Args:
          iterator: yields the batches.
          steps: number of batches.
          outputs: whether to return the logits too.

        Returns:
          The sums of `make_evaluation_step` over these batches, as float64
          arrays. If `outputs`, also `logits`, float32 (steps * global batch,
          classes): one row per example, padding included, in the order of the
          global batches, on every process.
        """


def make_evaluation_function(
    strategy: tf.distribute.Strategy,
    classifier: Classifier,
    num_classes: int,
    *,
    xla: bool,
    partition: Partition | None = None,
    flip: bool = False,
) -> EvaluationFunction:
    """Returns a function that evaluates a number of batches in one call.

    Args:
      strategy: the classifier was created under it.
      classifier: the classifier to evaluate.
      num_classes: number of classes.
      xla: whether to compile the evaluation step.
      partition: see `make_train_step`.
      flip: see `make_evaluation_step`.
    """
    step = tf.function(
        make_evaluation_step(
            classifier, num_classes, partition=partition, flip=flip
        ),
        jit_compile=xla,
        autograph=False,
    )
    variables = list(used_variables(classifier, partition).values())

    @tf.autograph.experimental.do_not_convert
    def replica_step(batch: Batch) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        return step(values_of(variables), batch)

    @tf.autograph.experimental.do_not_convert
    def replica_sums(batch: Batch) -> dict[str, tf.Tensor]:
        return replica_step(batch)[0]

    # A function is traced only if it is called.
    shapes = _sum_shapes(classifier, num_classes)
    sums_only = _evaluation_sums(strategy, replica_sums, shapes)
    with_logits = _evaluation_logits(
        strategy, replica_step, shapes, num_classes
    )

    def call(
        iterator: Iterator[Batch], steps: int, *, outputs: bool = False
    ) -> dict[str, np.ndarray]:
        function = with_logits if outputs else sums_only
        values = function(iterator, tf.constant(steps, tf.int32))
        return {key: value.numpy() for key, value in values.items()}

    return call


# (iterator, steps) -> the values of an evaluation by name.
_EvaluationLoop = Callable[[Iterator[Batch], tf.Tensor], dict[str, tf.Tensor]]
# The shape of each sum of an evaluation.
_SumShapes = dict[str, tuple[int, ...]]


def _evaluation_sums(
    strategy: tf.distribute.Strategy,
    replica_sums: Callable[[Batch], dict[str, tf.Tensor]],
    shapes: _SumShapes,
) -> _EvaluationLoop:
    """Returns the graph loop that adds up the sums of evaluation steps."""

    @tf.function(reduce_retracing=True, autograph=False)
    def evaluation_steps(
        iterator: Iterator[Batch], steps: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        def one_step(
            i: tf.Tensor, totals: dict[str, tf.Tensor]
        ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
            sums = strategy.run(replica_sums, (next(iterator),))
            return i + 1, _added(strategy, totals, sums)

        return tf.while_loop(
            lambda i, _: i < steps, one_step, (0, _no_sums(shapes))
        )[1]

    return evaluation_steps


def _evaluation_logits(
    strategy: tf.distribute.Strategy,
    replica_step: Callable[[Batch], tuple[dict[str, tf.Tensor], tf.Tensor]],
    shapes: _SumShapes,
    num_classes: int,
) -> _EvaluationLoop:
    """Returns the graph loop that keeps the logits of all steps too."""

    @tf.function(reduce_retracing=True, autograph=False)
    def evaluation_steps(
        iterator: Iterator[Batch], steps: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        rows = tf.TensorArray(
            tf.float32, size=steps, element_shape=(None, num_classes)
        )

        def one_step(
            i: tf.Tensor, totals: dict[str, tf.Tensor], rows: tf.TensorArray
        ) -> tuple[tf.Tensor, dict[str, tf.Tensor], tf.TensorArray]:
            sums, logits = strategy.run(replica_step, (next(iterator),))
            # In the order of the replicas, which is that of the global batch.
            rows = rows.write(i, strategy.gather(logits, axis=0))
            return i + 1, _added(strategy, totals, sums), rows

        _, totals, rows = tf.while_loop(
            lambda i, *_: i < steps,
            one_step,
            (0, _no_sums(shapes), rows),
        )
        return {**totals, "logits": rows.concat()}

    return evaluation_steps


def _sum_shapes(classifier: Classifier, num_classes: int) -> _SumShapes:
    """Returns the shapes of the sums of an evaluation; see `_no_sums`."""
    if classifier.multilabel:
        return {"loss": (), "count": ()}
    confusion = (num_classes, num_classes)
    return {"loss": (), "count": (), "top5": (), "confusion": confusion}


def _no_sums(shapes: _SumShapes) -> dict[str, tf.Tensor]:
    """Returns float64 zeros in the shapes of the sums of an evaluation."""
    return {key: tf.zeros(s, tf.float64) for key, s in shapes.items()}


def _added(
    strategy: tf.distribute.Strategy,
    totals: dict[str, tf.Tensor],
    sums: dict[str, tf.Tensor],
) -> dict[str, tf.Tensor]:
    """Returns the totals plus the sums of all replicas."""
    return {
        key: total
        + tf.cast(strategy.reduce("SUM", sums[key], axis=None), tf.float64)
        for key, total in totals.items()
    }


def _first(strategy: tf.distribute.Strategy, value: tf.Tensor) -> tf.Tensor:
    return strategy.experimental_local_results(value)[0]
