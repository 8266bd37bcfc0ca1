"""--tta=flip in evaluate, predict and export, compared with NumPy."""

from __future__ import annotations

import csv
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.support.runs import TINY, assert_same_arrays, train, weights
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.model.classifier import make_classifier
from trainer.results.export import keras_model, write_export
from trainer.run.export import export
from trainer.run.use import evaluate, predict

PX = 32
pytestmark = pytest.mark.slow

CLASSES = ("left", "right", "top")


def draw(split: str, label: int, number: int) -> np.ndarray:
    """Returns an image whose class its mirror image does not share."""
    rng = np.random.default_rng([len(split), label, number])
    pixels = rng.integers(0, 120, (PX, PX, 3), np.uint8)
    bright = (np.s_[:, :12], np.s_[:, 20:], np.s_[:12])[label]
    pixels[bright] += 120
    return pixels


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Lossless images of the model's size; `both` has mirrored tests, too."""
    root = tmp_path_factory.mktemp("data")
    for split, count in (("train", 6), ("test", 3)):
        for label, name in enumerate(CLASSES):
            folder = root / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = draw(split, label, i)
                Image.fromarray(pixels).save(folder / f"{i}.png")
                if split == "test":
                    mirrored = root / "both/mirrored" / name
                    mirrored.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels[:, ::-1]).save(mirrored / f"{i}.png")
    shutil.copytree(root / "photos/test", root / "both/as drawn")
    return root


