"""A lock for storage that has none: a file that is written again and again.

Whoever finds the file unchanged for longer than its holder may keep silent
takes it over. The clocks of two machines are never compared: the observer
watches the file by its own.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable

import tensorflow as tf

from trainer.errors import reason_of
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
class Pace:
    """How often a holder writes, and how long others wait for it.

    Attributes:
      beat_secs: between two times that the holder writes.
      limit_secs: of silence, after which the lock may be taken over.
      poll_secs: between two looks at it; also how long a new holder waits
        before it looks whether another has come at the same moment.
      old_secs: a file of this age needs no watching. Long, as there is
        storage that stamps files with the writer's clock.
    """

    beat_secs: float = 15.0
    limit_secs: float = 60.0
    poll_secs: float = 1.0
    old_secs: float = 3600.0


class HeartbeatLock:
    """Keeps a workdir by a lock file that shows signs of life.

    Not even a moment of two holders is excluded, as the storage cannot
    exclude it; the one that is overwritten stops before its next save.
    """

    def __init__(
        self, path: str, *, warn: Callable[[str], None], pace: Pace
    ) -> None:
        """Args:
        path: of the lock file, in a folder that is there; may be a URL.
        warn: is told of a lock that was taken over.
        pace: see there.
        """
        self._path, self._warn, self._pace = path, warn, pace
        self._folder = os.path.dirname(path)
        self._me = this_process()
        self._spare = f"{path}-{self._me.owner}"
        # Two threads look at the file, and one of them replaces it.
        self._file = threading.Lock()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._confirmed = 0.0

    def acquire(self) -> None:
        """Takes the lock, after watching a holder for signs of life.

        Raises:
          TrainerError: it has shown one.
        """
        try:
            warning = self._watch(self._read())
            self._write(beat=0)
            time.sleep(self._pace.poll_secs)
            winner = holder_of(self._read())
        except _FAILURES as error:
            raise unwritable(self._folder, _reason(error)) from None
        if not self._is_me(winner):
            raise in_use(self._folder, winner)
        self._confirmed = time.monotonic()
        self._thread = threading.Thread(
            target=self._beat, name="workdir-lock", daemon=True
        )
        self._thread.start()
        if warning:
            self._warn(warning)

    def check(self) -> None:
        """Raises TrainerError if the lock is no longer this process's."""
        with self._file:
            try:
                holder = holder_of(self._read())
            except _FAILURES as error:
                silent = time.monotonic() - self._confirmed
                if silent < self._pace.limit_secs:
                    return
                raise unwritable(self._folder, _reason(error)) from None
        if not self._is_me(holder):
            raise lost(self._folder, holder)

    def release(self) -> None:
        """Gives the lock back, if it is held."""
        self._ending.set()
        if self._thread is None:
            return
        self._thread.join(self._pace.limit_secs)
        try:
            with self._file:
                if self._is_me(holder_of(self._read())):
                    tf.io.gfile.remove(self._path)
        except _FAILURES:
            pass  # Others will find it silent.

    def _watch(self, text: str | None) -> str | None:
        """Returns once the lock may be taken.

        Returns:
          The warning, if it is taken from somebody.

        Raises:
          TrainerError: its holder lives.
        """
        if text is None:
            return None
        holder, pace = holder_of(text), self._pace
        taken = f"{self._folder}: taken over from {name_of(holder)}"
        if holder and holder.has_ended():
            return f"{taken}, which has ended without giving it back"
        age = self._age()
        if age > pace.old_secs:
            return f"{taken}, silent for {age / 3600:.1f} hours"
        print(
            f"{self._folder}: held by {name_of(holder)}; looking for a sign"
            f" of life for {pace.limit_secs:g} s",
            flush=True,
        )
        end = time.monotonic() + pace.limit_secs
        while time.monotonic() < end:
            time.sleep(pace.poll_secs)
            now = self._read()
            if now is None:
                return None
            if now != text:
                raise in_use(self._folder, holder_of(now) or holder)
        return f"{taken}, silent for {pace.limit_secs:g} s"

    def _age(self) -> float:
        """Seconds since the lock file was written, by the storage's clock."""
        with tf.io.gfile.GFile(self._spare, "w") as stream:
            stream.write("now")
        now = tf.io.gfile.stat(self._spare).mtime_nsec
        tf.io.gfile.remove(self._spare)
        return (now - tf.io.gfile.stat(self._path).mtime_nsec) / 1e9

    def _beat(self) -> None:
        """Writes until it is told to end, or finds the lock taken."""
        beat = 0
        while not self._ending.wait(self._pace.beat_secs):
            beat += 1
            try:
                with self._file:
                    if not self._is_me(holder_of(self._read())):
                        return  # Not to be taken back; `check` says so.
                    self._write(beat)
            except _FAILURES:
                continue  # The network may come back before the limit.
            self._confirmed = time.monotonic()

    def _is_me(self, holder: Holder | None) -> bool:
        return holder is not None and holder.owner == self._me.owner

    def _read(self) -> str | None:
        try:
            with tf.io.gfile.GFile(self._path) as stream:
                return stream.read()
        except tf.errors.NotFoundError:
            return None

    def _write(self, beat: int) -> None:
        text = dataclasses.replace(self._me, beat=beat).to_text()
        with tf.io.gfile.GFile(self._spare, "w") as stream:
            stream.write(text)
        tf.io.gfile.rename(self._spare, self._path, overwrite=True)


def _reason(error: Exception) -> str:
    return reason_of(error)
