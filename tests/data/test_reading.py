"""The graphs that read and render images."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tests.support.encoders import png_of
from tests.support.image_blocks import image_blocks
from trainer.data import rendering
from trainer.data.samples import WHOLE_FILE, Samples


def test_data_sets_share_the_traced_rendering(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all flags it takes 0.9 s, and a run makes a dozen data sets."""
    photo = np.random.default_rng(7).integers(0, 256, (24, 40, 3), np.uint8)
    (tmp_path / "a.png").write_bytes(png_of(photo))
    one = Samples(
        ids=("a.png",),
        labels=np.zeros(1, np.int32),
        paths=(str(tmp_path / "a.png"),),
        offsets=np.zeros(1, np.int64),
        lengths=np.full(1, WHOLE_FILE, np.int64),
    )
    traced = []
    real = rendering.render

    def noting(*args: object) -> tf.Tensor:
        traced.append(args[1:])
        return real(*args)

    monkeypatch.setattr(rendering, "render", noting)
    how = rendering.Rendering(resize="crop")
    # No other test uses this size.
    found = [
        next(
            image_blocks(
                one, np.zeros(n, np.int64), image_px=19, block=n,
                rendering=how,
            ).as_numpy_iterator()
        )
        for n in (1, 2)
    ]  # fmt: skip
    assert traced == [(19, how)]
    expected = real(tf.constant(png_of(photo)), 19, how)
    for blocks in found:
        for image in blocks:
            np.testing.assert_array_equal(image, expected)
