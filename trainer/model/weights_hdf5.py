"""Weights in HDF5: `.weights.h5`, legacy `.h5`, and `.keras` around one.

Nothing is ever deserialized into Python objects: arrays and names are read,
and configurations only looked at as JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import h5py
import keras
import numpy as np

from trainer import files
from trainer.errors import TrainerError
from trainer.model.saved_weights import (
    LayerPair,
    ModelLayer,
    SavedLayer,
    SavedWeight,
    model_layers,
    other_architecture,
    pair_by_name,
    stem,
    unreadable,
)

WEIGHTS_H5 = "weights_h5"
LEGACY_H5 = "legacy_h5"
KERAS = "keras"

_KERAS_CONFIG = "config.json"
_KERAS_WEIGHTS = "model.weights.h5"


@contextlib.contextmanager
def open_hdf5(label: str, path: str, kind: str) -> Iterator[h5py.File]:
    """The HDF5 file at `path`, or the one inside a `.keras` archive.

    Raises:
      TrainerError: it is damaged.
    """
    try:
        source: Any = files.fetched(path)
        if kind == KERAS:
            with zipfile.ZipFile(source) as archive:
                source = io.BytesIO(archive.read(_KERAS_WEIGHTS))
        file = h5py.File(source, "r")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise unreadable(label, error) from error
    with file:
        yield file


def keras_config(label: str, path: str) -> Any:
    """The configuration in a `.keras` archive, as JSON.

    Raises:
      TrainerError: the zip is no `.keras`, or holds Python code.
    """
    try:
        with zipfile.ZipFile(files.fetched(path)) as archive:
            if not {_KERAS_CONFIG, _KERAS_WEIGHTS} <= set(archive.namelist()):
                raise TrainerError(
                    f"{label}: a zip, but no .keras file (it has no"
                    f" {_KERAS_CONFIG} and {_KERAS_WEIGHTS}); give a file that"
                    " model.save or model.save_weights wrote"
                )
            config = json.loads(archive.read(_KERAS_CONFIG))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise unreadable(label, error) from error
    if any(d.get("class_name") == "__lambda__" for d in _dicts(config)):
        raise TrainerError(
            f"{label}: holds a Lambda layer, which is Python code of whoever"
            " saved it; such files are refused: save the backbone's weights"
            " alone, with model.save_weights('NAME.weights.h5')"
        )
    return config


def hdf5_kind(label: str, path: str) -> str:
    """WEIGHTS_H5 or LEGACY_H5, by what the file holds.

    Raises:
      TrainerError: it holds no Keras weights.
    """
    with open_hdf5(label, path, WEIGHTS_H5) as file:
        if "layers" in file:
            return WEIGHTS_H5
        root = _legacy_root(file)
        if "layer_names" in root.attrs or "layer_names0" in root.attrs:
            return LEGACY_H5
    raise TrainerError(
        f"{label}: an HDF5 file, but not one of Keras weights; give a file"
        " that model.save or model.save_weights wrote"
    )


def pairs_in_weights_h5(
    label: str, file: h5py.File, model: keras.Model
) -> list[LayerPair]:
    """Pairs by group path, at the root or in a nested backbone.

    Raises:
      TrainerError: the file is of another architecture, or incomplete.
    """
    wanted = model_layers(model)
    best: list[LayerPair] = []
    for prefix in _model_prefixes(file):
        pairs = [
            (layer, saved)
            for layer in wanted
            if (saved := _group_layer(label, file, prefix + layer.path))
        ]
        # The first complete one is the backbone; else the fullest tells best
        # what is missing.
        if len(pairs) > len(best):
            best = pairs
    found = {layer.path for layer, saved in best if _same_layer(layer, saved)}
    missing = [layer.name for layer in wanted if layer.path not in found]
    if missing:
        raise other_architecture(label, model, missing)
    return best


def pairs_in_legacy_h5(
    label: str, file: h5py.File, model: keras.Model
) -> list[LayerPair]:
    """Pairs by layer name, nested backbones included.

    Raises:
      TrainerError: the file is of another architecture, or incomplete.
    """
    root = _legacy_root(file)
    saved: list[SavedLayer] = []
    for name in _texts(root, "layer_names"):
        weights: dict[str, list[SavedWeight]] = {}
        group = _child(label, root, name)
        for full in _texts(group, "weight_names"):
            parent, _, last = full.partition(":")[0].rpartition("/")
            weight = _weight(label, group, full, name=last)
            weights.setdefault(parent.rpartition("/")[2], []).append(weight)
        # A group of several layers is a model inside the model.
        saved += [
            SavedLayer(
                name=inner if len(weights) > 1 else name, weights=tuple(found)
            )
            for inner, found in weights.items()
        ]
    return pair_by_name(label, saved, model)


def layer_kinds(file: h5py.File) -> list[list[str]]:
    """Snake-case class names of a `.weights.h5` file's layers, unordered.

    Returns:
      One list a model in the file, outermost first, with one entry a layer
      (layers without weights included, where the file lists them).
    """
    return [
        [stem(name) for name in file[f"{prefix}layers"]]
        for prefix in _model_prefixes(file)
    ]


def legacy_layer_names(file: h5py.File) -> list[str]:
    """Names of a legacy file's outer layers, in order."""
    return _texts(_legacy_root(file), "layer_names")


