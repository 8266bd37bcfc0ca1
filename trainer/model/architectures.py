"""Architectures as JSON, and the ImageNet form of EfficientNetB0..B7.

`EfficientNetB0..B7(weights="imagenet")` has one more layer than the same
constructor with `weights=None`: a rescaling by 1/sqrt(std) after the
normalization. Both forms accept the same weights but compute different
features. So the form is part of the architecture, and this module builds it
without a download.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

# The standard deviations of ImageNet's RGB channels, as Keras has them.
_IMAGENET_STD = (0.229, 0.224, 0.225)

# The largest real ones: NASNetLarge's JSON has 1.5 MB. ConvNeXtXLarge has 350
# million parameters, at most 17 million of them in one variable. _MAX_OUTPUTS
# counts the values that one layer computes for one image.
_MAX_TEXT = 16 << 20
_MAX_DEPTH = 100
_MAX_PARAMETERS = 1 << 29
_MAX_VARIABLE = 1 << 27
_MAX_OUTPUTS = 1 << 30

# The classes that the backbones of keras.applications consist of, and similar
# ones, by module. Keras imports every class that an architecture names. Some
# classes run code that the architecture contains, others read files that it
# names.
_INITIALIZERS = """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform LecunNormal
    LecunUniform Ones RandomNormal RandomUniform TruncatedNormal
    VarianceScaling Zeros
"""
_LAYERS = """
    Activation Add Average AveragePooling2D BatchNormalization Concatenate
    Conv2D Cropping2D Dense DepthwiseConv2D Dropout Flatten
    GlobalAveragePooling2D GlobalMaxPooling2D GroupNormalization InputLayer
    LayerNormalization LeakyReLU MaxPooling2D Maximum Multiply Normalization
    ReLU Rescaling Reshape SeparableConv2D Softmax SpatialDropout2D Subtract
    ZeroPadding2D