@pytest.fixture(scope="module")
def workdir(photos, tmp_path_factory) -> pathlib.Path:
    """A run whose trunk runs before the step, with cached features."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    values = {**TINY, "stage": "feature_extract", "epochs": 12}
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_backbone(patch)
        train(str(photos / "photos"), folder, **values, learning_rate=0.02)
    return folder


@pytest.fixture(scope="module")
def expected(workdir, photos, tmp_path_factory) -> np.ndarray:
    """The mean of the probabilities of two plain predictions, (9, 3)."""
    out = tmp_path_factory.mktemp("csv") / "both.csv"
    both = probabilities(workdir, photos / "both", out).reshape(2, 9, 3)
    # Otherwise a flip that does nothing would pass.
    assert np.abs(both[0] - both[1]).max() > 0.01
    return (both[0] + both[1]) / 2


@pytest.fixture(scope="module")
def own(photos, tmp_path_factory) -> pathlib.Path:
    """The run of `workdir`, trained with --tta=flip."""
    folder = tmp_path_factory.mktemp("runs") / "own"
    values = {**TINY, "stage": "feature_extract", "epochs": 12, "tta": "flip"}
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_backbone(patch)
        train(str(photos / "photos"), folder, **values, learning_rate=0.02)
    return folder


def probabilities(workdir, inputs, output, **values: str) -> np.ndarray:
    """Returns what predict writes, by file and class, (files, 3)."""
    config = Config(
        stage="predict",
        workdir=str(workdir),
        inputs=str(inputs),
        output=str(output),
        **values,
    )
    given = {"stage", "workdir", "inputs", "output", *values}
    predict(config, frozenset(given))
    found = []
    with open(output, encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            of_class = {
                row[f"class_{k}"]: float(row[f"probability_{k}"])
                for k in (1, 2, 3)
            }
            found.append([of_class[name] for name in CLASSES])
    return np.array(found)


def evaluated(workdir, **values: object) -> dict:
    config = Config(stage="evaluate", workdir=str(workdir), **values)
    evaluate(config, frozenset({"stage", "workdir", *values}))
    return json.loads((workdir / "evaluation.json").read_text())


def test_predict_averages_two_predictions(workdir, photos, expected, tmp_path):
    found = probabilities(
        workdir, photos / "photos/test", tmp_path / "p.csv", tta="flip"
    )
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(
            {"trunk_engine": "litert", "batch_size": 4},
            id="litert",
        ),
        pytest.param(
            {
                "strategy": "mirrored",
                "logical_cpus": 2,
                "batch_size": 4,
                "cache": "off",
            },
            id="replicas, uncached",
        ),
        pytest.param(
            {"xla": "on", "trunk_engine": "step"},
            id="xla",
        ),
    ],
)
def test_evaluate_averages_on_every_path(workdir, expected, values):
    found = evaluated(workdir, tta="flip", **values)
    assert found["tta"] == "flip"
    assert_averages(found, expected)


def assert_averages(found: dict, expected: np.ndarray) -> None:
    """Checks that the metrics are those of the mean probabilities."""
    labels = np.repeat(np.arange(3), 3)
    own = expected[np.arange(9), labels]
    assert found["test_loss"] == pytest.approx(-np.log(own).mean(), abs=1e-5)
    assert found["test_accuracy"] == pytest.approx(
        np.mean(expected.argmax(axis=1) == labels)
    )


def test_a_flipped_evaluation_does_not_change_cached_features(
    workdir, expected, tmp_path, capsys
):
    """The cache holds both; predictions.csv stays that of the run."""
    where = {"cache": "disk", "cache_dir": str(tmp_path)}
    predictions = (workdir / "predictions.csv").read_bytes()
    flipped = evaluated(workdir, **where, tta="flip")
    assert_averages(flipped, expected)
    said = capsys.readouterr().out
    assert "not written, because the run was not tested with --tta=flip" in said
    plain = json.loads((workdir / "result.json").read_text())
    assert evaluated(workdir, **where)["test_loss"] == plain["test_loss"]
    assert evaluated(workdir, **where, tta="flip") == flipped
    assert (workdir / "predictions.csv").read_bytes() == predictions


def test_a_run_with_the_flag_is_tested_and_used_with_it(
    photos, own, workdir, expected, tmp_path, capsys
):
    """The same weights as without it, and another test of them."""
    result = json.loads((own / "result.json").read_text())
    assert_same_arrays(*(weights(w, "feature_extract") for w in (own, workdir)))
    plain = json.loads((workdir / "result.json").read_text())
    for name in ("best_validation_loss", "best_validation_accuracy"):
        assert result[name] == plain[name]
    assert (result["tta"], plain["tta"]) == ("flip", "off")
    assert_averages(result, expected)
    assert result["test_loss"] != plain["test_loss"]
    # Used as it was tested, unless the flag is given.
    predictions = (own / "predictions.csv").read_bytes()
    capsys.readouterr()
    assert evaluated(own)["test_loss"] == result["test_loss"]
    assert "predictions: " in capsys.readouterr().out
    assert (own / "predictions.csv").read_bytes() == predictions
    assert evaluated(own, tta="off")["test_loss"] == plain["test_loss"]
    assert "was not tested with --tta=off" in capsys.readouterr().out
    found = probabilities(own, photos / "photos/test", tmp_path / "p.csv")
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_every_exported_model_averages(own, photos, expected, tmp_path):
    """Exported as it was tested, because the flag is not given."""
    config = Config(stage="export", workdir=str(own), output=str(tmp_path))
    export(config, frozenset({"stage", "workdir", "output"}))
    record = json.loads((tmp_path / "export.json").read_text())
    assert record["tta"] == "flip"
    files = sorted((photos / "photos/test").glob("*/*.png"))
    images = np.stack([np.array(Image.open(f)) for f in files])
    images = images.astype(np.float32)
    loaded = tf.saved_model.load(str(tmp_path / "saved_model")).signatures
    encoded = tf.constant([f.read_bytes() for f in files])
    answers = (
        loaded["serving_default"](tf.constant(images)),
        loaded["serving_bytes"](encoded),
        keras.models.load_model(tmp_path / "model.keras")(images),
    )
    for answer in answers:
        np.testing.assert_allclose(answer["probabilities"], expected, atol=2e-6)


def test_an_export_that_does_not_flip_is_refused(tmp_path, monkeypatch):
    """The comparison uses the same option as the exported models."""
    inputs = keras.Input((8, 8, 3))
    backbone = keras.Model(inputs, keras.layers.Conv2D(4, 8)(inputs))
    classifier = make_classifier(backbone, pixels="tf", num_classes=3, seed=0)
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    png = tf.io.encode_png(pixels).numpy()
    monkeypatch.setattr(
        "trainer.results.export.keras_model",
        lambda classifier, names, **options: keras_model(classifier, names),
    )
    with pytest.raises(TrainerError, match=r"model.keras does not give"):
        write_export(
            str(tmp_path / "out"), classifier, CLASSES, [png], {}, flip=True
        )
