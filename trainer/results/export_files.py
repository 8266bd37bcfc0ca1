"""The files of an export, and those of an earlier one in the same folder."""

from __future__ import annotations

import fnmatch
import json
import os
from typing import Any

from trainer.config.fields import KERAS_FORMAT, ONNX, SAVED_MODEL, TFLITE
from trainer.storage import files, folders

KERAS_FILE, RECORD = "model.keras", "export.json"
# The file or folder of each format.
MODELS = {
    SAVED_MODEL: "saved_model",
    KERAS_FORMAT: KERAS_FILE,
    TFLITE: "model.tflite",
    ONNX: "model.onnx",
}
_FOLDER = MODELS[SAVED_MODEL]
# The files of an export whose export.json has no list of files.
_FILES = (
    f"{_FOLDER}/saved_model.pb",
    f"{_FOLDER}/fingerprint.pb",
    f"{_FOLDER}/variables/variables.index",
    f"{_FOLDER}/variables/variables.data-*",
    KERAS_FILE,
    RECORD,
)
_FOLDERS = (
    f"{_FOLDER}/",
    f"{_FOLDER}/assets/",
    f"{_FOLDER}/variables/",
)


def own_files(folder: str) -> folders.Own:
    """Returns a predicate that is true for names of files of an export.

    It is false for every name if the folder has neither an export.json nor the
    marker of an interrupted upload.
    """
    record = _read_record(folder)
    if record is not None:
        listed = record.get("files")
    elif folders.is_unfinished(folder):
        listed = folders.unfinished_files(folder)
    else:
        return lambda name: False
    if isinstance(listed, list):
        own = {*map(str, listed), *_FOLDERS}
        return lambda name: name in own
    return lambda name: any(
        fnmatch.fnmatchcase(name, pattern) for pattern in _FILES + _FOLDERS
    )


def _read_record(folder: str) -> dict[str, Any] | None:
    """Returns the content of export.json; None if missing or invalid."""
    path = os.path.join(folder, RECORD)
    if not files.is_file(path):
        return None
    try:
        record = json.loads(files.read_text(path))
    except (ValueError, RecursionError):
        return None
    is_ours = isinstance(record, dict) and {"class_names", "image_size"} <= set(
        record
    )
    return record if is_ours else None
