"""Augmented views of training images, whose features are cached.

View k of an image is its augmentation in epoch k of training. So a head that
trains on cached views sees the features of a run without a cache.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.cache import CachedRows
from trainer.data.augment import policy_fields, warp
from trainer.data.batches import augmentation_draws
from trainer.data.colours import recolour
from trainer.data.reading import checked_blocks, parallel_map
from trainer.data.rendering import PLAIN, Rendering
from trainer.data.samples import Samples


@dataclasses.dataclass(frozen=True, kw_only=True)
class Views:
    """The views of each training image.

    Attributes:
      count: number of augmented views, at least 1.
      seed: of the run.
      kernel: how images are warped: projective or gather.
      policy: a value of --augment other than off.
      rendering: how images are decoded and resized.
    """

    count: int
    seed: int
    kernel: str
    policy: str
    rendering: Rendering = PLAIN

    def key_fields(self, view: int) -> dict[str, Any]:
        """Returns the fields of a cache key that describe a view."""
        return {
            "kind": "features of a view",
            "view": view,
            "seed": self.seed,
            "kernel": self.kernel,
            "policy": policy_fields(self.policy),
            **self.rendering.key_fields(),
        }

    def draws(
        self, samples: Samples, rows: np.ndarray, view: int
    ) -> tf.data.Dataset:
        """Returns the augmentation of one view of some samples.

        Args:
          samples: the training subset.
          rows: int64 (n,), row numbers of samples.
          view: number of the view, from 0.

        Returns:
          A dataset of n dicts; see `augmentation_draws`.
        """
        draw = augmentation_draws(samples, self.seed, self.policy)
        numbered = tf.data.Dataset.from_tensor_slices(
            (rows, np.full_like(rows, view))
        )
        return parallel_map(numbered, draw)


def view_digests(samples: Samples) -> list[str]:
    """Returns what identifies the views of each sample.

    The augmentation depends on the sample's id, so two samples of the same
    image have different views.
    """
    return [
        hashlib.blake2b(
            f"{digest}\n{sample_id}".encode(), digest_size=16
        ).hexdigest()
        for digest, sample_id in zip(samples.digests, samples.ids, strict=True)
    ]


def view_blocks(
    samples: Samples,
    rows: np.ndarray,
    views: Views,
    view: int,
    *,
    images: CachedRows | None,
    image_px: int,
    block: int,
) -> tf.data.Dataset:
    """Returns one view of some samples, in blocks.

    Args:
      samples: the training subset.
      rows: int64 (n,), row numbers of samples, in the order wanted.
      views: how they are augmented.
      view: number of the view, from 0.
      images: the decoded images of all samples; None decodes them.
      image_px: side of the images.
      block: images per block; the last block may have fewer.

    Returns:
      A dataset of pairs: float32 (block, image_px, image_px, 3) in 0..255; and
      bool (block,), False where the image has changed.
    """
    if images is None:
        blocks = checked_blocks(
            samples,
            rows,
            image_px=image_px,
            block=block,
            rendering=views.rendering,
        )
    else:
        numbers = tf.data.Dataset.from_tensor_slices(rows).batch(block)
        blocks = parallel_map(numbers, _reader(images, image_px))
    draws = views.draws(samples, rows, view).batch(block)

    def augmented(
        pair: tuple[tf.Tensor, tf.Tensor], drawn: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        found, same = pair
        found = tf.cast(found, tf.float32)
        if "operations" in drawn:
            found = recolour(found, drawn["operations"], drawn["strengths"])
        return warp(found, drawn["matrices"], kernel=views.kernel), same

    return parallel_map(tf.data.Dataset.zip((blocks, draws)), augmented)


def _reader(images: CachedRows, image_px: int) -> Any:
    """Returns a function of row numbers, int64 (n,): images, and all True."""

    def read(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        (found,) = tf.numpy_function(
            images.read, [rows], [tf.uint8], stateful=False
        )
        found = tf.ensure_shape(found, (None, image_px, image_px, 3))
        return found, tf.ones_like(rows, tf.bool)

    return read