def legacy_config(file: h5py.File) -> Any:
    """The configuration that a legacy whole-model file holds, or None."""
    text = file.attrs.get("model_config")
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return None


def config_layer_names(config: Any) -> Iterator[list[str]]:
    """Layer names, in order, of every model inside a configuration."""
    for node in _dicts(config):
        layers = node.get("layers")
        if isinstance(layers, list):
            yield [
                str(layer.get("config", {}).get("name", ""))
                for layer in layers
                if isinstance(layer, dict)
            ]


def _dicts(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _dicts(child)


def _legacy_root(file: h5py.File) -> h5py.Group:
    root = file.get("model_weights", file)
    return root if isinstance(root, h5py.Group) else file


def _texts(group: h5py.Group, name: str) -> list[str]:
    """A list of names in attributes; long lists come in numbered chunks."""
    values = list(group.attrs.get(name, ()))
    chunk = 0
    while f"{name}{chunk}" in group.attrs:
        values += list(group.attrs[f"{name}{chunk}"])
        chunk += 1
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]


def _model_prefixes(file: h5py.File) -> list[str]:
    """Paths of groups that hold a "layers" group, outermost first."""
    prefixes: list[str] = []

    def visit(path: str, item: Any) -> None:
        parent, _, last = path.rpartition("/")
        if last == "layers" and isinstance(item, h5py.Group):
            prefixes.append(f"{parent}/" if parent else "")

    file.visititems(visit)
    return sorted(prefixes, key=len)


def _group_layer(label: str, file: h5py.File, path: str) -> SavedLayer | None:
    group = _find(label, file, f"{path}/vars")
    if not isinstance(group, h5py.Group) or not len(group):
        return None
    keys = sorted(group, key=lambda key: (len(key), key))
    return SavedLayer(
        name=str(group.attrs.get("name", "")),
        weights=tuple(_weight(label, group, key, name=key) for key in keys),
    )


def _same_layer(layer: ModelLayer, saved: SavedLayer) -> bool:
    """Whether a group that has the path of `layer` is that layer's.

    Groups are numbered by class, so a deeper network of the same family has
    the same paths; what gives it away are other names with other shapes.
    Other names alone are a renamed layer.
    """
    shapes = [tuple(variable.shape) for variable in layer.layer.weights]
    return (
        not saved.name
        or stem(saved.name) == stem(layer.name)
        or shapes == [weight.shape for weight in saved.weights]
    )


def _weight(
    label: str, group: h5py.Group, path: str, *, name: str
) -> SavedWeight:
    data = _child(label, group, path)
    # Such data would be read from other files of this machine.
    if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
        raise _refused(label, path)
    return SavedWeight(
        name=name, shape=tuple(data.shape), read=lambda: np.asarray(data)
    )


def _child(label: str, group: h5py.Group, path: str) -> Any:
    """`group[path]`; the file is damaged where there is none."""
    item = _find(label, group, path)
    if item is None:
        raise unreadable(label, KeyError(f"no {path}"))
    return item


def _find(label: str, group: h5py.Group, path: str) -> Any:
    """`group[path]` or None; reached through a link, it is refused."""
    item: Any = group
    for part in path.split("/"):
        if not isinstance(item, h5py.Group):
            return None
        link = item.get(part, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise _refused(label, path)
        item = item[part]
    return item


def _refused(label: str, path: str) -> TrainerError:
    return TrainerError(
        f"{label}: {path} is a link or stored outside the file; such files"
        " are refused: give a file that model.save_weights wrote"
    )
