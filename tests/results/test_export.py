"""Signatures of an export, as TensorFlow Serving calls them."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.results.conftest import NAMES, PNGS, PX
from trainer.data.rendering import PLAIN, fit
from trainer.errors import TrainerError
from trainer.model.classifier import Classifier
from trainer.results import export
from trainer.results.servable import Served as Content

RNG = np.random.default_rng(1)
IMAGES = RNG.uniform(0, 255, (5, 12, 10, 3)).astype(np.float32)
REQUESTS: dict[str, tuple[str, list[Any]]] = {
    "serving_default": ("images", [image.tolist() for image in IMAGES]),
    "serving_bytes": ("images", PNGS),
    "class_names": ("indices", [3, 0, 2, 1, 0]),
}
# Signatures by name. TensorFlow's type for them is private.
Served = dict[str, Any]


@pytest.fixture(scope="module")
def served(exported: pathlib.Path) -> Served:
    return tf.saved_model.load(str(exported / "saved_model")).signatures


def call(served: Served, name: str, rows: list[Any]) -> dict[str, np.ndarray]:
    signature = served[name]
    key, _ = REQUESTS[name]
    spec = signature.structured_input_signature[1][key]
    answer = signature(**{key: tf.constant(rows, spec.dtype)})
    return {output: tensor.numpy() for output, tensor in answer.items()}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for output, found in one.items():
        if found.dtype == object:
            np.testing.assert_array_equal(found, other[output])
        else:
            np.testing.assert_allclose(found, other[output], atol=1e-6)


def test_pixels_of_any_size_are_resized_like_training_images(
    served: Served, classifier: Classifier
) -> None:
    """Resizing is bilinear and rounded; other methods change probabilities."""

    def by(images: tf.Tensor) -> np.ndarray:
        return classifier.probabilities(images).numpy()

    # Pixels are integers.
    images = np.rint(IMAGES)
    expected = by(tf.stack([fit(image, PX) for image in images]))
    answer = call(served, "serving_default", list(images))
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
    for method in ("nearest", "bilinear", "area"):
        other = by(tf.image.resize(images, (PX, PX), method))
        assert np.abs(other - expected).max() > 1e-4


def test_a_loaded_model_that_gives_nan_is_an_error(
    exported: pathlib.Path,
    classifier: Classifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def loaded(images: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        return {
            "probabilities": tf.fill((len(PNGS), len(NAMES)), np.nan),
            "label": tf.fill((len(PNGS),), NAMES[0]),
        }

    monkeypatch.setattr(keras.models, "load_model", lambda path: loaded)
    own = Content(classifier, NAMES, flip=False, rendering=PLAIN)
    with pytest.raises(
        TrainerError,
        match=r"^x: model.keras does not give .* a probability nan; allowed",
    ):
        export._compare(str(exported), "x", own, PNGS)


@pytest.mark.parametrize(
    "flip", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_an_export_has_calibrated_probabilities(
    classifier: Classifier, tmp_path: pathlib.Path, flip: bool
) -> None:
    """They are the powers of the probabilities, with the same sum."""
    folder = tmp_path / "export"
    export.write_export(
        str(folder), classifier, NAMES, PNGS, {}, flip=flip, temperature=2.0
    )
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    served = loaded.signatures["serving_bytes"](tf.constant(PNGS))
    images = tf.zeros((2, PX, PX, 3))
    keras_model = keras.models.load_model(folder / "model.keras")
    for answer in (served, keras_model(images, training=False)):
        plain = answer["probabilities"].numpy()
        powers = plain**0.5
        np.testing.assert_allclose(
            answer["calibrated_probabilities"].numpy(),
            powers / powers.sum(axis=1, keepdims=True),
            atol=1e-6,
        )


def test_there_are_three_signatures(served: Served) -> None:
    assert set(served) == set(REQUESTS)


@pytest.mark.parametrize("name", REQUESTS)
def test_inputs_and_outputs_have_the_batch_first(
    served: Served, name: str
) -> None:
    """Serving rejects a signature without inputs."""
    inputs = served[name].structured_input_signature[1]
    outputs = served[name].structured_outputs
    assert inputs
    assert outputs
    for spec in (*inputs.values(), *outputs.values()):
        assert spec.shape[0] is None


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("rows", [1, 3, 5])
def test_a_request_is_answered_row_by_row(
    served: Served, name: str, rows: int
) -> None:
    """Serving answers {"instances": [...]} with {"predictions": [...]}."""
    instances = REQUESTS[name][1][:rows]
    answer = call(served, name, instances)
    assert {len(found) for found in answer.values()} == {rows}
    for row, instance in enumerate(instances):
        alone = call(served, name, [instance])
        same(
            {key: found[row : row + 1] for key, found in answer.items()}, alone
        )


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("size", [2, len(NAMES)])
def test_requests_may_be_batched(served: Served, name: str, size: int) -> None:
    """Serving joins the rows of two requests and splits the answer.

    If there were as many rows as classes, the test would miss an output without
    a batch dimension.
    """
    rows = REQUESTS[name][1]
    first, second = rows[:size], rows[size:]
    together = call(served, name, [*first, *second])
    same({k: v[:size] for k, v in together.items()}, call(served, name, first))
    same({k: v[size:] for k, v in together.items()}, call(served, name, second))


def test_class_names_are_in_a_signature_and_an_asset(
    exported: pathlib.Path, served: Served
) -> None:
    answer = call(served, "class_names", list(range(len(NAMES))))
    assert [name.decode() for name in answer["class_names"]] == list(NAMES)
    asset = exported / "saved_model/assets/class_names.json"
    assert json.loads(asset.read_text("utf-8")) == list(NAMES)


def test_labels_are_the_most_probable_names(served: Served) -> None:
    answer = call(served, "serving_bytes", PNGS)
    places = answer["probabilities"].argmax(axis=1)
    named = call(served, "class_names", places.tolist())["class_names"]
    assert len(set(places)) > 1
    np.testing.assert_array_equal(answer["label"], named)


@pytest.mark.parametrize("place", [-1, len(NAMES)])
def test_an_index_without_a_class_is_an_error(
    served: Served, place: int
) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        call(served, "class_names", [0, place])


def test_the_record_lists_all_files(exported: pathlib.Path) -> None:
    record = json.loads((exported / "export.json").read_text("utf-8"))
    found = [p for p in exported.rglob("*") if p.is_file()]
    names = sorted(p.relative_to(exported).as_posix() for p in found)
    assert record["files"] == names
    assert "saved_model/assets/class_names.json" in names
    assert {"README.md", "labels.txt", "model_card.md"} < set(names)
    assert len(names) == 10