"""
_CLASSES = {
    module: frozenset(names.split())
    for module, names in {
        "keras": "DTypePolicy Functional Model Sequential",
        "keras.initializers": _INITIALIZERS,
        "keras.layers": _LAYERS,
        "keras.models": "Functional Model Sequential",
        "keras.regularizers": "L1 L1L2 L2",
        "keras.src.applications.convnext": "LayerScale StochasticDepth",
        "keras.src.applications.inception_resnet_v2": "CustomScaleLayer",
        "keras.src.models.functional": "Functional",
        "keras.src.models.sequential": "Sequential",
        "keras.src.ops.numpy": "Add Multiply Subtract TrueDivide",
    }.items()
}
# A reference to another layer's output; nothing is imported for it.
_TENSOR = "__keras_tensor__"


def architecture_json(model: keras.Model) -> str:
    """Returns the model's architecture without weights, as JSON.

    The dtype policy of each layer is part of it.
    """
    return model.to_json()


def model_from_architecture(text: str) -> keras.Model:
    """Builds a model with fresh random weights from `architecture_json`.

    Layers have the names and the order of the text. Variable *paths* may
    differ, because the name scopes of a constructor (NASNet, ConvNeXt) are not
    stored. The text is not trusted: only classes of `_CLASSES` are built, with
    at most `_MAX_PARAMETERS` parameters. Errors that Keras raises are not
    converted.

    Raises:
      ValueError: the text is no architecture, names other classes, or is too
        large.
    """
    _check_classes(text)
    with _limited_parameters():
        model = keras.models.model_from_json(text)
    if not isinstance(model, keras.Model):
        raise ValueError(f"a {type(model).__name__}, not a model")
    _check_outputs(model)
    return model


def _check_classes(text: str) -> None:
    """Checks that an architecture names only classes of `_CLASSES`."""
    if len(text) > _MAX_TEXT:
        raise ValueError(f"{len(text):,} characters, more than {_MAX_TEXT:,}")
    nodes = [json.loads(text)]
    for _ in range(_MAX_DEPTH):
        for node in nodes:
            if isinstance(node, dict):
                _check_class(node)
        nodes = [
            child
            for node in nodes
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not nodes:
            return
    raise ValueError(f"more than {_MAX_DEPTH} levels deep")


def _check_class(node: dict[str, Any]) -> None:
    name, module = node.get("class_name"), node.get("module")
    if name is None and module is None:
        return
    if name == _TENSOR and module is None:
        return
    registered = node.get("registered_name")
    legal = isinstance(module, str) and name in _CLASSES.get(module, ())
    if not legal or registered not in (None, name):
        shown = f"{module}.{name}" if registered is None else registered
        raise ValueError(
            f"{shown} is not among the layers of backbones; other layers could"
            " run code or read files"
        )


@contextlib.contextmanager
def _limited_parameters() -> Iterator[None]:
    """Limits the parameters of new variables; raises before it allocates."""
    total = 0

    def create(next_creator: Callable[..., Any], **arguments: Any) -> Any:
        nonlocal total
        size = math.prod(_shape_of(arguments["initial_value"]))
        total += size
        if size > _MAX_VARIABLE or total > _MAX_PARAMETERS:
            raise ValueError(
                f"more than {_MAX_PARAMETERS:,} parameters, or than"
                f" {_MAX_VARIABLE:,} in one variable"
            )
        return next_creator(**arguments)

    with tf.variable_creator_scope(create):
        yield


def _shape_of(initial_value: Any) -> tuple[int, ...]:
    """Returns the shape of a value that may not have been computed yet."""
    if not callable(initial_value):
        return tuple(tf.TensorShape(initial_value.shape).as_list())
    # Keras passes a closure over its variable, which knows the shape.
    for cell in getattr(initial_value, "__closure__", None) or ():
        if isinstance(cell.cell_contents, keras.Variable):
            return tuple(cell.cell_contents.shape)
    # Any other function is traced, not computed, which takes a millisecond.
    with tf.Graph().as_default():
        return tuple(initial_value().shape.as_list())


def _check_outputs(model: keras.Model) -> None:
    """Checks that no layer's output is larger than `_MAX_OUTPUTS` values."""
    for layer in model.layers:
        for output in keras.tree.flatten(layer.output):
            size = math.prod(side or 1 for side in output.shape)
            if size > _MAX_OUTPUTS:
                raise ValueError(
                    f"{layer.name} computes {size:,} numbers for an image,"
                    f" more than {_MAX_OUTPUTS:,}"
                )
        if hasattr(layer, "layers"):
            _check_outputs(layer)


def with_imagenet_rescaling(model: keras.Model) -> keras.Model:
    """Returns EfficientNet in the form that `weights="imagenet"` builds.

    Args:
      model: EfficientNetB0..B7 as `weights=None` builds it.

    Returns:
      A new model with fresh random weights and one more layer: a Rescaling
      between the normalization and the stem's padding.
    """
    config = copy.deepcopy(model.get_config())
    layers: list[dict[str, Any]] = config["layers"]
    at = next(
        index
        for index, layer in enumerate(layers)
        if layer["class_name"] == "Normalization"
    )
    rescaling = keras.layers.Rescaling(
        [1.0 / math.sqrt(std) for std in _IMAGENET_STD]
    )
    entry = keras.saving.serialize_keras_object(rescaling)
    entry["name"] = rescaling.name
    # Insert the new layer between its follower and the follower's input.
    follower = layers[at + 1]
    entry["inbound_nodes"] = copy.deepcopy(follower["inbound_nodes"])
    _rename_source(
        follower["inbound_nodes"], layers[at]["name"], rescaling.name
    )
    layers.insert(at + 1, entry)
    return type(model).from_config(config)


def _rename_source(node: Any, old: str, new: str) -> None:
    """Replaces a layer's name in every `keras_history` below `node`."""
    if isinstance(node, dict):
        history = node.get("keras_history")
        if history and history[0] == old:
            node["keras_history"] = [new, *history[1:]]
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            _rename_source(child, old, new)
