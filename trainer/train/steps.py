"""The step: pure functions, and the graph loops that run them on replicas.

The pure functions touch no variable, so that XLA can compile them on a
replica; all-reduce, clipping and the optimizer's update stand around them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from trainer.data.augment import warp, warp_kernel
from trainer.errors import TrainerError
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan
from trainer.model.split import Split

Batch = dict[str, Any]
TOP_K = 5
# Stands for the gradient of a variable that the loss does not depend on.
NO_PATH = -1.0


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
        by key; empty in inference mode if every layer heeds it.
    """

    gradients: list[tf.Tensor | None]
    sums: dict[str, tf.Tensor]
    updates: dict[str, tf.Tensor]


def make_train_step(
    classifier: Classifier,
    plan: FreezePlan,
    *,
    kernel: str,
    split: Split | None = None,
    from_scratch: bool = False,
) -> Callable[[list[tf.Tensor], list[tf.Tensor], Batch, tf.Tensor], StepOutput]:
    """(trainable values, frozen values, batch, examples) -> StepOutput.

    `examples`, a float32 scalar, is the number of real examples in the global
    batch, which only all replicas together know.

    Args:
      classifier: what to train.
      plan: its keys give the order of the two lists of values.
      kernel: how `augment.warp` samples: projective, or gather under XLA.
      split: computes with the tail on features; None with the classifier on
        pictures.
      from_scratch: runs every layer in training mode, BatchNorm included. No
        stage of a run does that; it is for making weights to start from.
    """
    variables = [
        classifier.variables[key] for key in plan.trainable + plan.frozen
    ]

    def train_step(
        trainable: list[tf.Tensor],
        frozen: list[tf.Tensor],
        batch: Batch,
        examples: tf.Tensor,
    ) -> StepOutput:
        inputs = _inputs(batch, kernel)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trainable)
            values = trainable + frozen
            if split is None or from_scratch:
                logits, updates = classifier.logits_and_updates(
                    variables, values, inputs[0], training=from_scratch
                )
            else:
                logits, updates = split.logits_and_updates(
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

    return train_step


def make_evaluation_step(
    classifier: Classifier, num_classes: int, *, split: Split | None = None
) -> Callable[[list[tf.Tensor], Batch], dict[str, tf.Tensor]]:
    """(values in the order of `classifier.variables`, batch) -> sums.

    The sums are float32: `loss`, `count`, `top5` (scalars) and `confusion`
    (classes, classes), rows true and columns predicted.
    """
    variables = list(classifier.variables.values())

    def evaluation_step(
        values: list[tf.Tensor], batch: Batch
    ) -> dict[str, tf.Tensor]:
        labels, mask = batch["labels"], batch["mask"]
        inputs = _inputs(batch, "")
        logits = _logits(classifier, split, variables, values, inputs)
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
    classifier: Classifier, split: Split | None, *, xla: bool
) -> Callable[[Batch], tf.Tensor]:
    """A function that gives a batch's probabilities, float32 (b, classes).

    Of one device; the weights are read at each call.
    """
    variables = list(classifier.variables.values())

    def step(values: list[tf.Tensor], batch: Batch) -> tf.Tensor:
        logits = _logits(
            classifier, split, variables, values, _inputs(batch, "")
        )
        return tf.nn.softmax(logits)

    compiled = tf.function(step, jit_compile=xla)

    @tf.function
    def predict(batch: Batch) -> tf.Tensor:
        return compiled(_values(variables), batch)

    return predict


def _inputs(batch: Batch, kernel: str) -> list[tf.Tensor]:
    """The features of a batch, or its pictures, warped where asked for."""
    if "features" in batch:
        return list(batch["features"])
    if "matrices" in batch:
        return [warp(batch["images"], batch["matrices"], kernel=kernel)]
    return [batch["images"]]


def _logits(
    classifier: Classifier,
    split: Split | None,
    variables: Sequence[keras.Variable],
    values: Sequence[tf.Tensor],
    inputs: list[tf.Tensor],
) -> tf.Tensor:
    if split is not None:
        return split.logits(variables, values, inputs)
    return classifier.logits(variables, values, inputs[0])


