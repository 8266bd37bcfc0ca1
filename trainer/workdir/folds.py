"""The folders of a k-fold run: one workdir per fold, in one folder.

folds.json       the metrics of each fold, their means and deviations
out_of_fold.csv  the prediction for each training sample, by the fold's run
                 that did not train on it
fold-N/          the workdir of the run that is validated on fold N
"""

from __future__ import annotations

import os
import re

from trainer.errors import UsageError
from trainer.storage import files
from trainer.workdir.workdir import Workdir

FOLDS_JSON = "folds.json"
_FOLDER = re.compile(r"fold-([1-9]\d{0,8})")


def fold_workdir(path: str, fold: int) -> str:
    """Returns the workdir of a fold, numbered from 1, in that of all folds."""
    return os.path.join(path, f"fold-{fold}")


def check_no_folds(workdir: Workdir, flag: str) -> None:
    """Checks that a workdir is of one run, not of the folds of several.

    Args:
      workdir: the workdir; it need not exist.
      flag: the flag that names it, for the message.

    Raises:
      UsageError: the workdir holds folds; the message names them.
    """
    numbers = sorted(
        int(found[1])
        for name in files.names(workdir.path)
        if (found := _FOLDER.fullmatch(name))
        and files.is_dir(workdir.file(name))
    )
    if not numbers:
        return
    first = fold_workdir(workdir.path, numbers[0])
    folders = f"{first!r}"
    if len(numbers) > 1:
        folders += f" to {fold_workdir(workdir.path, numbers[-1])!r}"
    raise UsageError(
        f"--{flag}={workdir.path!r}: holds the folds of a k-fold run, each a"
        f" workdir of its own; give one of them, {folders}"
    )
