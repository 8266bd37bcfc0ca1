"""The checkpoint files of a stage: finds complete ones, removes partial ones.

TensorFlow writes the data to a folder `ckpt-STEP_temp`, moves it to
`ckpt-STEP.data-*`, and then writes `ckpt-STEP.index` sequentially. When it
removes a checkpoint, it removes the index first. So a checkpoint is complete if
its index is complete.
"""

from __future__ import annotations

import os
import re

from trainer.errors import untrusted
from trainer.model.weights.checkpoint_index import INDEX_END
from trainer.storage import files
from trainer.workdir import Workdir

PREFIX = "ckpt"
LAST, BEST, EPOCH = "last", "best", "epoch"
# Without --keep_checkpoints, while a stage trains. If the latest checkpoint is
# damaged, the one before it is used.
KEPT_IN_TRAINING = 3
_INDEX = re.compile(r"ckpt-\d+\.index")
_PART = re.compile(r"(ckpt-\d+)(\.index|\.data-.*)")
_TEMPORARY = re.compile(r"ckpt-\d+_temp|checkpoint\.tmp.*")


def find_checkpoints(workdir: Workdir, stage: str, which: str) -> list[str]:
    """Returns the prefixes of a stage's complete checkpoints, latest first.

    It lists the folder, because TensorFlow's own list of checkpoints may be
    missing or outdated. Checkpoints with a truncated index are skipped.

    Args:
      workdir: the workdir of the run.
      stage: the name of the stage.
      which: last, best or epoch.

    Raises:
      TrainerError: an index cannot be read.
    """
    folder = workdir.checkpoints(stage, which)
    found = [
        os.path.join(folder, name.removesuffix(".index"))
        for name in files.names(folder)
        if _INDEX.fullmatch(name) and is_whole(os.path.join(folder, name))
    ]
    return sorted(found, key=checkpoint_step, reverse=True)


def find_checkpoint(workdir: Workdir, stage: str, which: str) -> str | None:
    """Returns the prefix of a stage's latest complete checkpoint, or None."""
    found = find_checkpoints(workdir, stage, which)
    return found[0] if found else None


def remove_checkpoint(path: str) -> None:
    """Removes a checkpoint's files, the index first."""
    files.remove(f"{path}.index")
    folder, prefix = os.path.split(path)
    for name in files.names(folder):
        if name.startswith(f"{prefix}.data-"):
            files.remove(os.path.join(folder, name))


def keep_only_last(workdir: Workdir, stage: str) -> None:
    """Removes all latest checkpoints of a stage but the last.

    Args:
      workdir: the workdir of the run; only a process that writes calls this.
      stage: the name of the finished stage.
    """
    for path in find_checkpoints(workdir, stage, LAST)[1:]:
        remove_checkpoint(path)


def checkpoint_step(path: str) -> int:
    """Returns the absolute step in a checkpoint's name."""
    return int(os.path.basename(path).rpartition("-")[2])


def remove_unfinished(workdir: Workdir, stage: str) -> list[str]:
    """Removes the files of incomplete checkpoints, which a kill can leave.

    Returns:
      The prefixes of the checkpoints that had a truncated index.
    """
    truncated = []
    for which in (LAST, BEST, EPOCH):
        folder = workdir.checkpoints(stage, which)
        whole = set(find_checkpoints(workdir, stage, which))
        for name in files.names(folder):
            path, part = os.path.join(folder, name), _PART.fullmatch(name)
            prefix = os.path.join(folder, part[1]) if part else None
            if _TEMPORARY.fullmatch(name) and files.is_dir(path):
                files.remove_tree(path)
            elif files.is_dir(path):
                continue
            elif _TEMPORARY.fullmatch(name):
                files.remove(path)
            elif prefix and prefix not in whole:
                files.remove(path)
                if path == f"{prefix}.index":
                    truncated.append(prefix)
    return sorted(truncated)


def is_whole(index: str) -> bool:
    """Returns whether an index file exists and is not truncated."""
    # Reading a pipe would block.
    if not files.is_file(index):
        return False
    with untrusted(index, "make it readable, or remove it"):
        try:
            return files.read_end(index, len(INDEX_END)) == INDEX_END
        except FileNotFoundError:
            # A running training has removed it since the folder was listed.
            return False
