"""Optimizers that take gradients as the step has summed them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

GradientsAndVariables = Iterable[tuple[Any, Any]]


class SummedOnce:
    """Before a Keras optimizer: its gradients are sums over all replicas.

    Keras would sum them over the replicas again, which between machines takes
    as long as the first time. It does so in a method of its own that is not
    public; `asked` tells whether that is still so, since a gradient that is
    summed twice is too large and nothing else would say so.

    Attributes:
      asked: whether Keras has been about to sum.
    """

    asked = False

    def _all_reduce_sum_gradients(
        self, grads_and_vars: GradientsAndVariables
    ) -> GradientsAndVariables:
        self.asked = True
        return grads_and_vars


class SummedAdam(SummedOnce, keras.optimizers.Adam):
    """Adam for gradients that are summed already."""
