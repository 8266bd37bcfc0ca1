"""All paths of a run see the same pixels of a photo that is stored turned."""

from __future__ import annotations

import csv
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.data.test_rendering import stored
from tests.support.encoders import exif, png_of
from tests.support.photos import make_photos
from tests.support.runs import TINY, assert_same_arrays, train, weights
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.run.embed import embed
from trainer.run.export import export
from trainer.run.use import evaluate, predict

pytestmark = pytest.mark.slow

RUN = {
    **TINY,
    "stage": "feature_extract",
    "resize": "crop",
    "background": "white",
}
SAME = ("test_loss", "test_accuracy", "test_confusion", "train_examples")


def _store(image: pathlib.Path, number: int) -> None:
    """Replaces a JPEG by a PNG of another shape, stored turned."""
    pixels = np.asarray(Image.open(image))[:, :28]
    chunks = [(b"eXIf", exif(number))] if number > 1 else []
    # Its suffix stays, because the content decides.
    image.write_bytes(png_of(stored(pixels, number), chunks=chunks))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    """Photos that are stored upright or turned, and a run on each."""
    folder = tmp_path_factory.mktemp("renderings")
    for name in ("upright", "turned"):
        make_photos(folder / name, train=4, test=3)
        for place, image in enumerate(sorted(folder.glob(f"{name}/*/*/*"))):
            _store(image, 1 if name == "upright" else place % 8 + 1)
    (folder / "eight").mkdir()
    one = np.asarray(Image.open(folder / "upright/test/sushi/000.jpg"))
    for number in range(1, 9):
        (folder / f"eight/{number}.jpg").write_bytes(
            png_of(stored(one, number), chunks=[(b"eXIf", exif(number))])
        )
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_backbone(patch)
        for name, how in (("upright", "ignore"), ("turned", "apply")):
            train(str(folder / name), folder / f"run-{name}", exif=how, **RUN)
        yield folder


def _result(root: pathlib.Path, name: str) -> dict[str, Any]:
    return json.loads((root / f"run-{name}/result.json").read_text())


def test_training_and_evaluation_see_upright_photos(
    root: pathlib.Path,
) -> None:
    assert_same_arrays(
        *(
            weights(root / f"run-{n}", RUN["stage"])
            for n in ("upright", "turned")
        )
    )
    one, two = _result(root, "upright"), _result(root, "turned")
    assert {k: one.get(k) for k in SAME} == {k: two.get(k) for k in SAME}


@pytest.mark.parametrize("cache", ["off", "ram"])
def test_evaluate_gives_the_result(root: pathlib.Path, cache: str) -> None:
    workdir = root / "run-turned"
    config = Config(stage="evaluate", workdir=str(workdir), cache=cache)
    evaluate(config, frozenset({"stage", "workdir", "cache"}))
    found = json.loads((workdir / "evaluation.json").read_text())
    expected = _result(root, "upright")
    assert found["test_accuracy"] == expected["test_accuracy"]
    assert found["test_loss"] == pytest.approx(expected["test_loss"], abs=1e-6)


def _rows(root: pathlib.Path, inputs: str, run: str) -> list[list[str]]:
    output = root / "predictions.csv"
    config = Config(
        stage="predict",
        workdir=str(root / f"run-{run}"),
        inputs=str(root / inputs),
        output=str(output),
    )
    predict(config, frozenset({"stage", "workdir", "inputs", "output"}))
    with open(output, encoding="utf-8", newline="") as stream:
        return [row[1:] for row in csv.reader(stream)][1:]


def test_predict_sees_one_photo_in_eight_encodings(
    root: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = _rows(root, "eight", "turned")
    assert len(rows) == 8
    assert "EXIF" not in capsys.readouterr().err
    (upright,) = _rows(root, "upright/test/sushi/000.jpg", "upright")
    for row in rows:
        assert row[0::2] == upright[0::2]
        # The last printed digit may depend on the place in the batch.
        assert [float(x) for x in row[1::2]] == pytest.approx(
            [float(x) for x in upright[1::2]], abs=1.5e-6
        )
    # The run that ignores the tag sees several images, and says so.
    others = _rows(root, "eight", "upright")
    assert len({tuple(row) for row in others}) > 1
    assert "EXIF orientation is not applied" in capsys.readouterr().err


def test_embed_sees_one_photo_in_eight_encodings(root: pathlib.Path) -> None:
    output = root / "features.npz"
    config = Config(
        stage="embed",
        workdir=str(root / "run-turned"),
        inputs=str(root / "eight"),
        output=str(output),
    )
    embed(config, frozenset({"stage", "workdir", "inputs", "output"}))
    with np.load(output) as found:
        features = found["features"]
    np.testing.assert_array_equal(features, features[:1].repeat(8, axis=0))


def test_an_export_sees_one_photo_in_eight_encodings(
    root: pathlib.Path,
) -> None:
    config = Config(
        stage="export",
        workdir=str(root / "run-turned"),
        output=str(root / "export"),
        export_formats="saved_model",
    )
    given = {"stage", "workdir", "output", "export_formats"}
    export(config, frozenset(given))
    record = json.loads((root / "export/export.json").read_text())
    assert record["exif"] == "apply"
    assert record["resize"] == "crop"
    assert record["background"] == "white"
    loaded = tf.saved_model.load(str(root / "export/saved_model")).signatures
    encoded = [path.read_bytes() for path in sorted((root / "eight").iterdir())]
    found = loaded["serving_bytes"](tf.constant(encoded))["probabilities"]
    np.testing.assert_array_equal(found, found[:1].numpy().repeat(8, axis=0))
    # The signature of pixels crops too.
    pixels = tf.io.decode_image(encoded[0], channels=3)[None]
    from_pixels = loaded["serving_default"](tf.cast(pixels, tf.float32))
    np.testing.assert_allclose(
        from_pixels["probabilities"], found[:1], atol=1e-6
    )
    rows = _rows(root, "upright/test/sushi/000.jpg", "upright")
    top = float(np.max(found))
    assert float(rows[0][1]) == pytest.approx(top, abs=2e-6)
