"""A new export replaces an earlier export and nothing else."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Callable

import keras
import pytest
import tensorflow as tf

from tests.results.conftest import NAMES, PNGS
from tests.support.params import slow
from trainer.errors import TrainerError
from trainer.model.classifier import Classifier
from trainer.results import export
from trainer.results.export import write_export
from trainer.storage import files


@pytest.fixture
def folder(exported: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of an export, in its own folder."""
    return shutil.copytree(exported, tmp_path / "runs/export")


def content(folder: pathlib.Path) -> dict[str, bytes]:
    """Returns all files of an export and of its parent folder."""
    above = folder.parent
    found = [path for path in above.rglob("*") if path.is_file()]
    return {p.relative_to(above).as_posix(): p.read_bytes() for p in found}


def renew(folder: pathlib.Path, classifier: Classifier) -> None:
    """Exports again, with another record."""
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
        ("saved_model/assets/vocabulary.txt", None),
        *slow(
            (".hidden", ".hidden"),
            ("saved_model/assets.extra/notes.txt", "saved_model/assets.extra/"),
            ("saved_model/variables/variables.data-00001-of-00002", None),
            ("tflite/model.tflite", "tflite/"),
        ),
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
        f"--output={str(folder)!r}: holds files that are not part of an"
        f" export, such as {said or name!r}; move them elsewhere, or give a new"
        " folder"
    )
    assert content(folder) == before
    # Following the message's advice works.
    path.rename(folder.parent / "moved")
    if path.parent.name in ("assets.extra", "tflite"):
        path.parent.rmdir()
    renew(folder, classifier)


def _make_old(folder: pathlib.Path) -> None:
    """Turns an export into one of an earlier version: no list, no asset."""
    record = json.loads((folder / "export.json").read_text("utf-8"))
    del record["files"]
    (folder / "export.json").write_text(json.dumps(record))
    (folder / "saved_model/assets/class_names.json").unlink()
    for name in ("README.md", "labels.txt", "model_card.md"):
        (folder / name).unlink()


@pytest.mark.slow
def test_an_export_of_an_earlier_version_is_replaced(
    folder: pathlib.Path, classifier: Classifier
) -> None:
    _make_old(folder)
    renew(folder, classifier)


@pytest.mark.parametrize(
    "name", ["notes.txt", "saved_model/assets/vocabulary.txt"]
)
def test_files_added_to_an_earlier_versions_export_are_kept(
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
        pytest.param("{}", id="another program"),
        pytest.param('["class_names", "image_size"]', id="not an object"),
        pytest.param('{"class_names": [', id="truncated"),
        pytest.param("[" * 100_000, id="nested too deeply"),
        pytest.param("\xff", id="not UTF-8"),
        pytest.param(None, id="missing"),
    ],
)
def test_without_a_valid_record_nothing_is_replaced(
    folder: pathlib.Path, classifier: Classifier, text: str | None
) -> None:
    record = folder / "export.json"
    record.unlink()
    if text is not None:
        record.write_text(text, "latin-1")
    before = content(folder)
    with pytest.raises(TrainerError, match="not part of an export"):
        renew(folder, classifier)
    assert content(folder) == before


def test_a_file_is_not_replaced(
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


@pytest.mark.slow
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
def test_a_failed_write_leaves_the_old_export(
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
        " device); give a writable folder"
    )
    assert content(folder) == before


@pytest.mark.slow
def test_other_predictions_leave_the_old_export(
    folder: pathlib.Path,
    classifier: Classifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = content(folder)
    monkeypatch.setattr(export, "MAX_DIFFERENCE", -1.0)
    with pytest.raises(TrainerError, match="nothing was exported"):
        renew(folder, classifier)
    assert content(folder) == before
