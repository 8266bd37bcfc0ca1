"""Weights as a file holds them, and how they get into a backbone.

Every reader brings its file into one shape, a list of `SavedLayer`; here
they are paired with the backbone's layers, checked in full, and only then
assigned: a backbone is never left half loaded.
"""

from __future__ import annotations

import dataclasses
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.errors import TrainerError


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedWeight:
    """One array of a file: its shape, and how to read it."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedLayer:
    """One layer of a file; its weights in the file's order.

    Attributes:
      name: the layer's name; empty where the file has none.
      weights: at least one.
    """

    name: str
    weights: tuple[SavedWeight, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelLayer:
    """One layer of a backbone that has weights and no layers inside.

    Attributes:
      path: its group in a `.weights.h5` file, without "/vars".
    """

    path: str
    layer: keras.layers.Layer

    @property
    def name(self) -> str:
        """The layer's own name."""
        return self.layer.name


LayerPair = tuple[ModelLayer, SavedLayer]


def model_layers(model: keras.Model) -> list[ModelLayer]:
    """The backbone's layers with weights, in order, nested ones flattened."""
    return [found for found in _walk(model, "") if found.layer.weights]


def _walk(model: keras.Model, prefix: str) -> Iterator[ModelLayer]:
    counts: dict[str, int] = {}
    for layer in model.layers:
        # Keras names groups by class and position, not by layer name.
        kind = snake_case(type(layer).__name__)
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        suffix = f"_{number}" if number else ""
        path = f"{prefix}layers/{kind}{suffix}"
        if hasattr(layer, "layers"):
            yield from _walk(layer, f"{path}/")
        else:
            yield ModelLayer(path=path, layer=layer)


def snake_case(name: str) -> str:
    """A class name as Keras writes it into files: Conv2D -> conv2d."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def stem(name: str) -> str:
    """A layer name without its number: automatic numbers drift."""
    return re.sub(r"_\d+$", "", name)


def pair_by_name(
    label: str, saved: Sequence[SavedLayer], model: keras.Model
) -> list[LayerPair]:
    """Pairs layers by name, or by order where only numbers differ.

    Args:
      label: the flag and the file, for messages.
      saved: the file's layers with weights, in its order.
      model: the backbone.

    Raises:
      TrainerError: the file is of another architecture, or incomplete.
    """
    wanted = model_layers(model)
    by_name = {layer.name: layer for layer in reversed(saved)}
    if all(layer.name in by_name for layer in wanted):
        return [(layer, by_name[layer.name]) for layer in wanted]
    # conv2d_94 in a file is conv2d here, if all others follow suit. A head
    # comes last and does not disturb the order.
    head = [stem(layer.name) for layer in saved[: len(wanted)]]
    if head == [stem(layer.name) for layer in wanted]:
        return list(zip(wanted, saved, strict=False))
    missing = [layer.name for layer in wanted if layer.name not in by_name]
    raise other_architecture(label, model, missing)


def other_architecture(
    label: str, model: keras.Model, missing: Sequence[str]
) -> TrainerError:
    """The error for a file that lacks layers of the backbone."""
    total = len(model_layers(model))
    return TrainerError(
        f"{label}: saved from another architecture, or incomplete: of the"
        f" {total} layers of {model.name} that have weights it has"
        f" {total - len(missing)}, and no {missing[0]!r}; give weights of this"
        " --backbone with these --backbone_args"
    )


def load_pairs(
    label: str, pairs: Sequence[LayerPair], model: keras.Model
) -> None:
    """Checks everything, reads everything, then assigns and compares.

    Raises:
      TrainerError: a shape differs (names the first layer), an array cannot
        be read; the backbone is unchanged then.
    """
    matched = [
        match
        for layer, saved in pairs
        for match in _match_layer(label, layer, saved, model)
    ]
    arrays = [_read(label, weight) for _, weight in matched]
    values = [
        (variable, array.astype(variable.dtype))
        for (variable, _), array in zip(matched, arrays, strict=True)
    ]
    assign_weights(model, values)


def assign_weights(
    model: keras.Model, values: Sequence[tuple[keras.Variable, np.ndarray]]
) -> None:
    """Assigns values to variables of `model` and reads them back."""
    for variable, value in values:
        variable.assign(value)
    finalize_layers(model)
    for variable, value in values:
        if not np.array_equal(variable.numpy(), value, equal_nan=True):
            raise TrainerError(
                f"{variable.path}: its value after loading is not the one"
                " that was assigned; this machine's memory or TensorFlow"
                " build is broken"
            )


def finalize_layers(model: keras.Model) -> None:
    """Brings derived constants up to date with the variables.

    Normalization computes with constants that it makes of its variables;
    whoever assigns those variables directly must call this afterwards.
    """
    for layer in model.layers:
        if hasattr(layer, "layers"):
            finalize_layers(layer)
        elif hasattr(layer, "finalize_state") and layer.weights:
            layer.finalize_state()


def _match_layer(
    label: str, layer: ModelLayer, saved: SavedLayer, model: keras.Model
) -> list[tuple[keras.Variable, SavedWeight]]:
    variables = list(layer.layer.weights)
    weights = {weight.name: weight for weight in saved.weights}
    if len(variables) != len(weights):
        raise TrainerError(
            f"{label}: saved from another architecture: layer {layer.name!r}"
            f" has {len(weights)} weights in the file and {len(variables)} in"
            f" {model.name}; give weights of this --backbone with these"
            " --backbone_args"
        )
    # Names inside a layer differ between Keras versions (depthwise_kernel);
    # the order does not. A checkpoint's order means nothing, its names do.
    by_name = {variable.name for variable in variables} == set(weights)
    matches = [
        (variable, weights[variable.name] if by_name else weight)
        for variable, weight in zip(variables, weights.values(), strict=True)
    ]
    for variable, weight in matches:
        if tuple(variable.shape) != weight.shape:
            raise TrainerError(
                f"{label}: wrong shapes for {model.name}: layer"
                f" {layer.name!r} ({variable.name}) is {weight.shape} in the"
                f" file and {tuple(variable.shape)} in the model; give the"
                " --backbone_args it was saved with, or other weights"
            )
    return matches


def _read(label: str, weight: SavedWeight) -> np.ndarray:
    try:
        array = np.asarray(weight.read())
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise unreadable(label, error) from error
    except (tf.errors.OpError, zipfile.BadZipFile) as error:
        raise unreadable(label, error) from error
    if array.dtype.kind not in "fiu":
        raise TrainerError(
            f"{label}: {weight.name} holds {array.dtype}, not numbers; give"
            " weights saved as float32 or float16"
        )
    return array


def unreadable(label: str, error: Exception) -> TrainerError:
    """The error for a file that is damaged."""
    reason = " ".join(str(error).split())[:160]
    return TrainerError(
        f"{label}: cannot be read as weights ({reason}); the file is damaged"
        " or incomplete: copy or download it again"
    )
