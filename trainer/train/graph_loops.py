"""The graph loops that run the pure step on replicas, several in a call.

All-reduce, clipping and the optimizer's update stand around the pure step, in
the replica's context; XLA compiles the pure step alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from trainer.data.augment import warp_kernel
from trainer.errors import TrainerError
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan
from trainer.model.trunk.partition import Partition
from trainer.train.optimizers import SummedOnce
from trainer.train.steps import (
    SUMS,
    UNCONNECTED,
    Batch,
    frozen_variables,
    make_evaluation_step,
    make_train_step,
    used_variables,
    values_of,
)

# Long enough that Python does not matter, short enough for a live display.
_CALL_SECONDS = 1.0


class TrainCall(NamedTuple):
    """What several steps in one call return.

    Attributes:
      sums: float32 (steps,) each, over the global batch: loss, correct,
        count, gradient_norm (before clipping).
      gradient_max: float32 (trainable variables,), the largest absolute entry
        of any step's gradient there, as the optimizer got it; UNCONNECTED where
        the loss does not depend on the variable.
    """

    sums: dict[str, np.ndarray]
    gradient_max: np.ndarray


class Pace:
    """How many steps the next call makes."""

    def __init__(self, steps_per_loop: int) -> None:
        """Args:
        steps_per_loop: of every call; 0 lets them grow to about a second.
        """
        self.steps = steps_per_loop or 1
        self._fixed = bool(steps_per_loop)

    def took(self, per_step: float) -> None:
        """Hears how long the steps of a call took, in seconds each."""
        if not self._fixed:
            # The first call traces, so it only ever grows by doubling.
            longest = int(_CALL_SECONDS / per_step)
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
    parts: int = 1,
) -> Callable[[Iterator[Batch], int], TrainCall]:
    """A function that runs a number of training steps in one graph call.

    Args:
      strategy: what the model and the built optimizer were made under.
      classifier: updated in place.
      plan: what to train.
      optimizer: built on the plan's trainable variables, in that order; of
        the kind `SummedOnce`, or Keras sums gradients a second time.
      clip_global_norm: bound on the norm of the gradient of the mean loss
        over the global batch; None does not clip.
      xla: whether to compile the pure step.
      kernel: see `make_train_step`; None takes the one that XLA compiles, or
        else the faster one.
      split: likewise.
      parts: see `make_train_step`; of each replica's part of the batch.

    The function raises TrainerError where a layer changes variables of its
    own in inference mode, as BatchNorm does in training mode: their values
    would be dropped, and no digest of any variable would tell.
    """
    kernel = kernel or warp_kernel(xla)
    step = tf.function(
        make_train_step(
            classifier,
            plan,
            kernel=kernel,
            partition=partition,
            parts=parts,
        ),
        jit_compile=xla,
        autograph=False,
    )
    trainable = [classifier.variables[key] for key in plan.trainable]
    frozen = frozen_variables(classifier, plan, partition)
    replicas = strategy.num_replicas_in_sync
    # Filled when the step is traced. An error raised there would come out
    # wrapped in a page about the graph.
    updated_in_inference: set[str] = set()

    @tf.autograph.experimental.do_not_convert
    def replica_step(batch: Batch) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        context = tf.distribute.get_replica_context()
        total = tf.distribute.ReduceOp.SUM
        examples = context.all_reduce(total, tf.reduce_sum(batch["mask"]))
        values = values_of(trainable)
        output = step(values, values_of(frozen), batch, examples)
        gradients = [
            tf.zeros_like(value) if gradient is None else gradient
            for gradient, value in zip(output.gradients, values, strict=True)
        ]
        gradients, sums = context.all_reduce(total, (gradients, output.sums))
        norm = tf.linalg.global_norm(gradients)
        if clip_global_norm is not None:
            scale = clip_global_norm / tf.maximum(norm, clip_global_norm)
            gradients = [g * scale for g in gradients]
        largest = tf.stack(
            [
                UNCONNECTED if part is None else tf.reduce_max(tf.abs(whole))
                for part, whole in zip(output.gradients, gradients, strict=True)
            ]
        )
        if not isinstance(optimizer, SummedOnce):
            # Keras sums over the replicas once more when it applies.
            gradients = [g / replicas for g in gradients]
        optimizer.apply(gradients, trainable)
        updated_in_inference.update(output.updates)
        return {**sums, "gradient_norm": norm}, largest

    names = (*SUMS, "gradient_norm")

    @tf.function(reduce_retracing=True)
    def train_steps(
        iterator: Iterator[Batch], steps: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        rows = tf.TensorArray(
            tf.float32, size=steps, element_shape=(len(names),)
        )
        largest = tf.fill([len(trainable)], UNCONNECTED)
        for i in tf.range(steps):
            sums, step_largest = strategy.run(replica_step, (next(iterator),))
            row = tf.stack([_first(strategy, sums[name]) for name in names])
            rows = rows.write(i, row)
            largest = tf.maximum(largest, _first(strategy, step_largest))
        return rows.stack(), largest

    def call(iterator: Iterator[Batch], steps: int) -> TrainCall:
        rows, largest = train_steps(iterator, tf.constant(steps, tf.int32))
        if isinstance(optimizer, SummedOnce) and not optimizer.asked:
            raise TrainerError(
                f"Keras {keras.__version__} sums gradients in another way than"
                " this trainer knows, so they would be too large; nothing of it"
                " is saved: install a version that the trainer is tested with"
            )
        if updated_in_inference:
            raise TrainerError(
                f"{min(updated_in_inference)}: changed by a forward pass in"
                " inference mode, so its layer ignores training=False; nothing"
                " of it is saved: give a --backbone whose layers respect it"
            )
        sums = dict(zip(names, rows.numpy().T, strict=True))
        return TrainCall(sums, largest.numpy())

    return call


def make_evaluation_function(
    strategy: tf.distribute.Strategy,
    classifier: Classifier,
    num_classes: int,
    *,
    xla: bool,
    partition: Partition | None = None,
) -> Callable[[Iterator[Batch], int], dict[str, np.ndarray]]:
    """A function that sums over a number of batches in one graph call.

    The result has the keys of `make_evaluation_step`, as float64.
    """
    step = tf.function(
        make_evaluation_step(classifier, num_classes, partition=partition),
        jit_compile=xla,
        autograph=False,
    )
    variables = list(used_variables(classifier, partition).values())
    shapes = {"loss": (), "count": (), "top5": ()}

    @tf.autograph.experimental.do_not_convert
    def replica_step(batch: Batch) -> dict[str, tf.Tensor]:
        return step(values_of(variables), batch)

    @tf.function(reduce_retracing=True)
    def evaluation_steps(
        iterator: Iterator[Batch], steps: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        totals = {k: tf.zeros(s, tf.float64) for k, s in shapes.items()}
        totals["confusion"] = tf.zeros([num_classes] * 2, tf.float64)
        for _ in tf.range(steps):
            sums = strategy.run(replica_step, (next(iterator),))
            # A new dict: AutoGraph carries rebound names through the loop, and
            # loses what is assigned to an item.
            totals = {
                key: total
                + tf.cast(
                    strategy.reduce("SUM", sums[key], axis=None), tf.float64
                )
                for key, total in totals.items()
            }
        return totals

    def call(iterator: Iterator[Batch], steps: int) -> dict[str, np.ndarray]:
        totals = evaluation_steps(iterator, tf.constant(steps, tf.int32))
        return {key: value.numpy() for key, value in totals.items()}

    return call


def _first(strategy: tf.distribute.Strategy, value: tf.Tensor) -> tf.Tensor:
    return strategy.experimental_local_results(value)[0]
