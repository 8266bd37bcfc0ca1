"""The training step of one replica: compute, sum, clip, update.

The pure step computes this replica's part of the gradient, and is the only part
that XLA compiles. Summing over the replicas, clipping and the optimizer's
update happen here, in the replica's context.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from trainer.errors import TrainerError
from trainer.learning.averages import WeightAverages
from trainer.learning.optimizers import SummedOnce
from trainer.learning.steps import (
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
        averages: WeightAverages | None = None,
    ) -> None:
        """Creates the step.

        Args:
          step: the pure step, compiled or not.
          trainable: the variables to update, in place.
          frozen: the other variables whose values `step` takes.
          optimizer: built on `trainable`, in that order.
          clip_global_norm: maximum norm of the gradient of the mean loss over
            the global batch; None does not clip.
          replicas: number of replicas in sync.
          averages: of the trainable variables, updated after each step; None
            for no averages.
        """
        self._step = step
        self._trainable = trainable
        self._frozen = frozen
        self._optimizer = optimizer
        self._clip_global_norm = clip_global_norm
        self._replicas = replicas
        self._averages = averages
        # Filled while the step is traced, and checked later: TensorFlow would
        # wrap an error raised during tracing in many lines about the graph.
        self._updated_in_inference: set[str] = set()

    @tf.autograph.experimental.do_not_convert
    def run(self, batch: Batch) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Takes one step; `strategy.run` calls it on each replica.

        Args:
          batch: the replica's share of the global batch.

        Returns:
          A dict of float32 scalars over the global batch, with the names in
          STEP_VALUES; `gradient_norm` is the norm before clipping.
          A float32 tensor (trainable variables,): the largest absolute entry
          of each gradient after clipping; UNCONNECTED if the loss does not
          depend on the variable.
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
        """Returns the clipped gradients, and their norm before clipping."""
        norm = tf.linalg.global_norm(gradients)
        bound = self._clip_global_norm
        if bound is not None:
            scale = bound / tf.maximum(norm, bound)
            gradients = [g * scale for g in gradients]
        return gradients, norm

    def _update(self, gradients: Values) -> None:
        if not isinstance(self._optimizer, SummedOnce):
            # Keras sums the gradients over the replicas a second time.
            gradients = [g / self._replicas for g in gradients]
        self._optimizer.apply(gradients, self._trainable)
        if self._averages is not None:
            self._averages.update()

    def check_traced(self) -> None:
        """Checks what was found while tracing; call after the first step.

        Raises:
          TrainerError: Keras did not call the method that `SummedOnce`
            overrides, so it sums the gradients twice; or a layer updates its
            variables in inference mode, as BatchNorm does in training mode.
            The step drops such updates, and the audit would not detect it.
        """
        optimizer = self._optimizer
        if isinstance(optimizer, SummedOnce) and not optimizer.asked:
            raise TrainerError(
                f"Keras {keras.__version__} sums gradients in a way that this"
                " trainer does not know, so they would be too large; nothing"
                " is saved: install a version of Keras that the trainer is"
                " tested with"
            )
        if self._updated_in_inference:
            raise TrainerError(
                f"{min(self._updated_in_inference)}: changed by a forward pass"
                " in inference mode, so its layer ignores training=False;"
                " nothing is saved: give a --backbone whose layers respect it"
            )
