"""The place of the frozen weights of a run.

A run stores them once, in `checkpoints/frozen/weights`. The checkpoints of its
stages leave them out.
"""

from __future__ import annotations

import os

from trainer.storage import files, paths

FOLDER, WHICH, NAME = "frozen", "weights", "ckpt-0"


def frozen_prefix(prefix: str) -> str | None:
    """Returns the prefix of the frozen weights that belong to a checkpoint.

    Args:
      prefix: the prefix of a stage's checkpoint, such as
        RUN/checkpoints/finetune/last/ckpt-240.

    Returns:
      RUN/checkpoints/frozen/weights/ckpt-0; None if there is no such file.
    """
    folder = paths.absolute(prefix)
    for _ in range(3):
        folder = os.path.dirname(folder)
    found = os.path.join(folder, FOLDER, WHICH, NAME)
    return found if files.is_file(f"{found}.index") else None
