"""Weights in HDF5: `.weights.h5`, legacy `.h5`, and `.keras` archives.

Nothing is deserialized into Python objects: only arrays and names are read,
and configurations are parsed as plain JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import mmap
import zipfile
from collections.abc import Iterator
from typing import Any

import h5py
import keras

from trainer.errors import TrainerError, untrusted
from trainer.model.weights.hdf5_reader import Hdf5Reader
from trainer.model.weights.saved_weights import (
    DAMAGED,
    LayerPair,
    ModelLayer,
    SavedLayer,
    SavedWeight,
    model_layers,
    other_architecture,
    pair_by_name,
    stem,
)
from trainer.storage import files

WEIGHTS_H5 = "weights_h5"
LEGACY_H5 = "legacy_h5"
KERAS = "keras"

_KERAS_CONFIG = "config.json"
_KERAS_WEIGHTS = "model.weights.h5"
# The largest backbone has a configuration of 1.5 MB and 1.4 GB of weights.
_MAX_CONFIG_BYTES = 64 << 20
_MAX_WEIGHTS_BYTES = 8 << 30
# Keras does not compress weights. If compressed, random weights shrink by a
# tenth; with a fresh optimizer's slots, which are zeros, to a third.
_MAX_EXPANSION = 20
_MIN_SUSPECT_BYTES = 64 << 20
_ENCRYPTED = 0x1
# Each model inside a model is compared with the backbone; files have few.
_MAX_MODELS = 100


@contextlib.contextmanager
def open_hdf5(label: str, path: str, kind: str) -> Iterator[Hdf5Reader]:
    """Opens the HDF5 file at `path`, or the one inside a `.keras` archive.

    Raises:
      TrainerError: the file is damaged, also if the block detects it.
    """
    with untrusted(label, DAMAGED), contextlib.ExitStack() as stack:
        local = files.fetched(path)
        source: str | io.BytesIO = local
        content: bytes | mmap.mmap
        if kind == KERAS:
            with zipfile.ZipFile(local) as archive:
                content = _member(
                    label, archive, _KERAS_WEIGHTS, _MAX_WEIGHTS_BYTES
                )
            source = io.BytesIO(content)
        else:
            stream = stack.enter_context(files.open_regular(local))
            content = stack.enter_context(
                mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            )
        file = stack.enter_context(h5py.File(source, "r"))
        yield Hdf5Reader(label, file, content)


def keras_config(label: str, path: str) -> Any:
    """Returns the configuration in a `.keras` archive, as JSON.

    Raises:
      TrainerError: the zip is not a `.keras` file, or holds Python code.
    """
    with untrusted(label, DAMAGED):
        with zipfile.ZipFile(files.fetched(path)) as archive:
            if not {_KERAS_CONFIG, _KERAS_WEIGHTS} <= set(archive.namelist()):
                raise TrainerError(
                    f"{label}: a zip, but not a .keras file (it has no"
                    f" {_KERAS_CONFIG} and {_KERAS_WEIGHTS}); give a file that"
                    " model.save or model.save_weights wrote"
                )
            config = json.loads(
                _member(label, archive, _KERAS_CONFIG, _MAX_CONFIG_BYTES)
            )
        if any(d.get("class_name") == "__lambda__" for d in _dicts(config)):
            raise TrainerError(
                f"{label}: holds a Lambda layer, which is Python code from"
                " whoever saved it; such files are rejected: save the"
                " backbone's weights alone, with"
                " model.save_weights('NAME.weights.h5')"
            )
    return config


def _member(
    label: str, archive: zipfile.ZipFile, name: str, limit: int
) -> bytes:
    """Returns the content of a file in an archive.

    Raises:
      TrainerError: it is encrypted, larger than `limit` bytes, or unpacks to
        far more bytes than the archive has.
    """
    info = archive.getinfo(name)
    remedy = "give a file that model.save or model.save_weights wrote"
    if info.flag_bits & _ENCRYPTED:
        raise TrainerError(f"{label}: {name} in it is encrypted; {remedy}")
    stream = archive.fp
    assert stream is not None
    # The archive's claim about the packed size may be false; its own size is
    # an upper bound.
    packed = min(info.compress_size, stream.seek(0, io.SEEK_END))
    size = info.file_size
    if size > limit or size > max(_MIN_SUSPECT_BYTES, _MAX_EXPANSION * packed):
        raise TrainerError(
            f"{label}: {name} in it unpacks from {packed:,} bytes to {size:,},"
            f" more than {limit:,} or {_MAX_EXPANSION} times as much; {remedy}"
        )
    with archive.open(info) as member:
        # Reads at most the declared size; zipfile then checks the checksum.
        return member.read(size)


def hdf5_kind(label: str, path: str) -> str:
    """Returns WEIGHTS_H5 or LEGACY_H5, by the file's content.

    Raises:
      TrainerError: it holds no Keras weights.
    """
    with open_hdf5(label, path, WEIGHTS_H5) as file:
        if file.find(file.root, "layers") is not None:
            return WEIGHTS_H5
        root = _legacy_root(file)
        for name in ("layer_names", "layer_names0"):
            if file.attribute(root, name) is not None:
                return LEGACY_H5
    raise TrainerError(
        f"{label}: an HDF5 file, but not one of Keras weights; give a file"
        " that model.save or model.save_weights wrote"
    )


def pairs_in_weights_h5(
    file: Hdf5Reader, model: keras.Model
) -> list[LayerPair]:
    """Pairs layers by group path, at the root or in a nested backbone.

    Raises:
      TrainerError: the file is of another architecture, or incomplete.
    """
    wanted = model_layers(model)
    best: list[LayerPair] = []
    for prefix in _model_prefixes(file):
        pairs = [
            (layer, saved)
            for layer in wanted
            if (saved := _group_layer(file, prefix + layer.path))
        ]
        # The first complete model is the backbone. If there is none, the most
        # complete one makes the best error message.
        if len(pairs) > len(best):
            best = pairs
    found = {layer.path for layer, saved in best if _same_layer(layer, saved)}
    missing = [layer.name for layer in wanted if layer.path not in found]
    if missing:
        raise other_architecture(file.label, model, missing)
    return best


def pairs_in_legacy_h5(file: Hdf5Reader, model: keras.Model) -> list[LayerPair]:
    """Pairs layers by name, also those of a nested backbone.

    Raises:
      TrainerError: the file is of another architecture, or incomplete.
    """
    root = _legacy_root(file)
    saved: list[SavedLayer] = []
    for name in file.texts(root, "layer_names"):
        weights: dict[str, list[SavedWeight]] = {}
        group = file.child(root, name)
        for full in file.texts(group, "weight_names"):
            parent, _, last = full.partition(":")[0].rpartition("/")
            weight = file.weight(group, full, name=last)
            weights.setdefault(parent.rpartition("/")[2], []).append(weight)
        # A group with several layers is a nested model.
        saved += [
            SavedLayer(
                name=inner if len(weights) > 1 else name, weights=tuple(found)
            )
            for inner, found in weights.items()
        ]
    return pair_by_name(file.label, saved, model)


def layer_kinds(file: Hdf5Reader) -> list[list[str]]:
    """Returns the layer classes in a `.weights.h5` file, in snake case.

    Returns:
      One unordered list per model in the file, outermost first, with one entry
      per layer, also for layers without weights if the file lists them.
    """
    return [
        [
            stem(name)
            for name in file.names(file.child(file.root, f"{prefix}layers"))
        ]
        for prefix in _model_prefixes(file)
    ]


def legacy_layer_names(file: Hdf5Reader) -> list[str]:
    """Returns the names of a legacy file's outer layers, in order."""
    return file.texts(_legacy_root(file), "layer_names")


