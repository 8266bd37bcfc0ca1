"""The step: pure functions of values, which touch no variable.

So XLA can compile them on a replica. `calls` runs them there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from trainer.data.augment import warp
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan
from trainer.model.trunk.partition import Partition

Batch = dict[str, Any]
Values = list[tf.Tensor]
TOP_K = 5
SUMS = ("loss", "correct", "count")
# Stands for the gradient of a variable that the loss does not depend on.
UNCONNECTED = -1.0


class StepOutput(NamedTuple):
    """What one replica's step returns.

    Attributes:
      gradients: this replica's part of the gradient of the mean loss over
        the global batch, float32, one for each trainable value; the parts of
        all replicas add up to the whole. None where no path leads from the
        value to the loss, which is another thing than a gradient of 0.
      sums: float32 scalars `loss`, `correct` and `count` over the replica's
        real examples.
      updates: new values of variables that the forward pass itself changes,
        by key; empty in inference mode if every layer heeds it. Of a batch
        taken in parts only the keys mean anything.
    """

    gradients: list[tf.Tensor | None]
    sums: dict[str, tf.Tensor]
    updates: dict[str, tf.Tensor]


def used_variables(
    classifier: Classifier, partition: Partition | None
) -> dict[str, keras.Variable]:
    """What a step computes with, by key; the trunk's are none of it.

    Each value that a graph takes costs time when it is traced, and a frozen
    backbone has hundreds.
    """
    if partition is None:
        return dict(classifier.variables)
    return partition.tail_variables()


def frozen_variables(
    classifier: Classifier, plan: FreezePlan, partition: Partition | None
) -> list[keras.Variable]:
    """The frozen ones among them, in the plan's order."""
    used = used_variables(classifier, partition)
    return [used[key] for key in plan.frozen if key in used]


# (trainable values, frozen values, batch, examples) -> StepOutput.
TrainStep = Callable[[Values, Values, Batch, tf.Tensor], StepOutput]


def make_train_step(
    classifier: Classifier,
    plan: FreezePlan,
    *,
    kernel: str,
    partition: Partition | None = None,
    parts: int = 1,
) -> TrainStep:
    """(trainable values, frozen values, batch, examples) -> StepOutput.

    `examples`, a float32 scalar, is the number of real examples in the global
    batch, which only all replicas together know.

    Args:
      classifier: what to train.
      plan: its keys give the order of the trainable values; the frozen ones
        are those of `frozen_variables`.
      kernel: how `augment.warp` samples: projective, or gather under XLA.
      split: computes with the tail on features; None with the classifier on
        images.
      parts: how many the batch is taken in, one after the other, so that the
        activations of one part at a time are kept. Gradients and sums are
        those of the batch taken whole, up to rounding. Divides the batch.
    """
    variables = [classifier.variables[key] for key in plan.trainable]
    variables += frozen_variables(classifier, plan, partition)

    def train_step(
        trainable: Values, frozen: Values, batch: Batch, examples: tf.Tensor
    ) -> StepOutput:
        inputs = _inputs(batch, kernel)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trainable)
            values = trainable + frozen
            if partition is None:
                logits, updates = classifier.logits_and_updates(
                    variables, values, inputs[0]
                )
            else:
                logits, updates = partition.logits_and_updates(
                    variables, values, inputs
                )
            losses = _losses(logits, batch["labels"]) * batch["mask"]
            loss = tf.reduce_sum(losses)
            # Inside the tape, so that rounding is that of a mean.
            mean = loss / examples
        return StepOutput(
            tape.gradient(mean, trainable),
            {
                "loss": loss,
                "correct": tf.reduce_sum(_correct(logits, batch)),
                "count": tf.reduce_sum(batch["mask"]),
            },
            updates,
        )

    return _in_parts(train_step, parts) if parts > 1 else train_step


