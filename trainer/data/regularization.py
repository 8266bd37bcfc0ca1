"""Mixing, erasing and dropout of training examples.

All are drawn in the input pipeline, by seed, epoch and sample id, and images
are changed there. So neither devices and XLA nor replicas and accumulation
change what is drawn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from trainer.config.mixing import CUTMIX, Mixing
from trainer.data.augment import warp
from trainer.data.erasing import draw_erased_box, erase
from trainer.data.mixing import draw_box, draw_weight, mixed
from trainer.data.samples import Samples

Element = dict[str, Any]
# Numbers that are folded into the key of a sample, one for each purpose.
# `augment` folds in 1.
_MIX_WEIGHT, _MIX_BOX, _ERASED_BOX, _NOISE, _DROPOUT = range(2, 7)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regularization:
    """How training examples are changed besides augmentation.

    Attributes:
      mix: how images are mixed; None mixes none.
      erasing: probability of random erasing, in [0, 1].
      dropout: probability that a channel of the head's input is dropped, in
        [0, 1).
      channels: number of these channels; read only with `dropout`.
    """

    mix: Mixing | None = None
    erasing: float = 0.0
    dropout: float = 0.0
    channels: int = 0

    @property
    def changes_images(self) -> bool:
        """Whether images are changed."""
        return self.mix is not None or self.erasing > 0

    @property
    def mixes(self) -> bool:
        """Whether an element is read with the partner of its last row."""
        return self.mix is not None

    def draws(
        self, samples: Samples, seed: int, image_px: int
    ) -> Callable[[tf.Tensor, tf.Tensor], Element]:
        """Returns a function of row and epoch, int64: what is drawn.

        Args:
          samples: the samples that the row numbers refer to.
          seed: of the run.
          image_px: side of the images.
        """
        hashes = tf.constant(samples.id_hashes(), tf.int64)

        def draw(row: tf.Tensor, epoch: tf.Tensor) -> Element:
            id_hash = hashes[tf.maximum(row, 0)]
            pair = tf.stack([tf.constant(seed, tf.int64), epoch])
            own = tf.random.fold_in(pair, id_hash, alg="philox")

            def key(purpose: int) -> tf.Tensor:
                return tf.random.fold_in(own, purpose, alg="philox")

            found: Element = {}
            if self.mix is not None:
                weight = draw_weight(key(_MIX_WEIGHT), self.mix.alpha)
                if self.mix.method == CUTMIX:
                    box = draw_box(key(_MIX_BOX), weight, image_px)
                    found["boxes"] = box
                else:
                    found["weights"] = weight
            if self.erasing:
                found["erased"] = draw_erased_box(
                    key(_ERASED_BOX), self.erasing, image_px
                )
                found["noise_keys"] = key(_NOISE)
            if self.dropout:
                found["dropout"] = draw_dropout(
                    key(_DROPOUT), self.dropout, self.channels
                )
            return found

        return draw

    def change(self, element: Element, kernel: str) -> Element:
        """Returns an element whose images are warped, erased and mixed.

        Args:
          element: of b rows, or with `mix` of b + 1 rows; see `mixing.mixed`.
          kernel: how `augment.warp` samples.
        """
        element = dict(element)
        images = element.pop("images")
        if "matrices" in element:
            images = warp(images, element.pop("matrices"), kernel=kernel)
        if self.erasing:
            keys = element.pop("noise_keys")
            images = erase(images, element.pop("erased"), keys)
        element["images"] = images
        return mixed(element) if self.mixes else element


NOTHING = Regularization()


def draw_dropout(
    key: tf.Tensor, probability: float, channels: int
) -> tf.Tensor:
    """Draws the factors of the head's input (Srivastava et al., 2014).

    Args:
      key: int64 (2,).
      probability: P, in [0, 1).
      channels: number of factors.

    Returns:
      float32 (channels,): 0 with probability P, else 1 / (1 - P).
    """
    uniform = tf.random.stateless_uniform((channels,), key, alg="philox")
    return tf.where(uniform < probability, 0.0, 1.0 / (1.0 - probability))
