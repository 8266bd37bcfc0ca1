"""The audit at the end of a stage: frozen means frozen, trained means moved."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Mapping

import keras
import numpy as np

from trainer.model.freeze import FreezePlan
from trainer.train.steps import UNCONNECTED


@dataclasses.dataclass(frozen=True, kw_only=True)
class Audit:
    """What the audit found.

    Attributes:
      frozen_unchanged: every frozen variable is bit-identical.
      trainable_changed: every variable that had a gradient has moved, the
        loss depends on some variable of each layer, and there was a gradient
        at all.
      problems: a line for each thing that fails the run.
      warnings: a line for each variable that never had a gradient, or that
        had one too small to move it.
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
    variables: Mapping[str, keras.Variable],
    gradient_max: Mapping[str, float],
    *,
    learning_rate: float,
    epsilon: float,
) -> Audit:
    """Compares the variables with what they were when the stage began.

    Args:
      plan: what the stage was to train.
      before: digest by key at the start of the stage.
      variables: as they are now, by key.
      gradient_max: the largest absolute entry of any gradient, by trainable
        key; 0 where all were 0, which is right behind a ReLU that is dead,
        and `UNCONNECTED` where the loss does not depend on the variable, which
        is right nowhere.
      learning_rate: Adam's.
      epsilon: Adam's.
    """
    after = digests(variables)
    changed = {key for key in before if before[key] != after[key]}
    thawed = [f"{key}: frozen, and has changed" for key in plan.frozen
              if key in changed]  # fmt: skip
    stuck, silent, warnings = [], [], []
    layers: dict[str, list[str]] = defaultdict(list)
    for key in plan.trainable:
        layers[key.rpartition("/")[0]].append(key)
        largest = gradient_max[key]
        if largest == 0:
            warnings.append(f"{key}: its gradient was 0 in every step")
        if key in changed or largest <= 0:
            continue
        # Adam moves an entry by about this much, which a large entry may
        # swallow in rounding.
        move = learning_rate * largest / (largest + epsilon)
        if move < np.spacing(np.abs(variables[key].numpy()).max()):
            warnings.append(
                f"{key}: has not moved, its gradients (at most {largest:.1g})"
                " being too small"
            )
        else:
            stuck.append(f"{key}: had a gradient, and has not moved")
    for layer, keys in layers.items():
        apart = [key for key in keys if gradient_max[key] == UNCONNECTED]
        if len(apart) == len(keys):
            silent.append(
                f"{layer}: trainable, and the loss does not depend on it"
            )
        else:
            warnings += [f"{key}: never had a gradient" for key in apart]
    if not silent and all(gradient_max[key] <= 0 for key in plan.trainable):
        silent.append("every gradient was 0, so nothing was trained")
    return Audit(
        frozen_unchanged=not thawed,
        trainable_changed=not (stuck or silent),
        problems=(*thawed, *stuck, *silent),
        warnings=tuple(warnings),
    )
