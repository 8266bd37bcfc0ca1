"""Weights in TensorFlow checkpoints.

Variables are found by their names in the checkpoint's object graph, so the
checkpoint may come from a Keras model, from a dict of variables by path, or
from `save_weights` of Keras 2.
"""

from __future__ import annotations

import collections
import functools
import os
import re
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import trackable_object_graph_pb2
from tensorflow.python.training import checkpoint_state_pb2

from trainer.errors import TrainerError, untrusted
from trainer.model.weights.checkpoint_index import check_index
from trainer.model.weights.frozen import frozen_prefix
from trainer.model.weights.saved_weights import (
    DAMAGED,
    LayerPair,
    SavedLayer,
    SavedWeight,
    pair_by_name,
    stem,
)
from trainer.storage import files

TF_CHECKPOINT = "tf_checkpoint"

_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
# TensorFlow's list of a folder's checkpoints.
_LIST = "checkpoint"
_MAX_LIST_BYTES = 1 << 20


def checkpoint_prefix(path: str) -> str | None:
    """Returns the prefix of a checkpoint, or of a folder's latest one.

    Args:
      path: a prefix, or a folder with a list of checkpoints.

    Returns:
      None if the path is neither.

    Raises:
      TrainerError: the folder's list of checkpoints cannot be read.
    """
    if files.is_file(f"{path}.index"):
        return path
    listing = os.path.join(path, _LIST)
    if not files.is_dir(path) or not files.exists(listing):
        return None
    with untrusted(
        f"--weights={path!r}: {listing}",
        "remove it, and give a checkpoint's path without .index",
    ):
        # Not tf.train.latest_checkpoint, which blocks on a pipe.
        state = checkpoint_state_pb2.CheckpointState()
        text_format.Parse(
            files.read(listing, length=_MAX_LIST_BYTES).decode(), state
        )
    latest = os.path.join(path, state.model_checkpoint_path)
    return latest if files.is_file(f"{latest}.index") else None


def checkpoint_files(prefix: str) -> list[str]:
    """Returns the paths of a checkpoint's files, sorted.

    Those of the frozen weights of a run come after those of its checkpoint.
    """
    found = []
    for each in filter(None, (prefix, frozen_prefix(prefix))):
        folder, name = os.path.split(each)
        pattern = re.compile(re.escape(name) + r"\.(index|data-\d+-of-\d+)")
        found += [
            os.path.join(folder, entry)
            for entry in files.names(folder or ".")
            if pattern.fullmatch(entry)
        ]
    return found


def pairs_in_checkpoint(
    label: str, prefix: str, model: keras.Model
) -> list[LayerPair]:
    """Pairs the layers of a checkpoint with those of a model by name.

    Args:
      label: the flag and the file, for messages.
      prefix: the checkpoint's prefix.
      model: the backbone.

    Raises:
      TrainerError: the checkpoint cannot be read, is of another architecture,
        or is incomplete.
    """
    with untrusted(label, DAMAGED):
        found = [_open(label, prefix)]
        # A checkpoint of this trainer leaves out what the run never trains.
        if frozen := frozen_prefix(prefix):
            found.append(_open(label, frozen))
        return pair_by_name(label, _layers(found), model)


def _layers(opened: list[tuple[Any, Any]]) -> list[SavedLayer]:
    """Returns the layers in checkpoints, unordered.

    Args:
      opened: readers and object graphs. What is in several checkpoints is read
        from the first.
    """
    layers: dict[str, dict[str, SavedWeight]] = collections.defaultdict(dict)
    for reader, graph in opened:
        shapes = reader.get_variable_to_shape_map()
        # Keras 2 optimizers name slots like Adam/m/conv/kernel. If variables
        # have the same layer and name, the shortest path is the model's.
        variables = sorted(
            _variables(graph), key=lambda item: item[0].count("/")
        )
        for path, key, _ in variables:
            parent, _, name = path.rpartition("/")
            if key in shapes:
                weight = SavedWeight(
                    name=name,
                    shape=tuple(shapes[key]),
                    read=functools.partial(reader.get_tensor, key),
                )
                layers[parent.rpartition("/")[2]].setdefault(name, weight)
    return [
        SavedLayer(name=name, weights=tuple(weights.values()))
        for name, weights in layers.items()
    ]


def layers_between(
    label: str, prefix: str, first: str, last: str
) -> int | None:
    """Returns the number of layers between two layers of one Keras model.

    Args:
      label: the flag and the file, for messages.
      prefix: the checkpoint's prefix.
      first: the name of the earlier layer, without its number.
      last: the name of the later layer, without its number.

    Returns:
      None if the checkpoint does not number its layers.

    Raises:
      TrainerError: the checkpoint cannot be read.
    """
    with untrusted(label, DAMAGED):
        _, graph = _open(label, prefix)
        return _layers_between(graph, first, last)


def _layers_between(graph: Any, first: str, last: str) -> int | None:
    places: dict[str, dict[int, int]] = {first: {}, last: {}}
    owners: dict[int, list[tuple[int, str]]] = collections.defaultdict(list)
    for parent, node in enumerate(graph.nodes):
        for child in node.children:
            owners[child.node_id].append((parent, child.local_name))
    # A set, so that a layer with several variables is looked up once.
    layers = {
        (name, layer)
        for path, _, node_id in _variables(graph)
        if (name := stem(path.rpartition("/")[0].rpartition("/")[2])) in places
        for layer, _ in owners[node_id]
    }
    for name, layer in layers:
        for container, local in owners[layer]:
            # Keras 3 numbers the items of a list, Keras 2 its children.
            if number := re.fullmatch(r"(?:layer-)?(\d+)", local):
                places[name][container] = int(number[1])
    for container in places[first].keys() & places[last].keys():
        return places[last][container] - places[first][container] - 1
    return None


def _open(label: str, prefix: str) -> tuple[Any, Any]:
    """Checks and opens a checkpoint; returns a reader and the object graph."""
    check_index(prefix)
    reader = tf.compat.v1.train.NewCheckpointReader(prefix)
    if not reader.has_tensor(_GRAPH_KEY):
        raise TrainerError(
            f"{label}: a TensorFlow 1 checkpoint, without an object graph;"
            " give one that tf.train.Checkpoint or save_weights wrote"
        )
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor(_GRAPH_KEY))
    return reader, graph


def _variables(graph: Any) -> Iterator[tuple[str, str, int]]:
    """Yields (path, checkpoint key, node number) of each variable, in order."""
    # A dict of variables by path gives the path; under a distribution strategy
    # the variable's own name may differ.
    named = {
        child.node_id: child.local_name
        for node in graph.nodes
        for child in node.children
        if "/" in child.local_name
    }
    slots = {
        slot.slot_variable_node_id
        for node in graph.nodes
        for slot in node.slot_variables
    }
    for node_id, node in enumerate(graph.nodes):
        for attribute in node.attributes:
            if attribute.name == "VARIABLE_VALUE" and node_id not in slots:
                path = named.get(node_id, attribute.full_name)
                yield path.partition(":")[0], attribute.checkpoint_key, node_id
