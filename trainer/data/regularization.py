"""Mixing, erasing and dropout of training examples.

The random values depend on seed, epoch and sample id. They are drawn in the
input pipeline, which also changes the images. So they do not depend on the
device, XLA, the number of replicas or accumulation.
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
# Constants folded into the random key of a sample, one for each purpose.
# `augment` uses 1.
_MIX_WEIGHT, _MIX_BOX, _ERASED_BOX, _NOISE, _DROPOUT = range(2, 7)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regularization:
    """How training examples are changed, apart from augmentation.

    Attributes:
      mix: how images are mixed; None mixes none.
      erasing: probability of random erasing, in [0, 1].
      dropout: probability that a channel of the head's input is dropped, in
        [0, 1).
      channels: number of channels of the head's input; used only with dropout.
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
        """Whether elements have one more row: the partner of the last one."""
        return self.mix is not None

    def draws(
        self, samples: Samples, seed: int, image_px: int
    ) -> Callable[[tf.Tensor, tf.Tensor], Element]:
        """Returns a function that draws the random values of one example.

        The function maps row number and epoch, int64, to values by name.

        Args:
          samples: the samples that the row numbers refer to.
          seed: the seed of the run.
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
          element: an element of b rows, or of b + 1 rows if images are mixed;
            see `mixing.mixed`.
          kernel: the sampling kernel of `augment.warp`.
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
    """Draws dropout factors for the head's input (Srivastava et al., 2014).

    Args:
      key: int64 (2,), the random key.
      probability: P, in [0, 1).
      channels: number of factors.

    Returns:
      float32 (channels,): 0 with probability P, else 1 / (1 - P).
    """
    uniform = tf.random.stateless_uniform((channels,), key, alg="philox")
    return tf.where(uniform < probability, 0.0, 1.0 / (1.0 - probability))
