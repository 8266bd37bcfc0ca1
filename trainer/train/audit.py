"""The audit at the end of a stage: frozen means frozen, trained means moved."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Mapping

import keras
import numpy as np

from trainer.model.freeze import FreezePlan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Audit:
    """What the audit found.

    Attributes:
      frozen_unchanged: every frozen variable is bit-identical.
      trainable_changed: every variable that had a gradient has moved, and no
        layer went without gradients altogether.
      problems: a line for each thing that fails the run.
      warnings: a line for each variable that never had a gradient.
    """

    frozen_unchanged: bool
    trainable_changed: bool
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def digest(variable: keras.Variable) -> str:
    """32 hex digits of the variable's bytes."""
    value = np.ascontiguousarray(variable.numpy())
    return hashlib.blake2b(value.tobytes(), digest_size=16).hexdigest()


def digests(variables: Mapping[str, keras.Variable]) -> dict[str, str]:
    """The digest of each variable, by key."""
    return {key: digest(variable) for key, variable in variables.items()}


def audit(
    plan: FreezePlan,
    before: Mapping[str, str],
    after: Mapping[str, str],
    gradient_seen: Mapping[str, bool],
) -> Audit:
    """Compares the variables with what they were when the stage began.

    Args:
      plan: what the stage was to train.
      before: digest by key at the start of the stage.
      after: digest by key now.
      gradient_seen: whether a trainable key ever had a non-zero gradient.
    """
    changed = {key for key in before if before[key] != after[key]}
    thawed = [f"{key}: frozen, and has changed" for key in plan.frozen
              if key in changed]  # fmt: skip
    stuck = [
        f"{key}: had a gradient, and has not moved"
        for key in plan.trainable
        if gradient_seen[key] and key not in changed
    ]
    layers: dict[str, list[str]] = defaultdict(list)
    for key in plan.trainable:
        layers[key.rpartition("/")[0]].append(key)
    silent, warnings = [], []
    for layer, keys in layers.items():
        without = [key for key in keys if not gradient_seen[key]]
        if len(without) == len(keys):
            silent.append(f"{layer}: trainable, and never had a gradient")
        else:
            warnings += [f"{key}: never had a gradient" for key in without]
    return Audit(
        frozen_unchanged=not thawed,
        trainable_changed=not (stuck or silent),
        problems=(*thawed, *stuck, *silent),
        warnings=tuple(warnings),
    )
