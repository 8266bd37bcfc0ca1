"""Optimizers for gradients that are already summed over the replicas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

GradientsAndVariables = Iterable[tuple[Any, Any]]


class SummedOnce:
    """Mixin for a Keras optimizer whose gradients are sums over all replicas.

    Keras would sum them a second time, in a private method that this class
    overrides. Between machines, the second sum takes as long as the first. If a
    Keras version no longer calls that method, gradients are too large, and only
    `asked` shows it.

    Attributes:
      asked: whether Keras has called the method.
    """

    asked = False

    def _all_reduce_sum_gradients(
        self, grads_and_vars: GradientsAndVariables
    ) -> GradientsAndVariables:
        self.asked = True
        return grads_and_vars


class SummedAdam(SummedOnce, keras.optimizers.Adam):
    """Adam for gradients that are already summed over the replicas."""
