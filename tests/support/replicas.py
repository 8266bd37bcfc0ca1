"""Strategies of one or more replicas on the CPU, and their batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.distribute import strategies
from trainer.learning.optimizers import SummedOnce


class Descent(SummedOnce, keras.optimizers.SGD):
    """SGD, which at rate 1 moves by the gradient, or twice if summed twice."""


def strategy_of(replicas: int) -> tf.distribute.Strategy:
    """Returns a strategy over the first logical CPUs."""
    name = "one_device" if replicas == 1 else "mirrored"
    return strategies.make_strategy(name, replicas, replicas)


def feed(
    strategy: tf.distribute.Strategy, batches: Sequence[dict[str, np.ndarray]]
) -> Iterator:
    """Yields the global batches; replica r gets the r-th part of each."""
    replicas = strategy.num_replicas_in_sync
    parts: dict[str, list[np.ndarray]] = {name: [] for name in batches[0]}
    for batch in batches:
        for name, value in batch.items():
            parts[name] += np.split(value, replicas)

    def dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
        # The replicas of a process are adjacent.
        pipelines = context.num_input_pipelines
        first = context.input_pipeline_id * replicas // pipelines
        own = [
            row
            for row in range(replicas * len(batches))
            if first <= row % replicas < first + replicas // pipelines
        ]
        return tf.data.Dataset.from_tensor_slices(
            {name: np.stack(values)[own] for name, values in parts.items()}
        )

    return iter(strategy.distribute_datasets_from_function(dataset))


@contextlib.contextmanager
def counted_calls(monkeypatch, owner: type, name: str) -> Iterator[list[int]]:
    """Counts the Python calls of a method: one per trace and replica."""
    calls, real = [0], getattr(owner, name)

    def counting(*args, **kwargs):
        calls[0] += 1
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, counting)
        yield calls
