"""Who holds a workdir: what a lock file says, and what others are told."""

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
    """What a lock file says of the process that wrote it.

    Attributes:
      owner: unlike that of every other lock ever taken.
      pid: the process.
      host: its machine's name, for people.
      machine: what a pid means something in: the boot of a kernel and the
        namespace of its processes. Containers share host names.
      since: when the lock was taken, ISO 8601 in UTC.
      beat: counts the times that the file was written.
    """

    owner: str
    pid: int
    host: str
    machine: str
    since: str
    beat: int = 0

    @property
    def name(self) -> str:
        """`pid 123 on somewhere, since then`."""
        return f"pid {self.pid} on {self.host}, since {self.since}"

    def to_text(self) -> str:
        """What the lock file holds."""
        return json.dumps(dataclasses.asdict(self)) + "\n"

    def has_ended(self) -> bool:
        """Whether it is known to run no more; False if in doubt."""
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
    """A new holder."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return Holder(
        owner=uuid.uuid4().hex,
        pid=os.getpid(),
        host=platform.node(),
        machine=_machine(),
        since=now.isoformat(timespec="seconds"),
    )


def holder_of(text: str | None) -> Holder | None:
    """What a lock file says; None for one that is absent or half written."""
    try:
        holder = Holder(**json.loads(text or ""))
    except (TypeError, ValueError, RecursionError):
        return None
    texts = (holder.owner, holder.host, holder.machine, holder.since)
    legal = isinstance(holder.pid, int) and 0 < holder.pid < 2**31
    return holder if legal and all(isinstance(x, str) for x in texts) else None


def name_of(holder: Holder | None) -> str:
    """For messages, where a holder may be unknown."""
    return holder.name if holder else "another process"


def in_use(folder: str, holder: Holder | None) -> TrainerError:
    """What a second process on a workdir is told."""
    return TrainerError(
        f"--workdir={folder!r}: in use by {name_of(holder)}; wait for it or"
        " end it, or give another --workdir"
    )


def lost(folder: str, holder: Holder | None) -> TrainerError:
    """What a process is told whose workdir was taken from it."""
    how = f"taken over by {holder.name}" if holder else "its lock file is gone"
    return TrainerError(
        f"--workdir={folder!r}: no longer this process's ({how}), so nothing"
        " more is saved; if nothing else runs there, the same command goes on"
        " from the last checkpoint"
    )


def unwritable(folder: str, reason: object) -> TrainerError:
    """What is answered to a workdir that takes no files."""
    return TrainerError(
        f"--workdir={folder!r}: cannot be written to ({reason}); give a folder"
        " that can"
    )


def _machine() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as stream:
            boot = stream.read().strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return platform.node()
