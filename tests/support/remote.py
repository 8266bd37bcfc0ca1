"""Runs with data and workdir at URLs, and a guard on the system's file calls.

TensorFlow's in-memory file system stands in for a bucket: only `tf.io.gfile`
and TensorFlow's own operations can reach it.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tensorflow as tf

import trainer
from tests.support.command import Said, arguments, command

HEAD = "feature_extract"
PACKAGE = os.path.dirname(trainer.__file__) + os.sep
# The modules of the trainer that may open files through the operating system,
# and which files they open. A call from any other module is an error.
_MAY = {
    "storage/files.py": "local paths, copies among them",
    "storage/folders.py": "local folders",
    "storage/paths.py": "the identity of a local folder",
    "storage/regular.py": "local files",
    "storage/remote.py": "the local copies of remote files",
    "storage/writing.py": "local files",
    "cache/entries.py": "the local cache",
    "cache/disk.py": "the local cache",
    "cache/files.py": "the local cache",
    "cache/rows.py": "the local cache",
    "cache/segments.py": "the local cache",
    "distribute/devices.py": "/proc/cpuinfo",
    "run/memory.py": "/proc/meminfo",
    "workdir/holder.py": "/proc",
    "native_logs.py": "standard error",
}
_CALLS = {
    builtins: ("open",),
    os: (
        "access",
        "listdir",
        "lstat",
        "makedirs",
        "mkdir",
        "open",
        "remove",
        "rename",
        "replace",
        "rmdir",
        "scandir",
        "stat",
        "truncate",
        "unlink",
        "utime",
    ),
}


def _guarded(module: Any, name: str, bad: list[str]) -> Callable[..., Any]:
    real = getattr(module, name)

    @functools.wraps(real)
    def call(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1).f_code.co_filename
        said = f"{name}{args[:2]!r} by {caller}"
        if any("ram:/" in str(arg) for arg in args) and not _is_measure():
            bad.append(said)
        own = caller.removeprefix(PACKAGE)
        if own != caller and own not in _MAY:
            bad.append(said)
        return real(*args, **kwargs)

    return call


def _is_measure() -> bool:
    """Returns whether TensorFlow is measuring a checkpoint's size.

    TensorFlow reports the size in a counter of its own. It lists the folder
    with the operating system's functions, and so finds 0 bytes at a URL.
    """
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_name == "_get_checkpoint_size":
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def only_gfile() -> Iterator[None]:
    """Checks that only `tf.io.gfile` opens URLs during this block.

    No URL may reach a function of the operating system, and only the modules
    in `_MAY` may call these functions.
    """
    bad: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for module, names in _CALLS.items():
            for name in names:
                patch.setattr(module, name, _guarded(module, name, bad))
        yield
    assert not bad, bad


def put(source: pathlib.Path, target: str) -> None:
    """Copies a local folder to a URL."""
    tf.io.gfile.makedirs(target)
    for path in sorted(source.iterdir()):
        if path.is_dir():
            put(path, f"{target}/{path.name}")
        else:
            tf.io.gfile.copy(str(path), f"{target}/{path.name}")


def run(root: str, cache: str, stage: str, **flags: Any) -> Said:
    """Trains in `root`/run, on the photos and weights in `root`."""
    return command(
        *arguments(
            {
                "stage": stage,
                "dataset": f"{root}/photos",
                "workdir": f"{root}/run",
                "backbone": "MobileNetV2",
                "weights": f"{root}/tiny.weights.h5",
                "image_size": 32,
                "batch_size": 4,
                "epochs": 2,
                **({"head_epochs": 2} if stage != HEAD else {}),
                "log_every_steps": 1,
                "checkpoint_every_steps": 2,
                "cache_dir": cache,
                **flags,
            }
        )
    )


def use(stage: str, root: str, **flags: Any) -> Said:
    """Evaluates, predicts or exports the run in `root`/run."""
    said = command(
        *arguments({"stage": stage, "workdir": f"{root}/run", **flags})
    )
    assert said.status == 0, said.err
    return said
