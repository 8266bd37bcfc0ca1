"""What the JSON files of a workdir must look like to be used.

A workdir may be damaged, or come from somebody else. Its files are checked
when they are read, so that no other code meets a value of the wrong type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trainer.config import Config
from trainer.config.fields import FIELDS
from trainer.errors import TrainerError, UsageError, untrusted

# Shapes: a type, a tuple of types, `[shape]` for a list, `{str: shape}` for an
# object of any names, and `{"name": shape}` for one with these, of which those
# that end in ? may be missing. Other names are never looked at.
Shape = Any
_NUMBER = (int, float)
_ANY = (str, int, float, bool, list, dict, type(None))
_STAGE_RESULT: Shape = {
    "stage": str,
    "epochs": int,
    "steps": int,
    "classes?": [str],
    "train_examples": int,
    "final_split": str,
    "test_loss": _NUMBER,
    "test_accuracy": _NUMBER,
    "test_top5_accuracy?": _NUMBER,
    "test_per_class_accuracy": {str: (int, float, type(None))},
    "validation_from_test": bool,
    "best_step": int,
    "best_validation_accuracy": _NUMBER,
    "total_params": int,
    "trainable_params": int,
    "train_seconds": _NUMBER,
    "earlier_stages?": [
        {
            "stage": str,
            "steps": int,
            "test_loss": _NUMBER,
            "test_accuracy": _NUMBER,
        }
    ],
    "metrics_position?": int,
}
SHAPES: Mapping[str, Shape] = {
    "config.json": {
        "config?": {"stage?": str, "dataset?": str, "backbone?": str},
        "runs?": {str: {str: _ANY}},
        "environment?": {str: _ANY},
        "trunks?": {str: {str: _ANY}},
    },
    "manifest.json": {
        "class_names": [str],
        "location?": str,
        "fingerprint?": str,
    },
    "backbone.json": {"architecture": str, "pixels?": str},
    "result.json": _STAGE_RESULT,
    "workdir.json": {"program": str},
}
# Of manifest.json, which has a line or two for each image.
MAX_BYTES = 1 << 30


def parse(name: str, data: bytes) -> dict[str, Any]:
    """Parses the content of a workdir's JSON file.

    Args:
      name: of the file, without its folder.
      data: its bytes.

    Raises:
      ValueError: it is no JSON object, or a value has the wrong type. Others
        may be raised too, such as RecursionError.
    """
    values = json.loads(data.decode("utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"holds a {type(values).__name__}, not an object")
    check_shape(values, SHAPES.get(name, {}))
    return values


def check_shape(value: Any, shape: Shape, where: str = "") -> None:
    """Checks a parsed JSON value.

    Args:
      value: what was parsed.
      shape: see `Shape`.
      where: the value's name, for the message.

    Raises:
      ValueError: a value has the wrong type, or one is missing.
    """
    if isinstance(shape, list):
        _check_type(value, list, where)
        for number, item in enumerate(value):
            check_shape(item, shape[0], f"{where}[{number}]")
    elif isinstance(shape, dict):
        _check_type(value, dict, where)
        if str in shape:
            for name, item in value.items():
                check_shape(item, shape[str], f"{where}.{name}")
            return
        for name, inner in shape.items():
            key = name.rstrip("?")
            if key in value:
                check_shape(value[key], inner, f"{where}.{key}")
            elif name == key:
                raise ValueError(f"{where}.{key} is missing".lstrip("."))
    else:
        _check_type(value, shape, where)


def _check_type(value: Any, types: Any, where: str) -> None:
    # To Python a bool is an int.
    wrong = isinstance(value, bool) and types in (int, _NUMBER)
    if wrong or not isinstance(value, types):
        raise ValueError(f"{where} is a {type(value).__name__}".lstrip("."))


_FIELD_TYPES: Mapping[str, Any] = {
    "str": str,
    "int": int,
    "float": _NUMBER,
    "bool": bool,
}


def stored_config(path: str, values: Mapping[str, Any]) -> Config:
    """Returns the configuration that config.json holds.

    The values pass the checks that flags pass. Unknown fields are left out.

    Args:
      path: of config.json, for the message.
      values: its `config`.

    Raises:
      TrainerError: a value has another type than its flag, or is not legal.
    """
    remedy = "restore the file, or use another workdir"
    with untrusted(path, remedy):
        for name in FIELDS.keys() & values.keys():
            kind, _, optional = str(FIELDS[name].type).partition(" | ")
            if not (values[name] is None and optional):
                _check_type(values[name], _FIELD_TYPES[kind], name)
        try:
            return Config.from_json(dict(values))
        except UsageError as error:
            raise TrainerError(f"{path}: {error}; {remedy}") from None
