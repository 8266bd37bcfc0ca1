"""Features of a run and of a plain backbone, compared with Keras."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.support.command import Said, arguments, command
from tests.support.photos import make_photos
from tests.support.runs import TINY, train
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.model.pixels import preprocess
from trainer.run.trained import open_trained

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_backbone(patch)
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Photos of 32 px, so that nothing is resized."""
    return make_photos(
        tmp_path_factory.mktemp("photos"), train=4, test=2, px=32
    )


@pytest.fixture(scope="module")
def trained(photos: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run whose last convolution is trained too."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    train(photos, workdir, **TINY, stage="finetune", unfreeze="last:3")
    return str(workdir)


def embed(**flags: Any) -> Said:
    return command(*arguments({"stage": "embed", **flags}))


def loaded(path: pathlib.Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def expected(workdir: str, paths: list[str]) -> np.ndarray:
    """Returns the inputs of the Dense layer as Keras computes them."""
    run = open_trained(
        Config(stage="predict", workdir=workdir, inputs="x"),
        frozenset({"workdir"}),
    )
    classifier = run.classifier
    model = keras.Model(classifier.model.inputs, classifier.head.input)
    images = np.stack([np.asarray(Image.open(path)) for path in paths])
    pixels = preprocess(tf.constant(images, tf.float32), classifier.pixels)
    return model(pixels, training=False).numpy()


def assert_close(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape
    assert np.abs(wanted).max() > 0.01
    np.testing.assert_allclose(
        found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max()
    )


@pytest.mark.parametrize("xla", ["auto", "on"])
def test_features_of_a_run_are_the_inputs_of_its_head(
    photos: str, trained: str, tmp_path: pathlib.Path, xla: str
) -> None:
    """JPEG decoders may differ by a level, so PNG files are compared."""
    paths = []
    for number, path in enumerate(sorted(pathlib.Path(photos).rglob("*.jpg"))):
        paths.append(str(tmp_path / f"{number:02}.png"))
        Image.open(path).save(paths[-1])
    said = embed(
        workdir=trained,
        inputs=tmp_path / "*.png",
        output=tmp_path / "x.npz",
        xla=xla,
        batch_size=5,
    )
    assert said.status == 0, said.err
    assert "18 images, 16 features each, by finetune at step" in said.out
    found = loaded(tmp_path / "x.npz")
    assert found["paths"].tolist() == paths
    assert_close(found["features"], expected(trained, paths))


def test_features_of_a_data_set_have_its_labels(
    photos: str, trained: str, tmp_path: pathlib.Path
) -> None:
    said = embed(workdir=trained, dataset=photos, output=tmp_path / "all.npz")
    assert said.status == 0, said.err
    found = loaded(tmp_path / "all.npz")
    assert found["class_names"].tolist() == ["apple pie", "sushi", "борщ"]
    assert found["splits"].tolist() == ["train"] * 12 + ["test"] * 6
    names = found["class_names"][found["labels"]]
    for name, sample_id in zip(names, found["ids"], strict=True):
        assert sample_id.startswith(f"{name}/")
    # The same features as of the files.
    paths = [
        f"{photos}/{split}/{sample_id}"
        for split, sample_id in zip(found["splits"], found["ids"], strict=True)
    ]
    said = embed(workdir=trained, inputs=photos, output=tmp_path / "f.npz")
    assert said.status == 0, said.err
    files = loaded(tmp_path / "f.npz")
    rows = [files["paths"].tolist().index(path) for path in paths]
    assert_close(files["features"][rows], found["features"])


def test_features_of_a_plain_backbone(
    photos: str, tmp_path: pathlib.Path
) -> None:
    flags = {
        "backbone": "MobileNetV2",
        "weights": "none",
        "image_size": 32,
    }
    for engine in ("graph", "step"):
        said = embed(
            **flags,
            dataset=photos,
            output=tmp_path / f"{engine}.npz",
            trunk_engine=engine,
        )
        assert said.status == 0, said.err
        assert "18 images, 16 features each, by MobileNetV2" in said.out
    found = loaded(tmp_path / "graph.npz")["features"]
    assert_close(found, loaded(tmp_path / "step.npz")["features"])


def test_bad_files_are_left_out_and_named(
    photos: str, trained: str, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    good = next(pathlib.Path(photos).rglob("*.jpg")).read_bytes()
    (folder / "a\tb.jpg").write_bytes(good)
    (folder / "bad.jpg").write_bytes(b"")
    (folder / "z.jpg").write_bytes(good)
    said = embed(workdir=trained, inputs=folder, output=tmp_path / "shown")
    assert said.status == 0
    assert "2 images, 16 features each" in said.out
    assert "1 could not be read" in said.out
    assert f"warning: {folder}/bad.jpg: an empty file; left out" in said.err
    found = loaded(tmp_path / "shown/features.npz")
    assert found["paths"].tolist() == [f"{folder}/a\tb.jpg", f"{folder}/z.jpg"]
    assert found["bad_names"].tolist() == [f"{folder}/bad.jpg"]
    np.testing.assert_array_equal(*found["features"])
    lines = (tmp_path / "shown/metadata.tsv").read_text().splitlines()
    assert lines == [f"{folder}/a\\tb.jpg", f"{folder}/z.jpg"]
    image = Image.open(tmp_path / "shown/sprite.png")
    assert image.size == (128, 64)


def test_no_readable_file_is_an_error(
    trained: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"")
    said = embed(
        workdir=trained,
        inputs=tmp_path / "bad.jpg",
        output=tmp_path / "x.npz",
    )
    assert said.status == 1
    assert "the file could not be read: " in said.err
    assert not (tmp_path / "x.npz").exists()
