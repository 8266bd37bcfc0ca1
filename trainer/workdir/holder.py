"""The process that holds a workdir's lock, and errors that name it."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import uuid

from trainer.errors import TrainerError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Holder:
    """The content of a lock file: the process that wrote it.

    Attributes:
      owner: a random id, different for each lock ever taken.
      pid: the process id.
      host: the host name, for messages.
      machine: the kernel's boot id and the pid namespace. A pid is meaningful
        only with both, and containers may share a host name.
      since: the time at which the lock was taken, ISO 8601 in UTC.
      beat: number of heartbeats since the lock was taken.
    """

    owner: str
    pid: int
    host: str
    machine: str
    since: str
    beat: int = 0

    @property
    def name(self) -> str:
        """A text such as "pid 123 on HOST, since 2026-01-02T03:04:05"."""
        return f"pid {self.pid} on {self.host}, since {self.since}"

    def to_text(self) -> str:
        """Returns the content of the lock file."""
        return json.dumps(dataclasses.asdict(self)) + "\n"

    def has_ended(self) -> bool:
        """Returns True only if the process has certainly ended."""
        if self.machine != _machine():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass
        return False


def this_process() -> Holder:
    """Returns a new holder that names this process."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return Holder(
        owner=uuid.uuid4().hex,
        pid=os.getpid(),
        host=platform.node(),
        machine=_machine(),
        since=now.isoformat(timespec="seconds"),
    )


def holder_of(text: str | None) -> Holder | None:
    """Parses the content of a lock file.

    Args:
      text: the content; None if there is no file.

    Returns:
      None if the file is missing, partly written or invalid.
    """
    try:
        holder = Holder(**json.loads(text or ""))
    except (TypeError, ValueError, RecursionError):
        return None
    texts = (holder.owner, holder.host, holder.machine, holder.since)
    legal = isinstance(holder.pid, int) and 0 < holder.pid < 2**31
    return holder if legal and all(isinstance(x, str) for x in texts) else None


def name_of(holder: Holder | None) -> str:
    """Returns the holder's name for a message."""
    return holder.name if holder else "another process"


def in_use(folder: str, holder: Holder | None) -> TrainerError:
    """Returns the error for a second process on a workdir."""
    return TrainerError(
        f"--workdir={folder!r}: in use by {name_of(holder)}; wait for it or"
        " end it, or give another --workdir"
    )


def lost(folder: str, holder: Holder | None) -> TrainerError:
    """Returns the error for a process that has lost its lock."""
    how = f"taken over by {holder.name}" if holder else "its lock file is gone"
    return TrainerError(
        f"--workdir={folder!r}: no longer held by this process ({how}), so"
        " nothing more is saved; if nothing else runs there, the same command"
        " resumes from the last checkpoint"
    )


def unwritable(folder: str, reason: object) -> TrainerError:
    """Returns the error for a workdir that cannot be written to."""
    return TrainerError(
        f"--workdir={folder!r}: cannot be written to ({reason}); give a"
        " writable folder"
    )


def _machine() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as stream:
            boot = stream.read().strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return platform.node()
