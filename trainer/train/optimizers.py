"""Optimizers for gradients that are already summed over the replicas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

GradientsAndVariables = Iterable[tuple[Any, Any]]


class SummedOnce:
    """Mixin for a Keras optimizer whose gradients are sums over all replicas.

    Keras would sum them a second time, which between machines takes as long as
    the first. It does so in a private method, which this class overrides.
    `asked` records that Keras still calls it: a gradient summed twice is too
    large, and nothing else would show it.

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
