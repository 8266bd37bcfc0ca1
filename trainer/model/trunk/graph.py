"""The graph of a functional model: which layer feeds which."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class Graph:
    """The layers of a functional model by name, and what stands before each.

    Attributes:
      parents: names of the layers whose outputs a layer takes, in order, for
        every layer in the model's own order; inputs have none.
      output: name of the layer whose output is the model's.
    """

    parents: Mapping[str, tuple[str, ...]]
    output: str

    def consumers(self) -> dict[str, tuple[str, ...]]:
        """Names of the layers that take a layer's output, for every layer."""
        found: dict[str, list[str]] = {name: [] for name in self.parents}
        for name, parents in self.parents.items():
            for parent in parents:
                found[parent].append(name)
        return {name: tuple(names) for name, names in found.items()}

    def influenced_by(self, names: Iterable[str]) -> frozenset[str]:
        """The named layers, and all whose output depends on one of them."""
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
      None where a layer is called more than once or has several outputs: such
      a model cannot be told apart by the names of its layers.
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
    """[layer, call, output] of every tensor in a serialised call."""
    if isinstance(value, Mapping):
        if value.get("class_name") == "__keras_tensor__":
            yield list(value["config"]["keras_history"])
            return
        value = value.values()
    if isinstance(value, str) or not isinstance(value, Iterable):
        return
    for part in value:
        yield from _histories(part)
