"""Every image of the corpus is decoded correctly or rejected."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.data.test_check import reason, samples_of
from tests.support.corpus import BAD, GOOD, PX, put
from tests.support.encoders import with_right_checksums
from trainer.data.batches import training_batches
from trainer.data.check import check_images
from trainer.data.decode import decode_image
from trainer.data.formats import what_is_wrong
from trainer.data.order import Shard, epoch_order
from trainer.data.reading import Reading
from trainer.storage import files


def test_the_corpus_is_complete() -> None:
    assert len(GOOD) >= 40
    assert len(BAD) >= 80


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_bad_image_is_rejected_with_a_reason(
    tmp_path: pathlib.Path, name: str
) -> None:
    found = reason(put(tmp_path, name))
    assert found is not None
    assert BAD[name].reason in found


def test_good_images_train_on_the_expected_pixels(
    tmp_path: pathlib.Path,
) -> None:
    samples = samples_of([put(tmp_path, name) for name in GOOD])
    result = check_images(samples, split="train")
    assert [str(bad) for bad in result.bad] == []
    found = [file.orientation for file in result.files if file]
    assert found == [good.orientation for good in GOOD.values()]
    batches = training_batches(
        samples,
        reading=Reading(image_px=PX),
        shard=Shard(global_batch=1, num_replicas=1),
        seed=0,
        start_step=0,
        total_steps=len(samples),
        augment=False,
    )
    order = epoch_order(len(samples), 0, 0).numpy()
    for row, batch in zip(order, batches.as_numpy_iterator(), strict=True):
        name = list(GOOD)[row]
        good = GOOD[name]
        off = np.abs(batch["images"][0] - good.pixels).max()
        assert off <= good.loss, name


def test_a_file_without_permission_is_a_bad_image(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path, "plain.png")
    path.chmod(0)
    if os.geteuid() == 0:  # Root may read every file.

        def refuse(path: str) -> None:
            raise PermissionError(13, os.strerror(13), path)

        monkeypatch.setattr(files, "open_regular", refuse)
    assert reason(path) == "cannot be read (Permission denied)"


def damaged(whole: bytes, seed: int, count: int) -> list[bytes]:
    """Returns copies with 1 to 4 bytes replaced, half near the start."""
    rng = np.random.default_rng(seed)
    copies = []
    for number in range(count):
        copy = bytearray(whole)
        end = len(whole) if number % 2 else min(len(whole), 80)
        for place in rng.integers(0, end, rng.integers(1, 5)):
            copy[place] = rng.integers(256)
        # With a wrong checksum, damaged data would be rejected unread.
        finish = with_right_checksums if number % 4 > 1 else bytes
        copies.append(finish(bytes(copy)))
    return copies


@pytest.mark.parametrize(
    "name",
    [
        "plain.jpg",
        "progressive.jpg",
        "cmyk.jpg",
        "plain.png",
        "interlaced.png",
        "transparent_palette.png",
        "animated.gif",
        "plain.bmp",
        "palette.bmp",
        "plain.webp",
        "lossy.webp",
        "alpha.webp",
    ],
)
def test_damaged_images_decode_only_if_the_check_accepts_them(
    name: str,
) -> None:
    whole = GOOD[name].encoded
    decode = tf.function(
        decode_image, input_signature=[tf.TensorSpec((), tf.string)]
    )
    passed = 0
    for encoded in damaged(whole, len(name), 200):
        wrong = what_is_wrong(encoded)
        if wrong and not wrong.startswith("a broken"):
            continue  # Rejected without decoding: other format, too large.
        try:
            decode(tf.constant(encoded))
            decodes = True
        except tf.errors.OpError:
            decodes = False
        assert decodes == (wrong is None), encoded
        passed += decodes
    assert passed > 0


_BOMBS = (
    "declares_JPEG.jpg",
    "declares_progressive.jpg",
    "declares_PNG.jpg",
    "declares_GIF.jpg",
    "declares_BMP.jpg",
    "declares_WebP.jpg",
    "sparse_JPEG.jpg",
    "sparse_progressive.jpg",
    "sparse_WebP.jpg",
    "late_header.png",
    "bare.webp",
    "huge.png",
    "huge_frame.gif",
    "crossed_frames.gif",
    "many_frames.gif",
    "many_scans.jpg",
    "huge_file.jpg",
    "link_to_zeros.jpg",
    "pipe.jpg",
)
_MEASURE = """
import pathlib, resource, sys, time
from tests.data.test_check import reason
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
reason(pathlib.Path(sys.argv[1]))
for path in sys.argv[2:]:
    before, began = peak(), time.perf_counter()
    assert reason(pathlib.Path(path)), path
    print(peak() - before, time.perf_counter() - began)
"""


@pytest.mark.slow
def test_decompression_bombs_are_rejected_before_decoding(
    tmp_path: pathlib.Path,
) -> None:
    names = ("plain.jpg", *_BOMBS)
    paths = [str(put(tmp_path, name)) for name in names]
    output = subprocess.run(
        [sys.executable, "-c", _MEASURE, *paths],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    lines = [line.split() for line in output.splitlines()]
    assert len(lines) == len(_BOMBS)
    for name, (kilobytes, seconds) in zip(_BOMBS, lines, strict=True):
        # Decoded, the images would take 300 MB to 1.2 GB.
        assert int(kilobytes) < 50_000, name
        assert float(seconds) < 5, name


def test_an_animated_webp_does_not_reach_its_decoder() -> None:
    """TensorFlow 2.21 corrupts its heap there, so exports must reject it."""
    encoded = BAD["animated.webp"].put
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(tf.constant(encoded))
