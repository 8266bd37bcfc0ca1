"""The pure steps: the loss, its gradient, and the sums of an evaluation.

They are functions of the variables' values and access no variable, so XLA can
compile them on a replica. The only `tf.GradientTape` of the trainer is here;
`learning.apply` runs the training step on a replica.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from trainer.data.augment import warp
from trainer.learning.losses import (
    TrainingLoss,
    cross_entropy,
    main_labels,
    sigmoid_cross_entropy,
)
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan
from trainer.model.mirrored import mirror
from trainer.model.trunk.partition import Partition

Batch = dict[str, Any]
Values = list[tf.Tensor]
TOP_K = 5
SUMS = ("loss", "correct", "count")
# Marks a variable without a gradient, because the loss does not depend on it.
UNCONNECTED = -1.0
PLAIN = TrainingLoss()


class StepOutput(NamedTuple):
    """The result of one replica's step.

    Attributes:
      gradients: this replica's part of the gradient of the mean loss over the
        global batch: a float32 tensor for each trainable value. The sum over
        all replicas is the gradient. An entry is None, not 0, if the loss does
        not depend on the value.
      sums: float32 scalars `loss`, `correct` and `count` over the replica's
        real examples. With several labels, an example is correct if all of its
        labels are, at a threshold of 0.5.
      updates: new values of variables that the forward pass updates, by key;
        empty if every layer respects inference mode. With `accumulate_steps`,
        only the keys are meaningful.
    """

    gradients: list[tf.Tensor | None]
    sums: dict[str, tf.Tensor]
    updates: dict[str, tf.Tensor]


def used_variables(
    classifier: Classifier, partition: Partition | None
) -> dict[str, keras.Variable]:
    """Returns the variables that a step computes with, by key.

    With a partition, they exclude the trunk's variables: each value that is
    passed to a graph takes time to trace, and a frozen backbone has hundreds.
    """
    if partition is None:
        return dict(classifier.variables)
    return partition.tail_variables()


def frozen_variables(
    classifier: Classifier, plan: FreezePlan, partition: Partition | None
) -> list[keras.Variable]:
    """Returns the frozen variables of a step, in the plan's order."""
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
    accumulate_steps: int = 1,
    loss: TrainingLoss = PLAIN,
) -> TrainStep:
    """Returns the training step.

    Args:
      classifier: the classifier to train.
      plan: its `trainable` keys give the order of the trainable values.
      kernel: how `augment.warp` samples: projective, or gather under XLA.
      partition: its tail computes on features; None computes with the whole
        classifier on images.
      accumulate_steps: number of equal parts in which the batch is processed
        in sequence, to hold the activations of one part only. Must divide the
        batch. The result differs only by rounding.
      loss: the loss of each sample.

    Returns:
      A function of the trainable values, the frozen values in the order of
      `frozen_variables`, a batch, and the number of real examples in the global
      batch as a float32 scalar.
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
            logits, updates = _logits_and_updates(
                classifier, partition, variables, values, inputs, batch
            )
            losses = loss.of_batch(logits, batch) * batch["mask"]
            total = tf.reduce_sum(losses)
            # Inside the tape, so that gradients round as those of a mean.
            mean = total / examples
        return StepOutput(
            tape.gradient(mean, trainable),
            {
                "loss": total,
                "correct": tf.reduce_sum(_correct(logits, batch)),
                "count": tf.reduce_sum(batch["mask"]),
            },
            updates,
        )

    if accumulate_steps > 1:
        return _accumulated(train_step, accumulate_steps)
    return train_step


def _accumulated(step: TrainStep, parts: int) -> TrainStep:
    """Returns the step that processes the parts of a batch in sequence."""

    def train_step(
        trainable: Values, frozen: Values, batch: Batch, examples: tf.Tensor
    ) -> StepOutput:
        # With several processes the batch size is not static.
        stacked = tf.nest.map_structure(
            lambda x: tf.reshape(x, (parts, -1, *x.shape[1:])), batch
        )
        # Filled while the loop's body is traced, because the body can return
        # only tensors.
        reached: list[bool] = []
        changed: dict[str, tf.Tensor] = {}

        def add(
            i: tf.Tensor, gradients: Values, sums: dict[str, tf.Tensor]
        ) -> tuple[tf.Tensor, Values, dict[str, tf.Tensor]]:
            part = tf.nest.map_structure(lambda x: x[i], stacked)
            # The tape must watch tensors of the loop's own graph.
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
            # Parallel iterations would hold several parts in memory.
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
    flip: bool = False,
) -> Callable[[Values, Batch], tuple[dict[str, tf.Tensor], tf.Tensor]]:
    """Returns the evaluation step.

    Args:
      classifier: the classifier to evaluate.
      num_classes: number of classes.
      partition: see `make_train_step`.
      flip: whether to average the probabilities of each image with those of its
        mirror image. The logits are then those of `mean_logits`.

    Returns:
      A function of the values of `used_variables`, in their order, and a batch.
      It returns two results. The first are float32 sums: the scalars `loss`,
      `count` and `top5`, and `confusion` (classes, classes) with rows true and
      columns predicted. The second are the logits, float32 (batch, classes),
      padding included. With several labels per image, the sums are only `loss`
      and `count`.
    """
    variables = list(used_variables(classifier, partition).values())

    def evaluation_step(
        values: Values, batch: Batch
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        labels, mask = batch["labels"], batch["mask"]
        logits = _logits(
            classifier, partition, variables, values, batch, flip=flip
        )
        if classifier.multilabel:
            loss = tf.reduce_sum(sigmoid_cross_entropy(logits, labels) * mask)
            return {"loss": loss, "count": tf.reduce_sum(mask)}, logits
        true = tf.one_hot(labels, num_classes) * mask[:, None]
        predicted = tf.one_hot(tf.argmax(logits, axis=1), num_classes)
        own = tf.gather(logits, labels, axis=1, batch_dims=1)
        rank = tf.reduce_sum(tf.cast(logits > own[:, None], tf.int32), axis=1)
        # A comparison with NaN is false, which would rank NaN first.
        top = tf.logical_and(rank < TOP_K, tf.math.is_finite(own))
        sums = {
            "loss": tf.reduce_sum(cross_entropy(logits, labels) * mask),
            "count": tf.reduce_sum(mask),
            "top5": tf.reduce_sum(tf.cast(top, tf.float32) * mask),
            "confusion": tf.matmul(true, predicted, transpose_a=True),
        }
        return sums, logits

    return evaluation_step


def make_prediction_function(
    classifier: Classifier,
    partition: Partition | None,
    *,
    xla: bool,
    flip: bool = False,
) -> Callable[[Batch], tf.Tensor]:
    """Returns a function that maps a batch to probabilities.

    The probabilities are float32 (batch, classes). The function runs on one
    device, and reads the current weights in each call.

    Args:
      classifier: the classifier to predict with.
      partition: see `make_train_step`.
      xla: whether to compile the function.
      flip: whether to average the probabilities of each image with those of its
        mirror image.
    """
    variables = list(used_variables(classifier, partition).values())

    def step(values: list[tf.Tensor], batch: Batch) -> tf.Tensor:
        logits = _logits(
            classifier, partition, variables, values, batch, flip=flip
        )
        return classifier.probabilities_of(logits)

    compiled = tf.function(step, jit_compile=xla, autograph=False)

    @tf.function(autograph=False)
    def predict(batch: Batch) -> tf.Tensor:
        return compiled(values_of(variables), batch)

    return predict


def _inputs(batch: Batch, kernel: str) -> list[tf.Tensor]:
    """Returns the features of a batch, or its images, warped if augmented."""
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
    batch: Batch,
    *,
    flip: bool,
) -> tf.Tensor:
    """Returns the logits of a batch that is not augmented.

    With `flip`, a batch of features must have `mirrored`, the features of the
    mirror images. For a batch of images, this function flips the images.
    """

    def of(inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        if partition is not None:
            return partition.logits(variables, values, list(inputs))
        return classifier.logits(variables, values, inputs[0])

    inputs = _inputs(batch, "")
    if not flip:
        return of(inputs)
    mirrored = batch.get("mirrored") or [mirror(inputs[0])]
    return classifier.mean_logits(of(inputs), of(mirrored))


def _logits_and_updates(
    classifier: Classifier,
    partition: Partition | None,
    variables: Sequence[keras.Variable],
    values: Sequence[tf.Tensor],
    inputs: list[tf.Tensor],
    batch: Batch,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Returns the logits with the batch's dropout, and the variable updates."""
    dropout = batch.get("dropout")
    if partition is not None:
        return partition.logits_and_updates(variables, values, inputs, dropout)
    return classifier.logits_and_updates(variables, values, inputs[0], dropout)


def _correct(logits: tf.Tensor, batch: Batch) -> tf.Tensor:
    labels = main_labels(batch)
    if labels.shape.rank == 2:
        right = tf.reduce_all((logits >= 0) == (labels > 0), axis=1)
    else:
        right = tf.argmax(logits, axis=1, output_type=tf.int32) == labels
    return tf.cast(right, tf.float32) * batch["mask"]


def values_of(variables: Sequence[keras.Variable]) -> list[tf.Tensor]:
    """Returns the variables' values, on a replica those of its own copies."""
    return [tf.convert_to_tensor(v.value) for v in variables]
