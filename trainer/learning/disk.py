"""How much disk the checkpoints of a run take."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from trainer.config import Config, StageSpec
from trainer.config.fields import SGD
from trainer.learning.checkpoint_files import KEPT_IN_TRAINING
from trainer.learning.nonfinite import ROLLBACK
from trainer.model.freeze import FreezePlan
from trainer.storage import files

_FLOAT32_BYTES = 4
_MB = 1e6
# While a better checkpoint is written, the best one before it is still there.
_BEST = 2


def checkpoint_bytes(
    config: Config, stages: Sequence[tuple[StageSpec, FreezePlan]]
) -> int:
    """Returns the most bytes that the checkpoints of a run take together.

    The frozen weights are stored once. A checkpoint of training has the other
    weights, what the optimizer keeps for each, and their average; a best one
    has the weights only.

    Args:
      config: of the run.
      stages: each stage with its variables.
    """
    total = max(plan.total_params for _, plan in stages)
    slots = (1 if config.momentum else 0) if config.optimizer == SGD else 2
    copies = 1 + slots + (1 if config.ema else 0)
    kept = config.keep_checkpoints or KEPT_IN_TRAINING
    most, ended, changed = 0, 0, 0
    for spec, plan in stages:
        changed = max(changed, plan.trainable_params)
        # A new checkpoint is written before the oldest one is removed.
        last = copies * (1 if spec.solved else kept + 1)
        if config.on_nonfinite == ROLLBACK:
            last += 2 * copies
        most = max(most, ended + changed * (last + _BEST))
        ended += changed * (copies * (config.keep_checkpoints or 1) + _BEST)
    frozen = total - stages[0][1].trainable_params
    return _FLOAT32_BYTES * (frozen + max(most, ended))


def space_warning(need: int, workdir: str) -> str:
    """Returns a warning if the disk may be too full for a run, else "".

    Args:
      need: see `checkpoint_bytes`.
      workdir: an existing folder, or a URL, whose space is unknown.
    """
    if files.is_remote(workdir):
        return ""
    free = shutil.disk_usage(workdir).free
    if free >= need:
        return ""
    return (
        f"--workdir={workdir!r}: {free / _MB:.0f} MB are free, and the"
        f" checkpoints of the run may take {need / _MB:.0f} MB; free some"
        " space, give another folder, or give --keep_checkpoints=1"
    )


def disk_line(need: int) -> str:
    """Returns the line that says what the checkpoints take."""
    return f"disk: checkpoints take up to {max(need / _MB, 0.1):.1f} MB"
