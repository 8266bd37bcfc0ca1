"""Audits a stage: checks that only the trainable variables have changed."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping

import keras
import numpy as np

from trainer.errors import TrainerError
from trainer.learning.steps import UNCONNECTED
from trainer.model.freeze import FreezePlan

_SHOWN_PROBLEMS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Audit:
    """The result of an audit.

    Attributes:
      frozen_unchanged: whether every frozen variable is bit-identical.
      trainable_changed: whether every variable with a gradient has changed, the
        loss depends on a variable of each layer, and some gradient was not 0.
      problems: one line per finding that fails the run.
      warnings: one line per variable whose gradients were missing, 0, or too
        small to change it.
    """

    frozen_unchanged: bool
    trainable_changed: bool
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def digest(variable: keras.Variable) -> str:
    """Returns a hash of the variable's value, 32 hexadecimal digits."""
    value = np.ascontiguousarray(variable.numpy())
    return hashlib.blake2b(value.tobytes(), digest_size=16).hexdigest()


def digests(variables: Mapping[str, keras.Variable]) -> dict[str, str]:
    """Returns the digest of each variable, by key."""
    return {key: digest(variable) for key, variable in variables.items()}


def audit(
    plan: FreezePlan,
    before: Mapping[str, str],
    variables: Mapping[str, keras.Variable],
    gradient_max: Mapping[str, float],
    *,
    move: Callable[[str, float], float],
) -> Audit:
    """Compares the variables with their values at the start of the stage.

    Args:
      plan: the trainable and the frozen variables of the stage.
      before: digests of all variables at the start of the stage, by key.
      variables: all variables with their current values, by key.
      gradient_max: the largest absolute entry of any gradient, by key of a
        trainable variable. 0 is expected after a dead ReLU. `UNCONNECTED`
        means that the loss does not depend on the variable, which is an error
        if it applies to a whole layer.
      move: a function of a trainable variable's key and of its largest
        gradient: about how far a step moves its largest entry.
    """
    after = digests(variables)
    changed = {key for key in before if before[key] != after[key]}
    thawed = [f"{key}: frozen, but has changed" for key in plan.frozen
              if key in changed]  # fmt: skip
    stuck, warnings = [], []
    for key in plan.trainable:
        largest = gradient_max[key]
        if largest == 0:
            warnings.append(f"{key}: its gradient was 0 in every step")
        if key in changed or largest <= 0:
            continue
        # Rounding may remove the change of a large entry.
        if move(key, largest) < np.spacing(
            np.abs(variables[key].numpy()).max()
        ):
            warnings.append(
                f"{key}: has not changed, because its gradients (at most"
                f" {largest:.1g}) are too small"
            )
        else:
            stuck.append(f"{key}: had a gradient, but has not changed")
    silent, unconnected = _unconnected(plan, gradient_max)
    warnings += unconnected
    if not silent and all(gradient_max[key] <= 0 for key in plan.trainable):
        silent.append("every gradient was 0, so nothing was trained")
    return Audit(
        frozen_unchanged=not thawed,
        trainable_changed=not (stuck or silent),
        problems=(*thawed, *stuck, *silent),
        warnings=tuple(warnings),
    )


def _unconnected(
    plan: FreezePlan, gradient_max: Mapping[str, float]
) -> tuple[list[str], list[str]]:
    """Returns problems and warnings about missing gradients.

    A layer without any gradient is a problem. A variable without a gradient is
    only a warning if another variable of its layer has one.
    """
    layers: dict[str, list[str]] = defaultdict(list)
    for key in plan.trainable:
        layers[key.rpartition("/")[0]].append(key)
    problems, warnings = [], []
    for layer, keys in layers.items():
        apart = [key for key in keys if gradient_max[key] == UNCONNECTED]
        if len(apart) == len(keys):
            problems.append(
                f"{layer}: trainable, but the loss does not depend on it"
            )
        else:
            warnings += [f"{key}: never had a gradient" for key in apart]
    return problems, warnings


def check_audit(found: Audit, *, stage: str, path: str) -> None:
    """Checks that an audit found no problems.

    Args:
      found: the audit.
      stage: the stage that was audited.
      path: the path of the workdir.

    Raises:
      TrainerError: there are problems; the message names the first three.
    """
    if not found.problems:
        return
    more = len(found.problems) - _SHOWN_PROBLEMS
    raise TrainerError(
        f"{path}: the audit of {stage} failed:"
        f" {'; '.join(found.problems[:_SHOWN_PROBLEMS])}"
        f"{f' (and {more} more)' if more > 0 else ''}; the weights are saved,"
        " but do not trust them"
    )
