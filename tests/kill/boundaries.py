"""Named instants between two writes, at which a run kills itself.

Random kills rarely hit such short instants. The child finds each instant by the
function call that writes. TensorFlow writes checkpoints in C++, where no call
can be replaced; there the files are put into the state of a partial write.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
from collections.abc import Callable
from typing import Any, NoReturn

import tensorflow as tf
from tensorflow.python.checkpoint import checkpoint_management
from tensorflow.python.lib.io import file_io
from tensorflow.python.ops import gen_io_ops

from tests.kill.command import wrap
from trainer.learning.solved_stage import SolvedStage
from trainer.workdir import MetricsFile

BEFORE, AFTER = "before", "after"


@dataclasses.dataclass(frozen=True)
class Boundary:
    """The first call of a function whose arguments match, in one attempt.

    Attributes:
      owner: module or class.
      attribute: name of the function.
      pattern: regular expression to search for in the arguments' `_text`.
      when: before or after the call; or a function to call instead.
    """

    owner: Any
    attribute: str
    pattern: str
    when: str | Callable[..., None]

    def arm(self) -> None:
        """Makes this process kill itself at the boundary."""

        def around(real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            said = " ".join(_text(value) for value in args)
            if not re.search(self.pattern, said):
                return real(*args, **kwargs)
            if callable(self.when):
                self.when(real, *args, **kwargs)
            elif self.when == AFTER:
                real(*args, **kwargs)
            _die()

        wrap(self.owner, self.attribute, around)


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL had no effect")


def _text(value: Any) -> str:
    """Returns the path or the text that an argument stands for, or ""."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, tf.Tensor):
        return value.numpy().decode()
    for name in ("directory", "path", "title"):
        if hasattr(value, name):
            return str(getattr(value, name))
    return ""


def _index_share(share: float | None) -> Callable[..., None]:
    """Returns a function that merges a checkpoint and truncates its index.

    Args:
      share: fraction of the index that stays; None removes the file.
    """

    def merge(
        real: Callable[..., Any], parts: Any, prefix: tf.Tensor, **kwargs: Any
    ) -> None:
        real(parts, prefix, **kwargs)
        index = f"{_text(prefix)}.index"
        if share is None:
            os.remove(index)
        else:
            os.truncate(index, int(os.path.getsize(index) * share))

    return merge


def _half_a_line(
    real: Callable[..., Any], self: MetricsFile, line: dict[str, Any]
) -> None:
    del real
    with open(self.path, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(line)[:40])


_HEAD = "/feature_extract/"
_FIRST = f"{_HEAD}last/"
_MANAGER = tf.train.CheckpointManager
_RESULT = r"^(?!.*/checkpoints/).*/result\.json$"


def _replace(name: str, when: str) -> Boundary:
    return Boundary(os, "replace", f"/{name}$", when)


def _merge(pattern: str, when: str | Callable[..., None]) -> Boundary:
    return Boundary(gen_io_ops, "merge_v2_checkpoints", pattern, when)


def _append(pattern: str, when: str | Callable[..., None]) -> Boundary:
    return Boundary(MetricsFile, "append", pattern, when)


def _manage(method: str, kind: str, when: str) -> Boundary:
    return Boundary(_MANAGER, method, f"{_HEAD}{kind}$", when)


# In the order in which one run reaches them, each with another state of the
# files. Each attempt resumes where the previous one was killed. The run keeps
# one checkpoint and epoch boundaries.
BOUNDARIES = {
    "folder created, with its probe file": Boundary(
        os, "remove", r"/\.probe-", BEFORE
    ),
    "config.json written, not renamed": _replace(r"config\.json", BEFORE),
    "config.json, no checkpoint": _replace(r"config\.json", AFTER),
    # Step 0, which a rollback may restore, then step 2.
    "first: shard written, not merged": _merge(_FIRST, BEFORE),
    "first: data renamed, no index": _merge(_FIRST, _index_share(None)),
    "first: index truncated": _merge(_FIRST, _index_share(0.6)),
    "first: not in TensorFlow's list": Boundary(
        checkpoint_management,
        "update_checkpoint_state_internal",
        f"{_HEAD}last$",
        BEFORE,
    ),
    # Steps 3 and 4.
    "half a line of metrics": _append('"steps"', _half_a_line),
    "metrics of steps, no checkpoint": _append('"steps"', AFTER),
    "later: older checkpoint not removed": _manage("_sweep", "last", BEFORE),
    # Step 6, the end of an epoch.
    "best saved, epoch and last not saved": _manage("save", "best", AFTER),
    "best and epoch saved, last not saved": _manage("save", "epoch", AFTER),
    "later: older index removed, data not removed": Boundary(
        file_io, "delete_file", rf"{_FIRST}.*\.index$", AFTER
    ),
    # The end of a stage, and of the run.
    "marker of the head, no finetune yet": _replace(
        r"feature_extract/result\.json", AFTER
    ),
    "marker, no result.json": _replace(r"finetune/result\.json", AFTER),
    "result.json, no event": Boundary(os, "replace", _RESULT, AFTER),
}

# Those of a run whose head is solved, up to the marker of its head.
SOLVED_BOUNDARIES = {
    "features computed, nothing solved": Boundary(
        SolvedStage, "_solve", "", BEFORE
    ),
    "head_path.json, head not set": _replace(r"head_path\.json", AFTER),
    "figures of the head, not saved": _append('"validation"', AFTER),
    "best saved, last not": _manage("save", "best", AFTER),
    "head_path.svg, no marker": _replace(r"head_path\.svg", AFTER),
    "marker of the head, no finetune": _replace(
        r"feature_extract/result\.json", AFTER
    ),
}
