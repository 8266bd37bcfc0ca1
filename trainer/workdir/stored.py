"""Checks the JSON files of a workdir when they are read.

A workdir may be damaged or come from another person. After these checks, all
values have the right type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from trainer.config import Config
from trainer.config.fields import FIELDS, MULTILABEL
from trainer.errors import TrainerError, UsageError, untrusted

# A shape is a type, a tuple of types, `[shape]` for a list, `{str: shape}` for
# an object with any names, or `{"name": shape}` for an object with these names.
# A name that ends in "?" may be missing. Other names are ignored.
Shape = Any
_NUMBER = (int, float)
_OPTIONAL_NUMBER = (int, float, type(None))
_ANY = (str, int, float, bool, list, dict, type(None))
_EARLY_STOP: Shape = {
    "reason": str,
    "epoch": int,
    "mid_epoch": bool,
    "epochs": int,
    "limit": _NUMBER,
}
_CALIBRATION: Shape = {
    "temperature": _NUMBER,
    "examples?": int,
    "loss_before?": _OPTIONAL_NUMBER,
    "loss_after?": _OPTIONAL_NUMBER,
    "why_not?": str,
}
_BINS: Shape = [
    {
        "from": _NUMBER,
        "examples": int,
        "confidence": _NUMBER,
        "accuracy": _NUMBER,
    }
]
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
    "test_examples?": int,
    "test_balanced_accuracy?": _NUMBER,
    "test_macro_precision?": _NUMBER,
    "test_macro_recall?": _NUMBER,
    "test_macro_f1?": _NUMBER,
    "test_weighted_precision?": _NUMBER,
    "test_weighted_recall?": _NUMBER,
    "test_weighted_f1?": _NUMBER,
    "test_average_precision?": _OPTIONAL_NUMBER,
    "test_roc_auc?": _OPTIONAL_NUMBER,
    "test_ece?": _NUMBER,
    "test_ece_calibrated?": _NUMBER,
    "test_loss_calibrated?": _NUMBER,
    "test_aurc?": _NUMBER,
    "test_reliability?": _BINS,
    "test_reliability_calibrated?": _BINS,
    "test_coverage_risk?": [{"coverage": _NUMBER, "risk": _NUMBER}],
    "calibration?": _CALIBRATION,
    "test_per_class_accuracy": {str: _OPTIONAL_NUMBER},
    "test_per_class_support?": {str: int},
    "test_per_class_precision?": {str: _OPTIONAL_NUMBER},
    "test_per_class_f1?": {str: _OPTIONAL_NUMBER},
    "test_per_class_average_precision?": {str: _OPTIONAL_NUMBER},
    "test_per_class_roc_auc?": {str: _OPTIONAL_NUMBER},
    "validation_examples?": int,
    "validation_from_test": bool,
    "validation_source?": str,
    "best_step": int,
    "monitor?": str,
    "best_monitor_value?": _NUMBER,
    "result_checkpoint?": str,
    "result_step?": int,
    "stopped_early?": _EARLY_STOP,
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
            "test_examples?": int,
            "stopped_early?": _EARLY_STOP,
        }
    ],
    "soup?": [{"accepted": bool}],
    "metrics_position?": int,
}
_BY_CLASS: Shape = {str: _OPTIONAL_NUMBER}
# The result if an image may have several labels.
_LABELS_RESULT: Shape = {
    **{k: v for k, v in _STAGE_RESULT.items() if "accuracy" not in k},
    "test_examples": int,
    "test_map": _OPTIONAL_NUMBER,
    "test_map_classes": int,
    "test_micro_f1": _OPTIONAL_NUMBER,
    "test_macro_f1": _OPTIONAL_NUMBER,
    "test_exact_match": _NUMBER,
    "test_per_class_average_precision": _BY_CLASS,
    "test_per_class_support": {str: int},
    "test_per_class_precision": _BY_CLASS,
    "test_per_class_recall": _BY_CLASS,
    "test_per_class_f1": _BY_CLASS,
    "thresholds": {str: _NUMBER},
    "monitor": str,
    "best_validation_map": _NUMBER,
    "best_validation_loss": _NUMBER,
    "earlier_stages?": [
        {
            "stage": str,
            "steps": int,
            "test_loss": _NUMBER,
            "test_examples": int,
            "test_map?": _OPTIONAL_NUMBER,
            "test_micro_f1?": _OPTIONAL_NUMBER,
            "stopped_early?": _EARLY_STOP,
        }
    ],
}
SHAPES: Mapping[str, Shape] = {
    "config.json": {
        "config?": {"stage?": str, "dataset?": str, "backbone?": str},
        "runs?": {str: {str: _ANY}},
        "environment?": {str: _ANY},
        "trunks?": {str: {str: _ANY}},
        "soup?": {"workdirs": [str], "steps": [int]},
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
# The test samples in manifest.json. Training ignores what is malformed there.
_TESTED_SPLIT: Shape = {"ids": [str], "labels": [(int, list)], "digests": [str]}
# Enough for manifest.json, the largest file, with one or two lines per image.
MAX_BYTES = 1 << 30


def parse(name: str, data: bytes) -> dict[str, Any]:
    """Parses the content of a workdir's JSON file.

    Args:
      name: the name of the file, without its folder.
      data: the bytes of the file.

    Raises:
      ValueError: the content is not a JSON object, or a value has the wrong
        type.
      Exception: any other error of the parser, such as RecursionError.
    """
    values = json.loads(data.decode("utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"holds a {type(values).__name__}, not an object")
    shape = SHAPES.get(name, {})
    if shape is _STAGE_RESULT and values.get("task") == MULTILABEL:
        shape = _LABELS_RESULT
    check_shape(values, shape)
    return values


def check_shape(value: Any, shape: Shape, where: str = "") -> None:
    """Checks a parsed JSON value.

    Args:
      value: the parsed value.
      shape: see `Shape`.
      where: the name of the value, for the message.

    Raises:
      ValueError: a value has the wrong type or is missing.
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
    # A bool is an instance of int.
    wrong = isinstance(value, bool) and types in (int, _NUMBER)
    if wrong or not isinstance(value, types):
        raise ValueError(f"{where} is a {type(value).__name__}".lstrip("."))


