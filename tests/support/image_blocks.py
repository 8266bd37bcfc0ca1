"""The decoded images of some samples, without the check of their digests."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.data.reading import checked_blocks
from trainer.data.rendering import PLAIN, Rendering
from trainer.data.samples import Samples


def image_blocks(
    samples: Samples,
    rows: np.ndarray,
    *,
    image_px: int,
    block: int,
    rendering: Rendering = PLAIN,
) -> tf.data.Dataset:
    """Returns the images of some samples in blocks; see `checked_blocks`."""
    blocks = checked_blocks(
        samples, rows, image_px=image_px, block=block, rendering=rendering
    )
    return blocks.map(
        tf.autograph.experimental.do_not_convert(lambda images, same: images)
    )
