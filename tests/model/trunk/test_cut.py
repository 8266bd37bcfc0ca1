"""The cut of a classifier by its freeze plans, and the cost of both parts."""

from __future__ import annotations

import keras
import pytest

from tests.support.classifiers import live_classifier
from trainer.model.classifier import Classifier, make_classifier
from trainer.model.freeze import FreezePlan, freeze_plan
from trainer.model.trunk.cut import find_cut


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    """8 px -> 3x3 conv to 4 -> depthwise -> 1x1 conv to 6, on 4 x 4."""
    keras.utils.clear_session()
    inputs = keras.Input((8, 8, 3), name="in")
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="a")(inputs)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", name="b")(x)
    x = keras.layers.Conv2D(6, 1, name="c")(x)
    return make_classifier(
        keras.Model(inputs, x), pixels="0..255", num_classes=2, seed=0
    )


def plans(classifier: Classifier, *rules: str) -> list[FreezePlan]:
    return [freeze_plan(classifier, rule) for rule in rules]


# 4 x 4 positions, each of 3*3*3*4, 3*3*4 and 4*6 multiplications.
A, B, C = 16 * 108, 16 * 36, 16 * 24


@pytest.mark.parametrize(
    ("rules", "names", "trunk", "tail"),
    [
        (["none"], ("pool",), A + B + C, 0),
        (["last:1"], ("b",), A + B, C),
        (["last:2"], ("bn",), A, B + C),
        (["none", "last:1"], ("b",), A + B, C),
        (["last:1", "none"], ("b",), A + B, C),
        (["last:1", "last:2"], ("bn",), A, B + C),
        (["all"], (), 0, A + B + C),
        (["none", "all"], (), 0, A + B + C),
    ],
    ids=str,
)
def test_the_cut_and_its_costs(
    classifier: Classifier,
    rules: list[str],
    names: tuple[str, ...],
    trunk: int,
    tail: int,
) -> None:
    cut = find_cut(classifier, plans(classifier, *rules))
    assert cut is not None
    assert cut.names == names
    assert cut.costs() == (trunk, tail)
    assert set(cut.frozen).isdisjoint(cut.tail)


def test_without_a_trunk(classifier: Classifier) -> None:
    cut = find_cut(classifier, plans(classifier, "none"), cut_trunk=False)
    assert cut is not None
    assert (cut.names, cut.frozen) == ((), [])


@pytest.mark.slow
def test_efficientnet_costs_match_the_published_ones() -> None:
    """0.39 G multiplications at 224 px (Tan and Le, 2019, table 2)."""
    classifier = live_classifier("EfficientNetB0", num_classes=3)
    cut = find_cut(classifier, plans(classifier, "none"))
    assert cut is not None
    # At 32 px, a 49th of the positions; squeeze and excitation aside.
    assert cut.costs()[0] * 49 == pytest.approx(0.39e9, rel=0.15)
