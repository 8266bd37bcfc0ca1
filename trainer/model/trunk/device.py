"""The trunk on the devices of the step, compiled as the step is."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.errors import reason_of
from trainer.model.trunk.engines import MAX_BLOCK, joined, padded
from trainer.model.trunk.partition import Partition

DEVICE = "device"
# Images per pass on a CPU, where larger blocks are not faster.
_CPU_BLOCK = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrunkDevices:
    """The devices that a trunk runs on, and how it is compiled for them.

    Attributes:
      names: such as ("GPU:0", "GPU:1"), of one model, all of this process.
      xla: whether XLA compiles the trunk.
      facts: everything else about them that may change the bits of a feature,
        as values that JSON can represent.
    """

    names: tuple[str, ...]
    xla: bool
    facts: dict[str, Any]

    @property
    def block(self) -> int:
        """Number of images in one pass, which may change the last bits."""
        on_gpu = self.names[0].startswith("GPU")
        return MAX_BLOCK if on_gpu else _CPU_BLOCK

    def key_fields(self) -> dict[str, Any]:
        """Returns the fields of a cache key that describe the devices."""
        return {
            "device": self.names[0].partition(":")[0],
            "block": self.block,
            "xla": self.xla,
            **self.facts,
        }


class DeviceTrunk:
    """The trunk as a function of blocks of a fixed size, on some devices."""

    name = DEVICE

    def __init__(self, partition: Partition, devices: TrunkDevices) -> None:
        """Copies the weights to each device, and compiles the trunk for it.

        Args:
          partition: has a trunk, and its classifier's weights are loaded.
          devices: where it runs.

        Raises:
          ValueError: a device cannot run it.
        """
        self.block = devices.block
        self._devices = devices.names
        constants = partition.trunk_constants()
        self._constants: list[list[tf.Tensor]] = []
        side = partition.classifier.image_px

        def trunk(
            values: list[tf.Tensor], images: tf.Tensor
        ) -> list[tf.Tensor]:
            found = partition.trunk(values, images)
            return [tf.cast(feature, tf.float32) for feature in found]

        self._function = tf.function(
            trunk, jit_compile=devices.xla, autograph=False
        )
        image = np.zeros((1, side, side, 3), np.float32)
        try:
            for name in self._devices:
                with tf.device(name):
                    self._constants.append([tf.constant(a) for a in constants])
            # Several threads call the trunk, but one compiles it.
            self(np.repeat(image, self.block * len(self._devices), axis=0))
        except (tf.errors.OpError, RuntimeError) as error:
            raise ValueError(
                f"cannot run on {self._devices[0]} ({reason_of(error)})"
            ) from error

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """Computes features; safe to call from several threads.

        The blocks are dealt to the devices in turn.

        Args:
          images: float32 (n, px, px, 3) in 0..255.

        Returns:
          One float32 array (n, ...) for each feature.
        """
        running = []
        for number, start in enumerate(range(0, len(images), self.block)):
            part = padded(images[start : start + self.block], self.block)
            device = number % len(self._devices)
            with tf.device(self._devices[device]):
                running.append(
                    self._function(self._constants[device], tf.constant(part))
                )
        # Read last, because a GPU computes in the background.
        found = [[t.numpy() for t in features] for features in running]
        return joined(found, len(images))