class TestedSample(NamedTuple):
    """A test sample of a run.

    Attributes:
      label: its class, or the list of its classes.
      digest: of its encoded image.
    """

    label: int | list[int]
    digest: str


def tested_samples(
    path: str, manifest: Mapping[str, Any], final_split: str
) -> dict[str, TestedSample]:
    """Returns the test samples in a manifest, by id.

    Args:
      path: the path of manifest.json, for the message.
      manifest: its content.
      final_split: the split that the run is tested on.

    Raises:
      TrainerError: they are missing or malformed.
    """
    with untrusted(path, "restore the file, or use another workdir"):
        splits = manifest.get("splits", {})
        check_shape({"splits": splits}, {"splits": {str: _ANY}})
        if final_split not in splits:
            raise ValueError(f"splits.{final_split} is missing")
        columns = splits[final_split]
        check_shape(columns, _TESTED_SPLIT, f"splits.{final_split}")
        lengths = {len(columns[name]) for name in _TESTED_SPLIT}
        ids = set(columns["ids"])
        if not ids or lengths != {len(ids)}:
            raise ValueError(
                f"splits.{final_split} is empty, has an id twice, or has"
                " columns of unequal length"
            )
        samples = map(TestedSample, columns["labels"], columns["digests"])
        return dict(zip(columns["ids"], samples, strict=True))


_FIELD_TYPES: Mapping[str, Any] = {
    "str": str,
    "int": int,
    "float": _NUMBER,
    "bool": bool,
}


def stored_config(path: str, values: Mapping[str, Any]) -> Config:
    """Returns the configuration in config.json.

    Its values are checked in the same way as flags. Unknown fields are ignored.

    Args:
      path: the path of config.json, for the message.
      values: the object `config` in that file.

    Raises:
      TrainerError: a value is illegal or has the wrong type.
    """
    remedy = "restore the file, or use another workdir"
    with untrusted(path, remedy):
        for name in FIELDS.keys() & values.keys():
            type_name, _, optional = str(FIELDS[name].type).partition(" | ")
            if not (values[name] is None and optional):
                _check_type(values[name], _FIELD_TYPES[type_name], name)
        try:
            return Config.from_json(dict(values))
        except UsageError as error:
            raise TrainerError(f"{path}: {error}; {remedy}") from None
