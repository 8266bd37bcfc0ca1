"""The names of data sets that `--dataset` takes besides folders."""

from __future__ import annotations

import difflib
import re

from trainer.config.fields import DEMO

FOOD10 = "food10"
# The TFDS names of data sets that have another name here.
TFDS_NAMES = {FOOD10: "food101"}
FOOD10_CLASSES = (
    "chicken_curry",
    "chicken_wings",
    "fried_rice",
    "grilled_salmon",
    "hamburger",
    "ice_cream",
    "pizza",
    "ramen",
    "steak",
    "sushi",
)
_NAME = re.compile(r"([A-Za-z]\w*)(/[\w.-]+)?(:\d+\.\d+\.\d+)?")


def is_tfds_name(dataset: str) -> bool:
    """Returns whether TFDS has a data set of this name; ignores the config."""
    import tensorflow_datasets as tfds

    return base_name(dataset) in tfds.list_builders()


def base_name(name: str) -> str | None:
    """Returns NAME of `NAME`, `NAME/CONFIG` or `NAME:VERSION`; else None."""
    match = _NAME.fullmatch(name)
    return match and match[1]


def similar_names(dataset: str) -> list[str]:
    """Returns up to three names that may have been meant by a wrong one."""
    import tensorflow_datasets as tfds

    return difflib.get_close_matches(
        re.split("[/:]", dataset)[0],
        sorted({DEMO, FOOD10, *tfds.list_builders()}),
        n=3,
        cutoff=0.6,
    )
