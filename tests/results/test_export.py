"""An export serves row by row, and replaces nothing but an export."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import TrainerError
from trainer.model.classifier import Classifier, make_classifier
from trainer.results import export
from trainer.results.export import write_export
from trainer.storage import files

NAMES = ("apple pie", "two\nlines", "борщ", "")
PX = 8
RNG = np.random.default_rng(0)


def _png(*size: int) -> bytes:
    pixels = RNG.integers(0, 256, (*size, 3), np.uint8)
    return tf.io.encode_png(pixels).numpy()


PNGS = [_png(5, 9), _png(PX, PX), _png(40, 30), _png(1, 1), _png(7, 7)]
IMAGES = RNG.uniform(0, 255, (5, 12, 10, 3)).astype(np.float32)
REQUESTS: dict[str, tuple[str, list[Any]]] = {
    "serving_default": ("images", [image.tolist() for image in IMAGES]),
    "serving_bytes": ("images", PNGS),
    "class_names": ("indices", [3, 0, 2, 1, 0]),
}
# Signatures by name; what TensorFlow calls them is private.
Served = dict[str, Any]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    inputs = keras.Input((PX, PX, 3))
    outputs = keras.layers.Conv2D(4, 3, activation="tanh")(inputs)
    model = keras.Model(inputs, outputs)
    made = make_classifier(
        model, pixels="torch", num_classes=len(NAMES), seed=0
    )
    # So that the classes are told apart.
    made.head.kernel.assign(made.head.kernel * 20)
    return made


@pytest.fixture(scope="module")
def exported(
    classifier: Classifier, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("exports") / "export"
    write_export(str(folder), classifier, NAMES, PNGS, {})
    return folder


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


def test_there_are_three_signatures(served: Served) -> None:
    assert set(served) == set(REQUESTS)


@pytest.mark.parametrize("name", REQUESTS)
def test_inputs_and_outputs_have_the_batch_first(
    served: Served, name: str
) -> None:
    """Serving takes no signature without inputs."""
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
    """As Serving answers {"instances": [...]} with {"predictions": [...]}."""
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
    """As Serving's batching: rows of two requests, taken apart again.

    One request has as many rows as there are classes: an output without a
    batch dimension goes unnoticed there.
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
def test_a_place_without_a_class_is_an_error(
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
    assert len(names) == 7


@pytest.fixture
def folder(exported: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of an export, in a folder of its own."""
    return shutil.copytree(exported, tmp_path / "runs/export")


def content(folder: pathlib.Path) -> dict[str, bytes]:
    """What is in and beside an export."""
    above = folder.parent
    found = [path for path in above.rglob("*") if path.is_file()]
    return {p.relative_to(above).as_posix(): p.read_bytes() for p in found}


def renew(folder: pathlib.Path, classifier: Classifier) -> None:
    """Exports again; the record differs."""
    write_export(str(folder), classifier, NAMES, PNGS[:1], {"step": 7})
    record = json.loads((folder / "export.json").read_text("utf-8"))
    assert record["step"] == 7


def test_an_export_is_replaced(
    folder: pathlib.Path, classifier: Classifier
) -> None:
    renew(folder, classifier)
    renew(folder, classifier)
    assert [path.name for path in folder.parent.iterdir()] == ["export"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("notes.txt", "notes.txt"),
        (".hidden", ".hidden"),
        ("saved_model/assets.extra/notes.txt", "saved_model/assets.extra/"),
        ("saved_model/assets/vocabulary.txt", None),
        ("saved_model/variables/variables.data-00001-of-00002", None),
        ("saved_model/keras_metadata.pb", None),
        ("model.keras.orig", None),
        ("tflite/model.tflite", "tflite/"),
    ],
)
def test_an_added_file_is_kept(
    folder: pathlib.Path, classifier: Classifier, name: str, said: str | None
) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    before = content(folder)
    with pytest.raises(TrainerError) as error:
        renew(folder, classifier)
    assert str(error.value) == (
        f"--output={str(folder)!r}: holds other things than an export, such as"
        f" {said or name!r}; move them elsewhere, or give a new folder"
    )
    assert content(folder) == before
    # The advice can be followed.
    path.rename(folder.parent / "moved")
    if path.parent.name in ("assets.extra", "tflite"):
        path.parent.rmdir()
    renew(folder, classifier)


def _make_old(folder: pathlib.Path) -> None:
    """What earlier versions wrote: no list of files, no asset."""
    record = json.loads((folder / "export.json").read_text("utf-8"))
    del record["files"]
    (folder / "export.json").write_text(json.dumps(record))
    (folder / "saved_model/assets/class_names.json").unlink()


def test_an_export_of_an_earlier_version_is_replaced(
    folder: pathlib.Path, classifier: Classifier
) -> None:
    _make_old(folder)
    renew(folder, classifier)


@pytest.mark.parametrize(
    "name", ["notes.txt", "saved_model/assets/vocabulary.txt"]
)
def test_in_an_export_of_an_earlier_version_added_files_are_kept(
    folder: pathlib.Path, classifier: Classifier, name: str
) -> None:
    _make_old(folder)
    (folder / name).write_text("mine")
    with pytest.raises(TrainerError, match=f"such as '{name}'"):
        renew(folder, classifier)
    assert (folder / name).read_text() == "mine"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{}", id="of another program"),
        pytest.param('["class_names", "image_size"]', id="no object"),
        pytest.param('{"class_names": [', id="cut short"),
        pytest.param("[" * 100_000, id="nested too deeply"),
        pytest.param("\xff", id="no UTF-8"),
        pytest.param(None, id="missing"),
    ],
)
def test_without_a_record_nothing_is_an_exports(
    folder: pathlib.Path, classifier: Classifier, text: str | None
) -> None:
    record = folder / "export.json"
    record.unlink()
    if text is not None:
        record.write_text(text, "latin-1")
    before = content(folder)
    with pytest.raises(TrainerError, match="holds other things than an exp"):
        renew(folder, classifier)
    assert content(folder) == before


def test_a_file_is_no_folder(
    tmp_path: pathlib.Path, classifier: Classifier
) -> None:
    path = tmp_path / "export"
    path.write_text("mine")
    with pytest.raises(TrainerError) as error:
        renew(path, classifier)
    assert str(error.value) == (
        f"--output={str(path)!r}: is not a folder; give a new folder"
    )
    assert path.read_text() == "mine"


def test_a_link_to_a_folder_is_written_through(
    folder: pathlib.Path, tmp_path: pathlib.Path, classifier: Classifier
) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    renew(link, classifier)
    assert link.is_symlink()
    assert [path.name for path in folder.parent.iterdir()] == ["export"]


def _raise(error: Exception) -> Callable[..., None]:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("where", "error"),
    [
        pytest.param(
            (tf.saved_model, "save"),
            tf.errors.ResourceExhaustedError(
                None, None, "/x/.trainer-1-2/new/pb; No space left on device"
            ),
            id="saved_model",
        ),
        pytest.param(
            (keras.Model, "save"),
            OSError(28, "No space left on device", "/x"),
            id="keras",
        ),
        pytest.param(
            (files, "write_text"),
            OSError(28, "No space left on device", "/x"),
            id="record",
        ),
    ],
)
def test_what_cannot_be_written_leaves_the_old_export(
    folder: pathlib.Path,
    classifier: Classifier,
    monkeypatch: pytest.MonkeyPatch,
    where: tuple[object, str],
    error: Exception,
) -> None:
    before = content(folder)
    monkeypatch.setattr(*where, _raise(error))
    with pytest.raises(TrainerError) as said:
        renew(folder, classifier)
    assert str(said.value) == (
        f"--output={str(folder)!r}: cannot be written to (No space left on"
        " device); give a folder that can"
    )
    assert content(folder) == before


def test_what_differs_leaves_the_old_export(
    folder: pathlib.Path,
    classifier: Classifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = content(folder)
    monkeypatch.setattr(export, "MAX_DIFFERENCE", -1.0)
    with pytest.raises(TrainerError, match="nothing was exported"):
        renew(folder, classifier)
    assert content(folder) == before
