"""The weight of each class in the training loss."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from trainer.config.fields import BALANCED, NONE
from trainer.data.samples import Samples
from trainer.errors import UsageError, shortened, untrusted
from trainer.storage import files

_MAX_BYTES = 1 << 24
# A float32 can hold all of them and their products with a loss.
_LOWEST, _HIGHEST = 1e-6, 1e6
_FORM = 'give a JSON object such as {"pizza": 1, "sushi": 2.5}'


def read_class_weights(setting: str) -> dict[str, float]:
    """Returns the content of a file of class weights.

    Args:
      setting: the value of --class_weights; none and balanced name no file.

    Raises:
      TrainerError: the file cannot be read.
      UsageError: it is not an object of numbers in the legal range.
    """
    if setting in (NONE, BALANCED):
        return {}
    label = f"--class_weights={setting!r}"
    with untrusted(label, f"{_FORM}, or none, or balanced"):
        if files.stat(setting).st_size > _MAX_BYTES:
            raise ValueError("too large")
        found = json.loads(files.read(setting).decode())
        if not isinstance(found, dict):
            raise ValueError("not an object")
    for name, value in found.items():
        number = isinstance(value, (int, float)) and value is not True
        if not number or not _LOWEST <= value <= _HIGHEST:
            raise UsageError(
                f"{label}: the weight of class {shortened(repr(name))} is"
                f" {shortened(repr(value))}; legal are numbers from"
                f" {_LOWEST:g} to {_HIGHEST:g}; {_FORM}"
            )
    return {name: float(value) for name, value in found.items()}


def class_weights(
    setting: str, samples: Samples, class_names: Sequence[str]
) -> tuple[float, ...]:
    """Returns the weight of each class, in the order of the labels.

    Balanced weights are n / (classes * n_c), as in scikit-learn, so that each
    class counts the same and the mean over the samples is 1.

    Args:
      setting: the value of --class_weights.
      samples: the training subset.
      class_names: the names of the classes.

    Returns:
      Nothing if all weights are 1.

    Raises:
      UsageError: the file lacks a class, or has one that the data has not.
      TrainerError: the file cannot be read.
    """
    if setting == NONE:
        return ()
    if setting == BALANCED:
        counts = samples.counts(len(class_names))
        present = np.count_nonzero(counts)
        # A class without samples has no loss either.
        weights = len(samples) / (present * np.maximum(counts, 1))
        return tuple(float(weight) for weight in weights)
    found = read_class_weights(setting)
    for names, others, what in (
        (class_names, found, "has no weight for"),
        (found, class_names, "names"),
    ):
        odd = [name for name in names if name not in others]
        if odd:
            tail = ", which the data has not" if what == "names" else ""
            raise UsageError(
                f"--class_weights={setting!r}: {what} class"
                f" {shortened(repr(odd[0]))}{tail}; the classes are"
                f" {shortened(', '.join(class_names))}; give each one weight"
            )
    return tuple(found[name] for name in class_names)
