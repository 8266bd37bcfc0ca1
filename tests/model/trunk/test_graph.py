"""The graph of a functional model, read from its configuration."""

from __future__ import annotations

from collections.abc import Callable

import keras
import pytest

from trainer.model.trunk.graph import Graph, graph_of

# a -> b -> d -> e, and a -> c -> d.
DIAMOND = Graph(
    parents={
        "a": (),
        "b": ("a",),
        "c": ("a",),
        "d": ("b", "c"),
        "e": ("d",),
    },
    output="e",
)


@pytest.fixture(autouse=True)
def fresh_names() -> None:
    keras.utils.clear_session()


def test_parents_are_in_call_order() -> None:
    inputs = keras.Input((4, 4, 3), name="in")
    left = keras.layers.Conv2D(2, 1, name="left")(inputs)
    right = keras.layers.Conv2D(2, 1, name="right")(inputs)
    x = keras.layers.Concatenate(name="both")([right, left])
    x = keras.layers.Multiply(name="gate")([x, keras.ops.sigmoid(x)])
    graph = graph_of(keras.Model(inputs, x))
    assert graph is not None
    assert graph.output == "gate"
    assert graph.parents["in"] == ()
    assert graph.parents["both"] == ("right", "left")
    (sigmoid,) = graph.parents["gate"][1:]
    assert graph.parents["gate"][0] == "both"
    assert graph.parents[sigmoid] == ("both",)


def test_consumers_invert_parents() -> None:
    assert DIAMOND.consumers() == {
        "a": ("b", "c"),
        "b": ("d",),
        "c": ("d",),
        "d": ("e",),
        "e": (),
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ""),
        (["e"], "e"),
        (["c"], "cde"),
        (["b", "c"], "bcde"),
        (["a"], "abcde"),
    ],
)
def test_influence_goes_down_every_branch(
    names: list[str], expected: str
) -> None:
    assert DIAMOND.influenced_by(names) == set(expected)


def _called_twice() -> keras.Model:
    inputs = keras.Input((4, 4, 3))
    layer = keras.layers.Conv2D(3, 1, name="shared")
    return keras.Model(inputs, layer(layer(inputs)))


class _TwoOutputs(keras.layers.Layer):
    def call(self, x):
        return x, -x


def _second_output() -> keras.Model:
    inputs = keras.Input((4, 4, 3))
    return keras.Model(inputs, _TwoOutputs()(inputs)[1])


@pytest.mark.parametrize("make", [_called_twice, _second_output])
def test_ambiguous_graphs_are_not_read(
    make: Callable[[], keras.Model],
) -> None:
    if make is _second_output:
        # The unreadable output is not a parent itself, so add a layer after it.
        model = make()
        x = keras.layers.ReLU()(model.outputs[0])
        model = keras.Model(model.inputs, x)
    else:
        model = make()
    assert graph_of(model) is None
