"""Finds the image and the label among the features of a TFDS data set."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from trainer.data.tfds_builder import Builder

_IMAGE, _LABEL = "image", "label"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureKeys:
    """The features that a classifier is trained on.

    Attributes:
      image: name of the feature that holds the encoded image.
      label: name of the feature that holds the label.
      named: whether the label is a `ClassLabel`, which has the names of the
        classes; otherwise it is a whole number.
    """

    image: str
    label: str
    named: bool


class _UnusableError(Exception):
    """Raised with the reason why a data set cannot be used."""


def feature_keys(builder: Builder) -> FeatureKeys:
    """Returns the names of the image feature and of the label feature.

    They are the supervised keys. A data set without these may call its
    features `image` and `label`.

    Raises:
      TrainerError: the data set does not have one image and one label per
        example; the message says why.
    """
    try:
        features = _features(builder.info.features)
        image, label = _keys(builder.info.supervised_keys, features)
        _check_image(image, features[image])
        named = _is_named(label, features[label])
    except _UnusableError as reason:
        raise builder.error(
            f"not an image classification data set ({reason}); give one with"
            " an image and a class label per example"
        ) from None
    return FeatureKeys(image=image, label=label, named=named)


def _features(found: Any) -> dict[str, Any]:
    import tensorflow_datasets as tfds

    if not isinstance(found, tfds.features.FeaturesDict):
        raise _UnusableError("its examples have no features with names")
    return dict(found.items())


def _keys(keys: Any, features: dict[str, Any]) -> tuple[str, str]:
    """Returns the keys of the image and the label, which exist."""
    if keys is None:
        missing = [key for key in (_IMAGE, _LABEL) if key not in features]
        if missing:
            raise _UnusableError(
                "it has no supervised keys, and no feature is called"
                f" {' or '.join(map(repr, missing))}"
            )
        return _IMAGE, _LABEL
    if len(keys) != 2 or not all(isinstance(key, str) for key in keys):
        raise _UnusableError(
            f"its supervised keys are {keys}, not two features"
        )
    for key in keys:
        if key not in features:
            raise _UnusableError(
                f"its supervised keys are {keys}, and it has no feature {key!r}"
            )
    return keys[0], keys[1]


def _check_image(key: str, feature: Any) -> None:
    """Raises an error unless the feature is an image of 8 or 16 bits."""
    import tensorflow_datasets as tfds

    if isinstance(feature, tfds.features.Image):
        if feature.np_dtype in (np.uint8, np.uint16):
            return
        raise _UnusableError(
            f"the pixels of its feature {key!r} are"
            f" {np.dtype(feature.np_dtype).name}, not uint8 or uint16"
        )
    if _is_tensor(feature) and len(feature.shape) == 3:
        raise _UnusableError(
            f"its feature {key!r} holds pixels as a Tensor of shape"
            f" {feature.shape}, and only encoded images can be read, those of"
            " tfds.features.Image"
        )
    raise _UnusableError(f"its feature {key!r} is {_what(feature)}, no image")


def _is_named(key: str, feature: Any) -> bool:
    """Returns whether a label is a `ClassLabel`; a number is one too."""
    import tensorflow_datasets as tfds

    if isinstance(feature, tfds.features.ClassLabel):
        return True
    if _is_tensor(feature) and feature.shape == ():
        if feature.np_dtype == np.int64:
            return False
        raise _UnusableError(
            f"its feature {key!r} is {np.dtype(feature.np_dtype).name}, and a"
            " label is a ClassLabel or int64"
        )
    raise _UnusableError(
        f"its feature {key!r} is {_what(feature)}, no class label"
    )


def _is_tensor(feature: Any) -> bool:
    """Returns whether a feature is a plain tensor, not a derived class."""
    import tensorflow_datasets as tfds

    return type(feature) in (tfds.features.Tensor, tfds.features.Scalar)


def _what(feature: Any) -> str:
    """Returns the class of a feature, and the shape of a tensor."""
    name = type(feature).__name__
    if not _is_tensor(feature) or feature.shape == ():
        return f"a {name}"
    return f"a {name} of shape {feature.shape}"
