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
      image_shape: (height, width, channels) if it holds pixels as numbers.
      label: name of the feature that holds the label.
      named: whether the label is a `ClassLabel`, which has the names of the
        classes; otherwise it is a whole number.
    """

    image: str
    label: str
    named: bool
    image_shape: tuple[int, int, int] | None = None


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
        shape = _image_shape(image, features[image])
        named = _is_named(label, features[label])
    except _UnusableError as reason:
        raise builder.error(
            f"not an image classification data set ({reason}); give one with"
            " an image and a class label per example"
        ) from None
    return FeatureKeys(image=image, label=label, named=named, image_shape=shape)


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


def _image_shape(key: str, feature: Any) -> tuple[int, int, int] | None:
    """Returns the shape of an image whose records hold numbers, else None.

    Raises:
      _UnusableError: the feature is no image of 8 or 16 bits.
    """
    import tensorflow_datasets as tfds

    if isinstance(feature, tfds.features.Image):
        if feature.np_dtype in (np.uint8, np.uint16):
            return None
        raise _UnusableError(
            f"the pixels of its feature {key!r} are"
            f" {np.dtype(feature.np_dtype).name}, not uint8 or uint16"
        )
    if _is_tensor(feature) and len(feature.shape) == 3:
        return _shape_of_pixels(key, feature)
    raise _UnusableError(
        f"its feature {key!r} is {_what(feature)}, not an image"
    )


def _shape_of_pixels(key: str, feature: Any) -> tuple[int, int, int]:
    """Returns the shape of a Tensor of pixels.

    Raises:
      _UnusableError: they are not uint8 of a fixed shape, or are compressed.
    """
    height, width, channels = feature.shape
    legal = height and width and channels in (1, 3)
    name = np.dtype(feature.np_dtype).name
    # TFDS has no public name for it. The default writes numbers.
    encoding = getattr(feature, "_encoding", None)
    encoding = getattr(encoding, "value", encoding)
    if not legal or name != "uint8" or encoding not in (None, "none"):
        how = "" if encoding in (None, "none") else f" encoded as {encoding}"
        raise _UnusableError(
            f"its feature {key!r} is a Tensor of {name} of shape"
            f" {feature.shape}{how}, and pixels in a Tensor are uint8 of a"
            " fixed shape with 1 or 3 channels, without encoding"
        )
    return height, width, channels


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
        f"its feature {key!r} is {_what(feature)}, not a class label"
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
