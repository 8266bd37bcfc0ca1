"""The cut between trunk and tail, and the cost of each part."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import keras

from trainer.model.classifier import HEAD, Classifier
from trainer.model.freeze import FreezePlan
from trainer.model.trunk.graph import Graph, graph_of

POOL = "pool"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Cut:
    """The assignment of a classifier's layers to trunk and tail.

    Attributes:
      graph: the graph of the whole classifier, pooling and head included.
      layers: the backbone's layers by name.
      tail: names of the layers in the tail.
      names: names of the trunk's layers whose outputs the tail takes, in
        order; empty if there is no trunk.
    """

    graph: Graph
    layers: Mapping[str, keras.layers.Layer]
    tail: frozenset[str]
    names: tuple[str, ...]

    @property
    def frozen(self) -> list[str]:
        """Names of the layers in the trunk, in order."""
        return [name for name in self.graph.parents if name not in self.tail]

    def costs(self) -> tuple[int, int]:
        """Returns multiplications per sample, for the trunk and for the tail.

        Counts kernels only, which are nearly all of them. The head is excluded.
        """
        costs = {name: _cost(layer) for name, layer in self.layers.items()}
        tail = sum(costs.get(name, 0) for name in self.tail)
        return sum(costs.values()) - tail, tail


def _cost(layer: keras.layers.Layer) -> int:
    """Returns the multiplications of a layer's kernels for one sample."""
    kernels = [v for v in layer.weights if len(v.shape) > 1]
    if not kernels:
        return 0
    # Channels come last: each position applies the whole kernel once.
    positions = math.prod(layer.output.shape[1:-1])
    return positions * sum(math.prod(kernel.shape) for kernel in kernels)


def find_cut(
    classifier: Classifier,
    plans: Sequence[FreezePlan],
    *,
    cut_trunk: bool = True,
) -> Cut | None:
    """Cuts a classifier at the last place that the freeze plans allow.

    Args:
      classifier: the classifier to cut.
      plans: the freeze plans; the trunk excludes all variables that any of them
        trains.
      cut_trunk: False makes the whole classifier the tail.

    Returns:
      The cut, or None if the backbone's graph cannot be read because a layer is
      called twice or has several outputs.
    """
    backbone = classifier.backbone
    graph = graph_of(backbone)
    if graph is None:
        return None
    layers = {layer.name: layer for layer in backbone.layers}
    parents = {**graph.parents, POOL: (graph.output,), HEAD: (POOL,)}
    whole = dataclasses.replace(graph, parents=parents, output=HEAD)
    trained = {
        id(classifier.variables[key])
        for plan in plans
        for key in plan.trainable
    }
    tail = whole.influenced_by(
        [HEAD]
        + [
            name
            for name, layer in layers.items()
            if any(id(variable) in trained for variable in layer.variables)
        ]
    )
    names = tuple(
        name
        for name, consumers in whole.consumers().items()
        if name not in tail and any(c in tail for c in consumers)
    )
    cut = Cut(graph=whole, layers=layers, tail=tail, names=names)
    if not cut_trunk or not any(
        hasattr(layers.get(name), "kernel") for name in cut.frozen
    ):
        # Do not cut: a trunk without a kernel saves nothing, and a BatchNorm
        # cannot be folded across a cut.
        return dataclasses.replace(cut, tail=frozenset(parents), names=())
    return cut
