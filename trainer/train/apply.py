"""The training step of one replica: compute, sum, clip, update.

The pure step computes this replica's part of the gradient; XLA compiles that
part alone. Summing over the replicas, clipping and the optimizer's update
happen here, in the replica's context.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from trainer.errors import TrainerError
from trainer.train.optimizers import SummedOnce
from trainer.train.steps import (
    SUMS,
    UNCONNECTED,
    Batch,
    TrainStep,
    Values,
    values_of,
)

# The values that one step returns, in order.
STEP_VALUES = (*SUMS, "gradient_norm")


class ReplicaStep:
    """Runs the pure step on a batch, and updates the variables."""

    def __init__(
        self,
        step: TrainStep,
        *,
        trainable: list[keras.Variable],
        frozen: list[keras.Variable],
        optimizer: keras.Optimizer,
        clip_global_norm: float | None,
        replicas: int,
    ) -> None:
        """Creates the step.

        Args:
          step: the pure step, compiled or not.
          trainable: variables that are updated in place.
          frozen: the other variables that `step` takes.
          optimizer: built on `trainable`, in that order.
          clip_global_norm: bound on the norm of the gradient of the mean loss
            over the global batch; None does not clip.
          replicas: number of replicas in sync.
        """
        self._step = step
        self._trainable = trainable
        self._frozen = frozen
        self._optimizer = optimizer
        self._clip_global_norm = clip_global_norm
        self._replicas = replicas
        # Filled while the step is traced. An error raised there would be
        # wrapped in a page of text about the graph.
        self._updated_in_inference: set[str] = set()

    @tf.autograph.experimental.do_not_convert
    def run(self, batch: Batch) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Takes one step; `strategy.run` calls it on each replica.

        Args:
          batch: the replica's share of the global batch.

        Returns:
          Scalars by the names of STEP_VALUES, over the global batch; the norm
          is that before clipping. And float32 (trainable variables,): the
          largest absolute entry of each gradient as the optimizer gets it,
          UNCONNECTED where the loss does not depend on the variable.
        """
        context = tf.distribute.get_replica_context()
        total = tf.distribute.ReduceOp.SUM
        examples = context.all_reduce(total, tf.reduce_sum(batch["mask"]))
        values = values_of(self._trainable)
        output = self._step(values, values_of(self._frozen), batch, examples)
        self._updated_in_inference.update(output.updates)
        gradients = [
            tf.zeros_like(value) if gradient is None else gradient
            for gradient, value in zip(output.gradients, values, strict=True)
        ]
        gradients, sums = context.all_reduce(total, (gradients, output.sums))
        gradients, norm = self._clipped(gradients)
        largest = tf.stack(
            [
                UNCONNECTED if part is None else tf.reduce_max(tf.abs(whole))
                for part, whole in zip(output.gradients, gradients, strict=True)
            ]
        )
        self._update(gradients)
        return {**sums, "gradient_norm": norm}, largest

    def _clipped(self, gradients: Values) -> tuple[Values, tf.Tensor]:
        """Returns the gradients, clipped, and their norm before."""
        norm = tf.linalg.global_norm(gradients)
        bound = self._clip_global_norm
        if bound is not None:
            scale = bound / tf.maximum(norm, bound)
            gradients = [g * scale for g in gradients]
        return gradients, norm

    def _update(self, gradients: Values) -> None:
        if not isinstance(self._optimizer, SummedOnce):
            # Keras sums over the replicas once more when it applies.
            gradients = [g / self._replicas for g in gradients]
        self._optimizer.apply(gradients, self._trainable)

    def check_traced(self) -> None:
        """Checks what tracing has shown; call after the first step.

        Raises:
          TrainerError: Keras did not ask to sum gradients, so it sums them
            twice; or a layer changes variables of its own in inference mode,
            as BatchNorm does in training mode. Their new values would be
            dropped, and no digest of any variable would show it.
        """
        optimizer = self._optimizer
        if isinstance(optimizer, SummedOnce) and not optimizer.asked:
            raise TrainerError(
                f"Keras {keras.__version__} sums gradients in a way that this"
                " trainer does not know, so they would be too large; nothing"
                " of it is saved: install a version of Keras that the trainer"
                " is tested with"
            )
        if self._updated_in_inference:
            raise TrainerError(
                f"{min(self._updated_in_inference)}: changed by a forward pass"
                " in inference mode, so its layer ignores training=False;"
                " nothing of it is saved: give a --backbone whose layers"
                " respect it"
            )
