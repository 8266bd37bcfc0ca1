"""The features.json of data sets that TFDS has prepared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CORE = "tensorflow_datasets.core.features"
IMAGE = f"{CORE}.image_feature.Image"
LABEL = f"{CORE}.class_label_feature.ClassLabel"
DICT = f"{CORE}.features_dict.FeaturesDict"
EVIL = "evil_features.Evil"


def legacy(name: str, content: Any) -> dict[str, Any]:
    """Returns a feature as TFDS wrote it before 4.3."""
    return {"type": name, "content": content}


LEGACY = legacy(
    DICT,
    {
        "image": legacy(
            IMAGE,
            {
                "shape": [None, None, 3],
                "dtype": "uint8",
                "encoding_format": "png",
            },
        ),
        "label": legacy(LABEL, {"num_classes": 3}),
    },
)


def with_feature(name: str, feature: Any) -> Callable[[Any], Any]:
    """Returns a function that adds or replaces a feature."""

    def change(features: Any) -> Any:
        features["featuresDict"]["features"][name] = feature
        return features

    return change


BESIDE = {
    "sequence of text": {
        "pythonClassName": f"{CORE}.sequence_feature.Sequence",
        "sequence": {
            "feature": {
                "pythonClassName": f"{CORE}.text_feature.Text",
                "text": {},
            },
            "length": "-1",
        },
    },
    "tensor under its old name": {
        "pythonClassName": f"{CORE}.feature.Tensor",
        "tensor": {"shape": {}, "dtype": "int64", "encoding": "none"},
    },
    "dictionary": {
        "pythonClassName": DICT,
        "featuresDict": {
            "features": {
                # The name of a feature may be one of the checked keys.
                "type": {
                    "pythonClassName": f"{CORE}.scalar.Scalar",
                    "tensor": {"dtype": "int64"},
                },
            }
        },
    },
}
