"""Random numbers that are equal on every machine and release."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Draws:
    """A stream of random choices, determined by its key alone.

    It uses only `random.Random.random` and the raw bits of Philox. Python and
    NumPy promise not to change these; their other distributions may change
    between releases.
    """

    def __init__(self, key: str) -> None:
        digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
        self._seed = int.from_bytes(digest, "little")
        self._next = random.Random(self._seed).random

    def uniform(self, low: float, high: float) -> float:
        """Returns a number in [low, high)."""
        return low + (high - low) * self._next()

    def near(self, middle: float, spread: float) -> float:
        """Returns a number within `spread` of the middle, mostly near it."""
        return middle + spread * (self._next() + self._next() - 1)

    def whole(self, low: int, high: int) -> int:
        """Returns an integer in low..high, both included."""
        return low + int((high - low + 1) * self._next())

    def chance(self, probability: float) -> bool:
        """Returns True with the given probability."""
        return self._next() < probability

    def sign(self) -> int:
        """Returns -1 or 1."""
        return 1 if self._next() < 0.5 else -1

    def angle(self) -> float:
        """Returns radians in [0, 2 pi)."""
        return 2 * math.pi * self._next()

    def pick(self, options: Sequence[T]) -> T:
        """Returns one of the options; all are equally likely."""
        return options[int(len(options) * self._next())]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Returns the items in random order."""
        keyed = [(self._next(), i) for i in range(len(items))]
        return [items[i] for _, i in sorted(keyed)]

    def in_disc(self, radius: float) -> tuple[float, float]:
        """Returns a point of the disc around (0, 0), uniformly distributed."""
        turn = self.angle()
        distance = radius * math.sqrt(self._next())
        return distance * math.cos(turn), distance * math.sin(turn)

    def noise(self, *shape: int) -> np.ndarray:
        """Returns nearly normal noise, mean 0 and standard deviation 148.

        Each value is the sum of four random bytes minus the mean of such a sum.
        Floats would differ between machines in their last bits. Earlier draws
        do not affect the noise.

        Returns:
          int16, of the given shape, in [-510, 510].
        """
        count = math.prod(shape)
        words = np.random.Philox(key=self._seed).random_raw((count + 1) // 2)
        values = words.astype("<u8").view(np.uint8).reshape(-1, 4)[:count]
        summed = values.astype(np.int16).sum(1, dtype=np.int16)
        return (summed - 510).reshape(shape)
