"""Fixtures for tests of malicious files."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import keras
import pytest


@pytest.fixture(scope="module")
def tiny() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    return keras.Model(inputs, keras.layers.BatchNormalization(name="norm")(x))


@pytest.fixture
def in_seconds() -> Iterator[None]:
    """Fails a test that hangs, for example because it opens a pipe."""

    def fail(*_: object) -> None:
        raise TimeoutError("took 20 seconds")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
