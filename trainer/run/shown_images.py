"""The training images that TensorBoard shows, before and after augmentation."""

from __future__ import annotations

import numpy as np

from trainer.config import Config
from trainer.config.fields import OFF
from trainer.data.augment import warp
from trainer.data.batches import training_batches
from trainer.data.order import Shard
from trainer.data.reading import Reading
from trainer.data.regularization import NOTHING
from trainer.data.rendering import rendering_of
from trainer.data.samples import Samples
from trainer.train.batches import regularization_of

_SHOWN_IMAGES = 8


def shown_images(
    samples: Samples, config: Config, *, image_px: int, changed: bool
) -> np.ndarray:
    """Returns the first training images of a stage.

    Args:
      samples: the training subset.
      config: the configuration of the run.
      image_px: side of the images.
      changed: whether to augment, erase and mix them as in a training step.

    Returns:
      float32 (n, image_px, image_px, 3) in 0..255, at most eight images.
    """
    count = min(_SHOWN_IMAGES, len(samples))
    dataset = training_batches(
        samples,
        reading=Reading(image_px=image_px, rendering=rendering_of(config)),
        shard=Shard(global_batch=count, num_replicas=1),
        seed=config.seed,
        start_step=0,
        total_steps=1,
        augment=changed and config.augment != OFF,
        policy=config.augment,
        regularization=regularization_of(config) if changed else NOTHING,
    )
    batch = next(iter(dataset))
    images = batch["images"]
    if "matrices" in batch:
        images = warp(images, batch["matrices"], kernel="gather")
    return images.numpy()
