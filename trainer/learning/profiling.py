"""Records a trace of some training steps for TensorBoard's profiler."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf

from trainer.config.ranges import parse_profile
from trainer.errors import reason_of
from trainer.workdir import TENSORBOARD, Workdir

# Below the folder that TensorBoard reads.
_FOLDER = os.path.join(TENSORBOARD, "train")


class Profile:
    """Traces the steps of --profile, on the process that writes."""

    def __init__(self, steps: str | None, workdir: Workdir) -> None:
        """Creates the object; traces nothing yet.

        Args:
          steps: the value of --profile.
          workdir: receives the trace.
        """
        self._first, self._last = parse_profile(steps) if steps else (0, 0)
        self._workdir = workdir
        # The limits of calls stay the same on all processes, whatever happens
        # to the trace of the one that writes.
        self._waits, self._runs = workdir.writes, False

    def limit(self, step: int, count: int) -> int:
        """Returns how many of the next steps one call may train.

        A call ends where the trace begins and where it ends, on all processes.

        Args:
          step: the number of finished steps.
          count: the number of steps of the call without a trace.
        """
        for edge in (self._first - 1, self._last):
            if step < edge:
                count = min(count, edge - step)
        return count

    @contextlib.contextmanager
    def call(self, step: int, count: int) -> Iterator[None]:
        """Wraps a call that trains `count` steps after `step` steps."""
        if self._waits and self._first <= step + 1 <= self._last:
            self._start()
        try:
            yield
        finally:
            if self._runs and step + count >= self._last:
                self._stop()

    def _start(self) -> None:
        folder = self._workdir.file(_FOLDER)
        self._waits = False
        try:
            tf.profiler.experimental.start(folder)
            self._runs = True
        except tf.errors.OpError as error:
            self._warn(error)

    def _stop(self) -> None:
        self._runs = False
        try:
            tf.profiler.experimental.stop()
        except tf.errors.OpError as error:
            self._warn(error)

    def _warn(self, error: tf.errors.OpError) -> None:
        self._workdir.warn(
            f"--profile: no trace was written ({reason_of(error)}); the run"
            " continues"
        )
