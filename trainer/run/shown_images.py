"""The training images that TensorBoard shows, before and after augmentation."""

from __future__ import annotations

import numpy as np

from trainer.config import Config
from trainer.config.fields import OFF, TRIVIAL
from trainer.data.augment import warp
from trainer.data.batches import Element, training_batches
from trainer.data.order import Shard
from trainer.data.reading import Reading
from trainer.data.regularization import NOTHING
from trainer.data.rendering import rendering_of
from trainer.data.samples import Samples
from trainer.learning.batches import regularization_of

_SHOWN_IMAGES = 8


def shown_images(
    samples: Samples, config: Config, *, image_px: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first training images, unchanged and as a step reads them.

    Args:
      samples: the training subset.
      config: the configuration of the run.
      image_px: side of the images.

    Returns:
      Twice float32 (n, image_px, image_px, 3) in 0..255, at most eight images:
      unchanged, and augmented, erased and mixed.
    """

    def first(*, changed: bool) -> Element:
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
        return next(iter(dataset))

    batch = first(changed=True)
    if "matrices" not in batch:
        # Mixed and erased images are warped already.
        return first(changed=False)["images"].numpy(), batch["images"].numpy()
    after = warp(batch["images"], batch["matrices"], kernel="gather")
    if config.augment == TRIVIAL:
        # The pipeline has changed the colours.
        batch = first(changed=False)
    return batch["images"].numpy(), after.numpy()
