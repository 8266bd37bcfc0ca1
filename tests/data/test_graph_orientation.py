"""The graph and the eager reader find the same EXIF orientation."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tests.data.test_corpus import damaged
from tests.support.corpus import GOOD
from tests.support.orientations import HEADERS
from trainer.data.graph_orientation import orientation_in_graph
from trainer.data.headers import orientation

_FILE = tf.TensorSpec((), tf.string)
_find = tf.function(orientation_in_graph, input_signature=[_FILE])


@pytest.mark.parametrize("name", HEADERS)
def test_the_graph_reads_orientations(name: str) -> None:
    number, encoded = HEADERS[name]
    assert int(_find(tf.constant(encoded))) == number


@pytest.mark.parametrize("name", GOOD, ids=ascii)
def test_the_graph_agrees_on_whole_files(name: str) -> None:
    good = GOOD[name]
    assert int(_find(tf.constant(good.encoded))) == good.orientation


@pytest.mark.parametrize(
    "name", ["turned_6.jpg", "turned_7.jpg", "turned.png", "turned.webp"]
)
def test_the_graph_agrees_on_damaged_files(name: str) -> None:
    for encoded in damaged(GOOD[name].encoded[:600], len(name), 200):
        found = int(_find(tf.constant(encoded)))
        assert found == orientation(encoded), encoded


def test_the_reader_runs_eagerly() -> None:
    number, encoded = HEADERS["JPEG 6 Motorola"]
    assert int(orientation_in_graph(tf.constant(encoded))) == number
