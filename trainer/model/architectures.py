"""Architectures as data: to JSON and back, and the form Keras hides.

`EfficientNetB0..B7(weights="imagenet")` has one layer more than the same
constructor with `weights=None`: a rescaling by 1/sqrt(std) behind the
normalization. Weights of the two forms fit each other and give other
features, so the form is part of the architecture and is built without
any download.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import keras

# Keras's own figures: the ImageNet channels' standard deviations, RGB.
_IMAGENET_STD = (0.229, 0.224, 0.225)


def architecture_json(model: keras.Model) -> str:
    """The model's architecture without weights, as JSON.

    The dtype policy of each layer is part of it.
    """
    return model.to_json()


def model_from_architecture(text: str) -> keras.Model:
    """A model with fresh random weights from `architecture_json`'s text.

    Layer names and their order are those of the text. Variable *paths* may
    not be: a constructor's name scopes (NASNet, ConvNeXt) are not stored.

    Raises:
      ValueError: the text is no architecture, or holds Python code.
    """
    return keras.models.model_from_json(text)


def with_imagenet_rescaling(model: keras.Model) -> keras.Model:
    """EfficientNet in the form that `weights="imagenet"` builds.

    Args:
      model: EfficientNetB0..B7 as `weights=None` builds it.

    Returns:
      A new model with one Rescaling layer more, between the normalization
      and the stem's padding, and with fresh random weights.
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
    # The new layer reads what its follower read, and the follower reads it.
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
