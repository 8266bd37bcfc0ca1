"""A lock file with a heartbeat, for storage that cannot lock files.

The process that holds the lock rewrites the file regularly. Another process
that sees no change for longer than a limit takes over the lock. It measures
that time with its own clock, so the clocks of two machines are never compared.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable

import tensorflow as tf

from trainer.errors import reason_of
from trainer.workdir.clock import CLOCK, Clock
from trainer.workdir.holder import (
    Holder,
    holder_of,
    in_use,
    lost,
    name_of,
    this_process,
    unwritable,
)

_FAILURES = (OSError, tf.errors.OpError)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeartbeatTiming:
    """The intervals of a heartbeat, in seconds.

    Attributes:
      beat_secs: time between two writes of the holder.
      limit_secs: time without a write after which another process may take
        over the lock.
      poll_secs: time between two reads of a waiting process; also the time
        after which a new holder checks whether another process took the lock
        at the same moment.
      old_secs: age from which a file is taken over without waiting. It is
        large, because some storage stamps files with the writer's clock.
    """

    beat_secs: float = 15.0
    limit_secs: float = 60.0
    poll_secs: float = 1.0
    old_secs: float = 3600.0


class HeartbeatLock:
    """A lock on a workdir: a file that its holder rewrites regularly.

    Two processes may briefly both hold the lock, because the storage cannot
    prevent it. The process whose file was overwritten stops before its next
    save.
    """

    def __init__(
        self,
        path: str,
        *,
        warn: Callable[[str], None],
        timing: HeartbeatTiming,
        clock: Clock = CLOCK,
    ) -> None:
        """Creates a lock that is not held yet.

        Args:
          path: path or URL of the lock file, in an existing folder.
          warn: called with a message if the lock is taken over.
          timing: the intervals of the heartbeat.
          clock: the clock to use.
        """
        self._path = path
        self._warn = warn
        self._timing = timing
        self._clock = clock
        self._folder = os.path.dirname(path)
        self._me = this_process()
        self._spare = f"{path}-{self._me.owner}"
        # Held while a thread reads or replaces the file: the heartbeat's
        # thread does so as well as the caller's.
        self._file = threading.Lock()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._confirmed_at = 0.0

    def acquire(self) -> None:
        """Takes the lock; if it is held, waits for a heartbeat first.

        Raises:
          TrainerError: the holder is alive, or the file cannot be written.
        """
        try:
            warning = self._watch(self._read())
            self._write(beat=0)
            self._clock.sleep(self._timing.poll_secs)
            winner = holder_of(self._read())
        except _FAILURES as error:
            raise unwritable(self._folder, reason_of(error)) from None
        if not self._is_me(winner):
            raise in_use(self._folder, winner)
        self._confirmed_at = self._clock.now()
        self._thread = threading.Thread(
            target=self._beat, name="workdir-lock", daemon=True
        )
        self._thread.start()
        if warning:
            self._warn(warning)

    def check(self) -> None:
        """Checks that this process still holds the lock.

        Raises:
          TrainerError: another process has taken over the lock, or the file
            could not be read for longer than the limit.
        """
        with self._file:
            try:
                holder = holder_of(self._read())
            except _FAILURES as error:
                silent_secs = self._clock.now() - self._confirmed_at
                if silent_secs < self._timing.limit_secs:
                    return
                raise unwritable(self._folder, reason_of(error)) from None
        if not self._is_me(holder):
            raise lost(self._folder, holder)

    def release(self) -> None:
        """Releases the lock if it is held."""
        self._ending.set()
        if self._thread is None:
            return
        self._thread.join(self._timing.limit_secs)
        try:
            with self._file:
                if self._is_me(holder_of(self._read())):
                    tf.io.gfile.remove(self._path)
        except _FAILURES:
            pass  # Other processes can take over the lock after the limit.

    def _watch(self, text: str | None) -> str | None:
        """Waits until the lock may be taken.

        Args:
          text: the content of the lock file; None if there is none.

        Returns:
          A warning if the lock is taken over from another process.

        Raises:
          TrainerError: the holder is alive.
        """
        if text is None:
            return None
        holder = holder_of(text)
        timing = self._timing
        taken = f"{self._folder}: taken over from {name_of(holder)}"
        if holder and holder.has_ended():
            return f"{taken}, which has ended without releasing it"
        age = self._age()
        if age > timing.old_secs:
            return f"{taken}, silent for {age / 3600:.1f} hours"
        print(
            f"{self._folder}: held by {name_of(holder)}; waiting up to"
            f" {timing.limit_secs:g} s for a heartbeat",
            flush=True,
        )
        end = self._clock.now() + timing.limit_secs
        while self._clock.now() < end:
            self._clock.sleep(timing.poll_secs)
            now = self._read()
            if now is None:
                return None
            if now != text:
                raise in_use(self._folder, holder_of(now) or holder)
        return f"{taken}, silent for {timing.limit_secs:g} s"

    def _age(self) -> float:
        """Returns the lock file's age in seconds, by the storage's clock."""
        with tf.io.gfile.GFile(self._spare, "w") as stream:
            stream.write("now")
        now = tf.io.gfile.stat(self._spare).mtime_nsec
        tf.io.gfile.remove(self._spare)
        return float(now - tf.io.gfile.stat(self._path).mtime_nsec) / 1e9

    def _beat(self) -> None:
        """Rewrites the file until the lock is released or lost."""
        beat = 0
        while not self._clock.wait(self._ending, self._timing.beat_secs):
            beat += 1
            try:
                with self._file:
                    if not self._is_me(holder_of(self._read())):
                        return  # Lost; `check` raises the error.
                    self._write(beat)
            except _FAILURES:
                continue  # The network may return before the limit.
            self._confirmed_at = self._clock.now()

    def _is_me(self, holder: Holder | None) -> bool:
        return holder is not None and holder.owner == self._me.owner

    def _read(self) -> str | None:
        try:
            with tf.io.gfile.GFile(self._path) as stream:
                return str(stream.read())
        except tf.errors.NotFoundError:
            return None

    def _write(self, beat: int) -> None:
        text = dataclasses.replace(self._me, beat=beat).to_text()
        with tf.io.gfile.GFile(self._spare, "w") as stream:
            stream.write(text)
        tf.io.gfile.rename(self._spare, self._path, overwrite=True)
