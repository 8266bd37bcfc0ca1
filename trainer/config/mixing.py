"""Parses `--mix`, which sets how pairs of images of a batch are mixed."""

from __future__ import annotations

import dataclasses
import math

from trainer.config.fields import OFF
from trainer.errors import UsageError

MIXUP, CUTMIX = "mixup", "cutmix"
_LEAST, _LARGEST = 0.001, 1000.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixing:
    """A parsed --mix.

    Attributes:
      method: mixup or cutmix.
      alpha: the parameter A of Beta(A, A), from which weights are drawn.
    """

    method: str
    alpha: float


def parse_mix(text: str) -> Mixing | None:
    """Returns the parsed value of `--mix`; None for off.

    Raises:
      UsageError: the value is not `off`, `mixup:A` or `cutmix:A`, or A is out
        of range.
    """
    if text == OFF:
        return None
    method, _, number = text.partition(":")
    try:
        alpha = float(number)
    except ValueError:
        alpha = math.nan
    if method not in (MIXUP, CUTMIX) or not _LEAST <= alpha <= _LARGEST:
        raise UsageError(
            f"--mix={text[:40]!r}: must be off, {MIXUP}:A or {CUTMIX}:A with a"
            f" number A from {_LEAST:g} to {_LARGEST:g}; give {MIXUP}:0.2"
            f" or {CUTMIX}:1"
        )
    return Mixing(method=method, alpha=alpha)
