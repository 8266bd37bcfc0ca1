"""The thresholds of a trained run in which an image may have several labels."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import numpy as np

from trainer.errors import one_line, untrusted
from trainer.learning.start import result_checkpoint, stage_marker
from trainer.results.thresholds import DEFAULT_THRESHOLD
from trainer.run.trained import Trained
from trainer.workdir import Workdir


def trained_thresholds(trained: Trained) -> np.ndarray:
    """Returns the threshold of each class, if an image may have several labels.

    They are those of the result of the stage. A warning says so if the
    checkpoint is another one; for an unfinished stage, they are 0.5.

    Returns:
      float32 (classes,).

    Raises:
      TrainerError: the stored thresholds are damaged.
    """
    workdir, names = trained.workdir, trained.class_names
    found = stored_thresholds(workdir, trained.stage, names)
    if found is None:
        _warn(
            f"{trained.stage} is not finished, so the thresholds of all classes"
            f" are {DEFAULT_THRESHOLD}"
        )
        return np.full(len(names), DEFAULT_THRESHOLD, np.float32)
    if trained.which != result_checkpoint(workdir, trained.stage):
        _warn(
            f"--checkpoint={trained.which} is not the checkpoint of the run's"
            " result, for which the thresholds were chosen"
        )
    return found


def stored_thresholds(
    workdir: Workdir, stage: str, class_names: Sequence[str]
) -> np.ndarray | None:
    """Returns the thresholds of a finished stage.

    Args:
      workdir: the workdir of the run.
      stage: the name of the stage.
      class_names: in the order of the logits.

    Returns:
      float32 (classes,); None if the stage is not finished.

    Raises:
      TrainerError: the stored thresholds are damaged.
    """
    marker = workdir.read_json(stage_marker(stage))
    if marker is None:
        return None
    path = workdir.file(stage_marker(stage))
    with untrusted(path, "restore the file, or use another workdir"):
        stored = marker["thresholds"]
        if not isinstance(stored, Mapping) or set(stored) != set(class_names):
            raise ValueError("thresholds are not those of the classes")
        found = np.array([stored[name] for name in class_names], np.float32)
        if not ((found >= 0) & (found <= 1)).all():
            raise ValueError("a threshold is not in [0, 1]")
    return found


def _warn(text: str) -> None:
    """Prints a warning; standard output may be a CSV file."""
    print(f"warning: {one_line(text)}", file=sys.stderr)