def _in_parts(step: TrainStep, parts: int) -> TrainStep:
    """The same step, on one part of the batch after the other."""

    def train_step(
        trainable: Values, frozen: Values, batch: Batch, examples: tf.Tensor
    ) -> StepOutput:
        # Between processes the batch's size is not static.
        stacked = tf.nest.map_structure(
            lambda x: tf.reshape(x, (parts, -1, *x.shape[1:])), batch
        )
        # What the loop's body finds when it is traced, and cannot hand out.
        reached: list[bool] = []
        changed: dict[str, tf.Tensor] = {}

        def add(
            i: tf.Tensor, gradients: Values, sums: dict[str, tf.Tensor]
        ) -> tuple[tf.Tensor, Values, dict[str, tf.Tensor]]:
            part = tf.nest.map_structure(lambda x: x[i], stacked)
            # The tape is to watch tensors of the loop's own graph.
            own = [tf.identity(value) for value in trainable]
            output = step(own, frozen, part, examples)
            reached[:] = [g is not None for g in output.gradients]
            changed.update(output.updates)
            added = [
                total if gradient is None else total + gradient
                for total, gradient in zip(
                    gradients, output.gradients, strict=True
                )
            ]
            return i + 1, added, {k: sums[k] + output.sums[k] for k in sums}

        _, gradients, sums = tf.while_loop(
            lambda i, *_: i < parts,
            add,
            (
                tf.constant(0),
                [tf.zeros_like(value) for value in trainable],
                {name: tf.zeros(()) for name in SUMS},
            ),
            # One at a time, or the parts would be in memory together.
            parallel_iterations=1,
        )
        return StepOutput(
            [
                gradient if reaches else None
                for gradient, reaches in zip(gradients, reached, strict=True)
            ],
            sums,
            {key: tf.zeros(()) for key in changed},
        )

    return train_step


def make_evaluation_step(
    classifier: Classifier,
    num_classes: int,
    *,
    partition: Partition | None = None,
) -> Callable[[list[tf.Tensor], Batch], dict[str, tf.Tensor]]:
    """(values in the order of `used_variables`, batch) -> sums.

    The sums are float32: `loss`, `count`, `top5` (scalars) and `confusion`
    (classes, classes), rows true and columns predicted.
    """
    variables = list(used_variables(classifier, partition).values())

    def evaluation_step(
        values: list[tf.Tensor], batch: Batch
    ) -> dict[str, tf.Tensor]:
        labels, mask = batch["labels"], batch["mask"]
        inputs = _inputs(batch, "")
        logits = _logits(classifier, partition, variables, values, inputs)
        true = tf.one_hot(labels, num_classes) * mask[:, None]
        predicted = tf.one_hot(tf.argmax(logits, axis=1), num_classes)
        own = tf.gather(logits, labels, axis=1, batch_dims=1)
        rank = tf.reduce_sum(tf.cast(logits > own[:, None], tf.int32), axis=1)
        # A comparison with NaN is false, which would rank NaN first.
        top = tf.logical_and(rank < TOP_K, tf.math.is_finite(own))
        return {
            "loss": tf.reduce_sum(_losses(logits, labels) * mask),
            "count": tf.reduce_sum(mask),
            "top5": tf.reduce_sum(tf.cast(top, tf.float32) * mask),
            "confusion": tf.matmul(true, predicted, transpose_a=True),
        }

    return evaluation_step


def make_prediction_function(
    classifier: Classifier, partition: Partition | None, *, xla: bool
) -> Callable[[Batch], tf.Tensor]:
    """A function that gives a batch's probabilities, float32 (b, classes).

    Of one device; the weights are read at each call.
    """
    variables = list(used_variables(classifier, partition).values())

    def step(values: list[tf.Tensor], batch: Batch) -> tf.Tensor:
        logits = _logits(
            classifier, partition, variables, values, _inputs(batch, "")
        )
        return tf.nn.softmax(logits)

    compiled = tf.function(step, jit_compile=xla, autograph=False)

    @tf.function(autograph=False)
    def predict(batch: Batch) -> tf.Tensor:
        return compiled(values_of(variables), batch)

    return predict


def _inputs(batch: Batch, kernel: str) -> list[tf.Tensor]:
    """The features of a batch, or its images, warped where asked for."""
    if "features" in batch:
        return list(batch["features"])
    if "matrices" in batch:
        return [warp(batch["images"], batch["matrices"], kernel=kernel)]
    return [batch["images"]]


def _logits(
    classifier: Classifier,
    partition: Partition | None,
    variables: Sequence[keras.Variable],
    values: Sequence[tf.Tensor],
    inputs: list[tf.Tensor],
) -> tf.Tensor:
    if partition is not None:
        return partition.logits(variables, values, inputs)
    return classifier.logits(variables, values, inputs[0])


def _losses(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def _correct(logits: tf.Tensor, batch: Batch) -> tf.Tensor:
    predicted = tf.argmax(logits, axis=1, output_type=tf.int32)
    hits = tf.cast(predicted == batch["labels"], tf.float32)
    return hits * batch["mask"]


def values_of(variables: Sequence[keras.Variable]) -> list[tf.Tensor]:
    """Their values; of a mirrored variable, a replica reads its own copy."""
    return [tf.convert_to_tensor(v.value) for v in variables]
