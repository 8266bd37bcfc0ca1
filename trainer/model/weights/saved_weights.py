"""Weights in the common form of all file readers, and their assignment.

Every reader returns a list of `SavedLayer`. This module pairs these with the
backbone's layers, checks all of them, and only then assigns values. So a
backbone is never partly loaded.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np

from trainer.errors import TrainerError, untrusted

# What to do about a file that is damaged, for `errors.untrusted`.
DAMAGED = (
    "the file is damaged or incomplete: copy or download it again, or give"
    " another"
)
# The variance variables of BatchNormalization and Normalization.
_VARIANCES = ("moving_variance", "variance")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedWeight:
    """One array of a file: its shape and a function that reads it."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedLayer:
    """One layer of a file, with its weights in the file's order.

    Attributes:
      name: the layer's name; empty if the file has none.
      weights: at least one.
    """

    name: str
    weights: tuple[SavedWeight, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelLayer:
    """One layer of a backbone, with weights and without nested layers.

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
    """Returns the layers that have weights, in order, nested ones flattened."""
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
    """Returns a class name as Keras writes it into files: Conv2D -> conv2d."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def stem(name: str) -> str:
    """Returns a layer name without its number; automatic numbers vary."""
    return re.sub(r"_\d+$", "", name)


def pair_by_name(
    label: str, saved: Sequence[SavedLayer], model: keras.Model
) -> list[LayerPair]:
    """Pairs layers by name, or by order if only numbers differ.

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
    # conv2d_94 in a file may be conv2d here, if all names without numbers agree
    # in order. A head comes last, so it does not matter.
    head = [stem(layer.name) for layer in saved[: len(wanted)]]
    if head == [stem(layer.name) for layer in wanted]:
        return list(zip(wanted, saved, strict=False))
    missing = [layer.name for layer in wanted if layer.name not in by_name]
    raise other_architecture(label, model, missing)


def other_architecture(
    label: str, model: keras.Model, missing: Sequence[str]
) -> TrainerError:
    """Returns the error for a file that lacks layers of the backbone."""
    total = len(model_layers(model))
    return TrainerError(
        f"{label}: saved from another architecture, or incomplete: of the"
        f" {total} layers of {model.name} that have weights it has"
        f" {total - len(missing)}, and no {missing[0]!r}; give weights of this"
        " --backbone with these --backbone_args"
    )


def read_pairs(
    label: str, pairs: Sequence[LayerPair], model: keras.Model
) -> list[tuple[keras.Variable, np.ndarray]]:
    """Checks all shapes, then reads and checks all arrays; assigns nothing.

    Returns:
      Values for variables of the model, in their dtype.

    Raises:
      TrainerError: a shape differs (the message names the first layer), an
        array cannot be read, or it holds impossible values; see `senseless`.
    """
    matched = [
        (layer, variable, weight)
        for layer, saved in pairs
        for variable, weight in _match_layer(label, layer, saved, model)
    ]
    return [
        (variable, _value(label, layer, variable, _read(label, weight)))
        for layer, variable, weight in matched
    ]


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
    """Updates the constants that layers derive from variables.

    Normalization computes with constants derived from its variables. Call this
    after you assign those variables directly.
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
    # Weight names within a layer differ between Keras versions
    # (depthwise_kernel), but their order is the same. In checkpoints the names
    # are reliable and the order is not.
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
    with untrusted(label, DAMAGED):
        array = np.asarray(weight.read())
        if array.dtype.kind not in "fiu":
            raise not_numbers(label, weight.name, array.dtype)
        if array.shape != weight.shape:
            raise ValueError(
                f"{weight.name} is {array.shape}, declared as {weight.shape}"
            )
    return array


def not_numbers(label: str, name: str, dtype: np.dtype) -> TrainerError:
    """Returns the error for an array of text or of other objects."""
    return TrainerError(
        f"{label}: {name} holds {dtype}, not numbers; give weights saved as"
        " float32 or float16"
    )


def _value(
    label: str, layer: ModelLayer, variable: keras.Variable, array: np.ndarray
) -> np.ndarray:
    """Returns the array in the variable's dtype.

    Raises:
      TrainerError: the array holds impossible values; see `senseless`.
    """
    dtype = keras.backend.standardize_dtype(variable.dtype)
    with np.errstate(all="ignore"):
        value = array.astype(dtype)
    found = senseless(variable.name, value) or _overflow(array, value)
    if found:
        raise TrainerError(
            f"{label}: layer {layer.name!r} ({variable.name}) holds {found};"
            f" legal are finite numbers that {dtype} can hold, and variances"
            " of 0 or more; give weights of a run that did not diverge, or"
            " copy or download the file again"
        )
    return value


def _overflow(array: np.ndarray, value: np.ndarray) -> str | None:
    """Returns a value that an integer variable cannot hold, or None."""
    if value.dtype.kind not in "iu" or not array.size:
        return None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return "NaN or infinity"
    limits = np.iinfo(value.dtype)
    # Python integers compare exactly, whatever the dtype.
    low, high = int(array.min()), int(array.max())
    if low < limits.min or high > limits.max:
        return f"{low if low < limits.min else high}"
    return None


def senseless(name: str, value: np.ndarray) -> str | None:
    """Describes the impossible values of a weight, or returns None.

    Args:
      name: the variable's name, which identifies variances.
      value: in the variable's dtype.
    """
    if value.dtype.kind in "iu":
        return None
    finite = np.isfinite(value)
    if not finite.all():
        nan = int(np.isnan(value).sum())
        bad = value.size - int(finite.sum())
        what = {0: "infinity", bad: "NaN"}.get(nan, "NaN or infinity")
        return f"{what} in {bad:,} of {value.size:,} values"
    if name in _VARIANCES and value.size and value.min() < 0:
        return f"a negative variance, {float(value.min()):g}"
    return None
