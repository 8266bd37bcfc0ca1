"""The training batches of a stage, distributed over the replicas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from trainer.config import Config
from trainer.config.fields import OFF
from trainer.data.batches import training_batches
from trainer.data.order import Shard
from trainer.data.reading import Reading
from trainer.data.regularization import Regularization
from trainer.data.samples import Samples
from trainer.learning.inputs import Inputs


class TrainingBatches:
    """The batches of a stage's training subset, for all replicas."""

    def __init__(
        self,
        inputs: Inputs,
        samples: Samples,
        config: Config,
        *,
        views: int,
        channels: int,
        strategy: tf.distribute.Strategy,
    ) -> None:
        """Creates the object; nothing is read yet.

        Args:
          inputs: reads the samples.
          samples: the training subset.
          config: its `batch_size`, `seed`, `augment`, `mix`, `erasing` and
            `dropout` are used.
          views: number of cached views to read in turn; 0 reads images.
          channels: number of channels of the head's input, for dropout.
          strategy: distributes the batches over the replicas.
        """
        self._inputs = inputs
        self._samples = samples
        self._config = config
        self._views = views
        self._channels = channels
        self._strategy = strategy
        self._reading: Reading | None = None

    def read(self, start: int, end: int) -> Iterator[dict[str, Any]]:
        """Returns an iterator over the remaining batches of the stage.

        Args:
          start: number of steps of the stage that are done.
          end: number of steps of the stage.
        """
        samples, config = self._samples, self._config
        if self._reading is None:
            self._reading = self._make_reading()
        reading = self._reading
        regularization = regularization_of(config, self._channels)

        def dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return training_batches(
                samples,
                reading=reading,
                shard=Shard(
                    global_batch=config.batch_size,
                    num_replicas=self._strategy.num_replicas_in_sync,
                    pipeline=context.input_pipeline_id,
                    num_pipelines=context.num_input_pipelines,
                ),
                seed=config.seed,
                start_step=start,
                total_steps=end,
                # Views are augmented already.
                augment=config.augment != OFF and not self._views,
                policy=config.augment,
                regularization=regularization,
            )

        return iter(self._strategy.distribute_datasets_from_function(dataset))

    def _make_reading(self) -> Reading:
        samples, config = self._samples, self._config
        if not self._views:
            return self._inputs.training(samples, augment=config.augments)
        return Reading(
            image_px=config.image_size or 0,
            features=self._inputs.views(
                samples,
                self._views,
                seed=config.seed,
                policy=config.augment,
            ),
            views=self._views,
        )


def regularization_of(config: Config, channels: int = 0) -> Regularization:
    """Returns how training examples are changed, apart from augmentation.

    Args:
      config: its `mix`, `erasing` and `dropout` are used.
      channels: number of channels of the head's input; 0 without dropout.
    """
    return Regularization(
        mix=config.mixing,
        erasing=config.erasing,
        dropout=config.dropout if channels else 0.0,
        channels=channels if config.dropout else 0,
    )
