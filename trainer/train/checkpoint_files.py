"""The checkpoint files of a stage: which are whole, and what a kill leaves.

TensorFlow writes the data into a folder `ckpt-STEP_temp`, moves them to
`ckpt-STEP.data-*`, and then writes `ckpt-STEP.index` from its beginning to its
end. It removes the index first. So a checkpoint is whole where its index is.
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
_INDEX = re.compile(r"ckpt-\d+\.index")
_PART = re.compile(r"(ckpt-\d+)(\.index|\.data-.*)")
_TEMPORARY = re.compile(r"ckpt-\d+_temp|checkpoint\.tmp.*")


def find_checkpoints(workdir: Workdir, stage: str, kind: str) -> list[str]:
    """Prefixes of a stage's checkpoints of one kind, the latest first.

    By the files themselves: an index is written when all else is there, and
    the list that TensorFlow keeps beside them may be lost or outdated. One
    whose index a kill cut short is none.

    Raises:
      TrainerError: an index cannot be read.
    """
    folder = workdir.checkpoints(stage, kind)
    found = [
        os.path.join(folder, name.removesuffix(".index"))
        for name in files.names(folder)
        if _INDEX.fullmatch(name) and _is_whole(os.path.join(folder, name))
    ]
    return sorted(found, key=checkpoint_step, reverse=True)


def find_checkpoint(workdir: Workdir, stage: str, kind: str) -> str | None:
    """The prefix of a stage's latest or best checkpoint, if it has one."""
    found = find_checkpoints(workdir, stage, kind)
    return found[0] if found else None


def remove_checkpoint(path: str) -> None:
    """Removes a checkpoint's files, the index first."""
    files.remove(f"{path}.index")
    folder, prefix = os.path.split(path)
    for name in files.names(folder):
        if name.startswith(f"{prefix}.data-"):
            files.remove(os.path.join(folder, name))


def checkpoint_step(path: str) -> int:
    """The absolute step in a checkpoint's name."""
    return int(os.path.basename(path).rpartition("-")[2])


def remove_unfinished(workdir: Workdir, stage: str) -> list[str]:
    """Removes what a kill left of checkpoints that are not whole.

    Returns:
      The prefixes of those that had an index, which was cut short.
    """
    cut = []
    for kind in (LAST, BEST, EPOCH):
        folder = workdir.checkpoints(stage, kind)
        whole = set(find_checkpoints(workdir, stage, kind))
        for name in files.names(folder):
            path, part = os.path.join(folder, name), _PART.fullmatch(name)
            prefix = os.path.join(folder, part[1]) if part else None
            if _TEMPORARY.fullmatch(name) and files.is_dir(path):
                files.remove_tree(path)
            elif files.is_dir(path):
                continue
            elif _TEMPORARY.fullmatch(name) or (prefix and prefix not in whole):
                files.remove(path)
                cut += [prefix] * (path == f"{prefix}.index")
    return sorted(filter(None, cut))


def _is_whole(index: str) -> bool:
    # A pipe would wait for a writer.
    if not files.is_file(index):
        return False
    with untrusted(index, "make it readable, or remove it"):
        try:
            return files.read_end(index, len(INDEX_END)) == INDEX_END
        except FileNotFoundError:
            # Its run has removed it since the folder was listed.
            return False