def legacy_config(file: Hdf5Reader) -> Any:
    """Returns the configuration of a legacy whole-model file, or None."""
    text = file.attribute(file.root, "model_config")
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return None


def config_layer_names(config: Any) -> Iterator[list[str]]:
    """Yields the layer names, in order, of every model in a configuration."""
    for node in _dicts(config):
        layers = node.get("layers")
        if isinstance(layers, list):
            yield [
                str(layer.get("config", {}).get("name", ""))
                for layer in layers
                if isinstance(layer, dict)
            ]


def _dicts(node: Any) -> Iterator[dict[str, Any]]:
    """Yields every JSON object in a value, outermost first."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _dicts(child)


def _legacy_root(file: Hdf5Reader) -> h5py.Group:
    """Returns the group with the weights: whole models have one for them."""
    root = file.find(file.root, "model_weights")
    return root if isinstance(root, h5py.Group) else file.root


def _model_prefixes(file: Hdf5Reader) -> list[str]:
    """Returns the paths of groups with a "layers" group, outermost first."""
    prefixes = [
        "".join(f"{part}/" for part in path[:-1])
        for path in file.groups()
        if path[-1] == "layers"
    ]
    if len(prefixes) > _MAX_MODELS:
        raise ValueError(f"more than {_MAX_MODELS} models inside models")
    return sorted(prefixes, key=len)


def _group_layer(file: Hdf5Reader, path: str) -> SavedLayer | None:
    """Returns the layer stored in a group, or None if it has no weights."""
    group = file.find(file.root, f"{path}/vars")
    if not isinstance(group, h5py.Group) or not len(group):
        return None
    keys = sorted(file.names(group), key=lambda key: (len(key), key))
    return SavedLayer(
        name=str(file.attribute(group, "name") or ""),
        weights=tuple(file.weight(group, key, name=key) for key in keys),
    )


def _same_layer(layer: ModelLayer, saved: SavedLayer) -> bool:
    """Returns whether a saved layer with the path of `layer` is that layer.

    Groups are numbered by class, so a deeper network of the same family has
    the same paths. It differs in both names and shapes; if only names differ,
    the layer was renamed.
    """
    shapes = [tuple(variable.shape) for variable in layer.layer.weights]
    return (
        not saved.name
        or stem(saved.name) == stem(layer.name)
        or shapes == [weight.shape for weight in saved.weights]
    )