def _losses(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def _correct(logits: tf.Tensor, batch: Batch) -> tf.Tensor:
    predicted = tf.argmax(logits, axis=1, output_type=tf.int32)
    hits = tf.cast(predicted == batch["labels"], tf.float32)
    return hits * batch["mask"]


class TrainCall(NamedTuple):
    """What several steps in one call return.

    Attributes:
      sums: float32 (steps,) each, over the global batch: loss, correct,
        count, gradient_norm (before clipping).
      gradient_max: float32 (trainable variables,), the largest absolute entry
        of any step's gradient there, as the optimizer got it; NO_PATH where
        the loss does not depend on the variable.
    """

    sums: dict[str, np.ndarray]
    gradient_max: np.ndarray


def make_train_function(
    strategy: tf.distribute.Strategy,
    classifier: Classifier,
    plan: FreezePlan,
    optimizer: keras.Optimizer,
    *,
    clip_global_norm: float | None,
    xla: bool,
    kernel: str | None = None,
    split: Split | None = None,
    from_scratch: bool = False,
) -> Callable[[Iterator[Batch], int], TrainCall]:
    """A function that runs a number of training steps in one graph call.

    Args:
      strategy: what the model and the built optimizer were made under.
      classifier: updated in place.
      plan: what to train.
      optimizer: built on the plan's trainable variables, in that order.
      clip_global_norm: bound on the norm of the gradient of the mean loss
        over the global batch; None does not clip.
      xla: whether to compile the pure step.
      kernel: see `make_train_step`; None takes the one that XLA compiles, or
        else the faster one.
      split: likewise.
      from_scratch: see `make_train_step`.

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
            split=split,
            from_scratch=from_scratch,
        ),  # fmt: skip
        jit_compile=xla,
    )
    trainable = [classifier.variables[key] for key in plan.trainable]
    frozen = [classifier.variables[key] for key in plan.frozen]
    replicas = strategy.num_replicas_in_sync
    # Filled when the step is traced. An error raised there would come out
    # wrapped in a page about the graph.
    heedless: set[str] = set()

    def replica_step(batch: Batch) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        context = tf.distribute.get_replica_context()
        total = tf.distribute.ReduceOp.SUM
        examples = context.all_reduce(total, tf.reduce_sum(batch["mask"]))
        values = _values(trainable)
        output = step(values, _values(frozen), batch, examples)
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
                NO_PATH if part is None else tf.reduce_max(tf.abs(whole))
                for part, whole in zip(output.gradients, gradients, strict=True)
            ]
        )
        # Keras sums over the replicas once more when it applies.
        optimizer.apply([g / replicas for g in gradients], trainable)
        if not from_scratch:
            heedless.update(output.updates)
            return {**sums, "gradient_norm": norm}, largest
        for key, value in output.updates.items():
            if value.dtype.is_floating:
                value = context.all_reduce(tf.distribute.ReduceOp.MEAN, value)
            classifier.variables[key].value.assign(value)
        return {**sums, "gradient_norm": norm}, largest

    names = ("loss", "correct", "count", "gradient_norm")

    @tf.function(reduce_retracing=True)
    def train_steps(
        iterator: Iterator[Batch], steps: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        rows = tf.TensorArray(tf.float32, size=steps, element_shape=(4,))
        largest = tf.fill([len(trainable)], NO_PATH)
        for i in tf.range(steps):
            sums, step_largest = strategy.run(replica_step, (next(iterator),))
            row = tf.stack([_first(strategy, sums[name]) for name in names])
            rows = rows.write(i, row)
            largest = tf.maximum(largest, _first(strategy, step_largest))
        return rows.stack(), largest

    def call(iterator: Iterator[Batch], steps: int) -> TrainCall:
        rows, largest = train_steps(iterator, tf.constant(steps, tf.int32))
        if heedless:
            raise TrainerError(
                f"{min(heedless)}: changed by a forward pass in inference mode,"
                " so its layer does not heed training=False; nothing of it is"
                " saved: take a --backbone whose layers do"
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
    split: Split | None = None,
) -> Callable[[Iterator[Batch], int], dict[str, np.ndarray]]:
    """A function that sums over a number of batches in one graph call.

    The result has the keys of `make_evaluation_step`, as float64.
    """
    step = tf.function(
        make_evaluation_step(classifier, num_classes, split=split),
        jit_compile=xla,
    )
    variables = list(classifier.variables.values())
    shapes = {"loss": (), "count": (), "top5": ()}

    def replica_step(batch: Batch) -> dict[str, tf.Tensor]:
        return step(_values(variables), batch)

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


def _values(variables: Sequence[keras.Variable]) -> list[tf.Tensor]:
    # Of a mirrored variable, a replica reads its own copy.
    return [tf.convert_to_tensor(v.value) for v in variables]


def _first(strategy: tf.distribute.Strategy, value: tf.Tensor) -> tf.Tensor:
    return strategy.experimental_local_results(value)[0]
