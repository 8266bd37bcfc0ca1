"""Checks the metadata of a prepared TFDS data set before TFDS reads it.

TFDS rebuilds the features of a data set from `features.json` or
`dataset_info.json`, and imports the module in each feature's class name. A
data set from somebody else could thus run any module on the path. Only the
full names of classes in `tfds.features` are accepted here.

TFDS also reads these files whatever they are. A named pipe would wait for a
writer, and an endless file would fill the memory.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from trainer.data.samples import printable
from trainer.errors import untrusted
from trainer.storage import files

_INFO, _FEATURES = "dataset_info.json", "features.json"
_LABELS_SUFFIX = ".labels.txt"
# The file with the default config, below the folder of the data set.
_DEFAULTS = os.path.join(".config", "metadata.json")
_MAX_BYTES = 16 << 20
_CONFIG = re.compile(r"(?!\.+$)[^/\\]*")
# The keys of a class name: the first two since TFDS 4.3, the last one before.
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type")
# The keys of a path from which TFDS would read class names.
_PATH_KEYS = ("names_file", "labels")


def check_metadata(name: str, data_dir: str | None, *, flag: str) -> None:
    """Checks the metadata files that TFDS may read for a data set.

    If `name` has no config or version, TFDS chooses one; then all that are
    prepared are checked.

    Args:
      name: `name`, `name/config` or `name:version`.
      data_dir: where TFDS keeps its data; None: its own default.
      flag: `--dataset='...'`, for errors.

    Raises:
      TrainerError: a file is not a regular file, is too large or malformed,
        or names a class that is not one of `tfds.features`.
    """
    from tensorflow_datasets.core import naming
    from tensorflow_datasets.core.utils import file_utils

    found, chosen = naming.parse_builder_name_kwargs(name)
    for root in file_utils.list_data_dirs(data_dir):
        top = os.path.join(os.fspath(root), found.name)
        _check_defaults(os.path.join(top, _DEFAULTS), flag)
        with _reading(top, flag):
            folders = list(_prepared(top, **chosen))
        for folder in folders:
            _check_folder(folder, flag)


def _check_defaults(path: str, flag: str) -> None:
    """Checks the file that names the default config, if there is one."""
    if not files.exists(path):
        return
    with _reading(path, flag):
        config = json.loads(_read(path)).get("default_config_name")
        # TFDS appends it to a path, which must stay below the data set.
        if config is not None and not _CONFIG.fullmatch(config):
            raise ValueError(f"{config!r} is not the name of a config")


def _prepared(
    top: str, config: str | None = None, version: str | None = None
) -> Iterator[str]:
    """Yields folders NAME/VERSION and NAME/CONFIG/VERSION with metadata.

    Raises:
      OSError: a folder exists but cannot be listed.
    """
    folders = [os.path.join(top, config)] if config else _subfolders(top)
    for folder in list(folders):
        folders += _subfolders(folder)
    for folder in folders:
        if version in (None, os.path.basename(folder)) and any(
            files.exists(os.path.join(folder, name))
            for name in (_INFO, _FEATURES)
        ):
            yield folder


def _subfolders(folder: str) -> list[str]:
    """Returns the paths of the folders in a folder; [] if it is missing."""
    found = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for entry in files.scan(folder):
            # A link to itself raises an error, which must not end the loop.
            with contextlib.suppress(OSError):
                if entry.is_dir():
                    found.append(entry.path)
    return found


def _check_folder(folder: str, flag: str) -> None:
    """Checks all metadata files in a folder."""
    with _reading(folder, flag):
        entries = sorted(files.scan(folder), key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.endswith((".json", _LABELS_SUFFIX)):
            with _reading(entry.path, flag):
                text = _read(entry.path)
                if entry.name == _FEATURES:
                    features = json.loads(text)
                    _check_classes(features)
                    _parse_features(features)
                elif entry.name == _INFO:
                    _check_classes(json.loads(text).get("features"))
                    _parse_info(text)


def _reading(path: str, flag: str) -> AbstractContextManager[None]:
    """Returns the context in which a file or folder is read."""
    return untrusted(
        f"{flag}: {printable(path)}",
        f"remove {printable(os.path.dirname(path))} and prepare the data set"
        " again",
    )


def _read(path: str) -> str:
    """Reads a small regular file.

    Raises:
      ValueError: it is of another type, or too large.
    """
    found = files.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("not a regular file")
    if found.st_size > _MAX_BYTES:
        raise ValueError(
            f"has {found.st_size >> 20} MiB; at most {_MAX_BYTES >> 20} are"
            " read"
        )
    return files.read_text(path)


def _check_classes(value: Any) -> None:
    """Checks every class name at any depth, including JSON inside JSON.

    Raises:
      ValueError: a name is not that of a class in `tfds.features`.
    """
    if isinstance(value, list):
        for item in value:
            _check_classes(item)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key in _CLASS_KEYS and isinstance(item, str):
            if item not in _allowed():
                raise ValueError(f"{item!r} is not a class of tfds.features")
        elif key in ("json", "content") and isinstance(item, str):
            _check_classes(json.loads(item))
        elif key in _PATH_KEYS and isinstance(item, str):
            raise ValueError(f"{key} names another file")
        else:
            _check_classes(item)


@functools.cache
def _allowed() -> frozenset[str]:
    """Returns the full names of the classes of `tfds.features`, old and new."""
    import tensorflow_datasets as tfds

    names = set()
    for found in vars(tfds.features).values():
        if isinstance(found, type) and issubclass(
            found, tfds.features.FeatureConnector
        ):
            names.add(f"{found.__module__}.{found.__name__}")
            names.update(vars(found).get("ALIASES", ()))
    return frozenset(names)


def _parse_features(features: Any) -> None:
    """Lets TFDS build the features, so that errors are raised here."""
    import tensorflow_datasets as tfds

    if not isinstance(features, dict):
        raise TypeError(f"a JSON object is needed, not {features!r:.40}")
    tfds.features.FeatureConnector.from_json(features)


def _parse_info(text: str) -> None:
    """Parses dataset_info.json as TFDS will."""
    from google.protobuf import json_format
    from tensorflow_datasets.core.proto import dataset_info_pb2

    json_format.Parse(text, dataset_info_pb2.DatasetInfo())
