"""The graph of a functional model: the connections between its layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class Graph:
    """The layers of a functional model by name, and the inputs of each layer.

    Attributes:
      parents: for every layer, in the model's order, the names of the layers
        whose outputs it takes, in order; empty for inputs.
      output: name of the layer that computes the model's output.
    """

    parents: Mapping[str, tuple[str, ...]]
    output: str

    def consumers(self) -> dict[str, tuple[str, ...]]:
        """Returns, for every layer, the layers that take its output."""
        found: dict[str, list[str]] = {name: [] for name in self.parents}
        for name, parents in self.parents.items():
            for parent in parents:
                found[parent].append(name)
        return {name: tuple(names) for name, names in found.items()}

    def influenced_by(self, names: Iterable[str]) -> frozenset[str]:
        """Returns these layers and all layers that depend on one of them."""
        found: set[str] = set()
        consumers = self.consumers()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(consumers[name])
        return frozenset(found)


def graph_of(model: keras.Model) -> Graph | None:
    """Reads the graph from the model's configuration.

    Args:
      model: functional, with one input and one output.

    Returns:
      The graph, or None if a layer is called more than once or has several
      outputs: then a layer's name does not identify one tensor.
    """
    config = model.get_config()
    parents: dict[str, tuple[str, ...]] = {}
    for layer in config["layers"]:
        calls = layer["inbound_nodes"]
        if len(calls) > 1:
            return None
        histories = list(_histories(calls))
        if any(history[1:] != [0, 0] for history in histories):
            return None
        parents[layer["name"]] = tuple(history[0] for history in histories)
    output = config["output_layers"]
    while isinstance(output[0], list):
        output = output[0]
    return Graph(parents=parents, output=output[0])


def _histories(value: Any) -> Iterable[list[Any]]:
    """Yields the [layer, call, output] of every tensor in a serialized call."""
    if isinstance(value, Mapping):
        if value.get("class_name") == "__keras_tensor__":
            yield list(value["config"]["keras_history"])
            return
        value = value.values()
    if isinstance(value, str) or not isinstance(value, Iterable):
        return
    for part in value:
        yield from _histories(part)
