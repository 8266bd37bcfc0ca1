"""One process a workdir; the second is told which the first is.

On a disk of this machine the kernel keeps the lock, and gives it back when
its process ends in whatever way. Where files are shared between machines
that cannot be relied on; there the lock file has a heartbeat.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from typing import Protocol

try:
    import fcntl
except ImportError:  # Not a Unix.
    fcntl = None  # type: ignore[assignment]

from trainer.storage import files
from trainer.workdir import LOCK, Workdir
from trainer.workdir.heartbeat import HeartbeatLock, Pace
from trainer.workdir.holder import (
    Holder,
    holder_of,
    in_use,
    lost,
    this_process,
    unwritable,
)

_MOUNTS = "/proc/self/mountinfo"
# By the name that the kernel gives a file system; `fuse.sshfs` is of `fuse`.
_SHARED = re.compile(
    "9p|acfs|afs|beegfs|ceph|cifs|coda|daos|davfs|fuse|gfs2|glusterfs|gpfs"
    "|lustre|ncpfs|nfs4?|ocfs2|orangefs|panfs|prl_fs|pvfs2|smb[23]|smbfs"
    "|vboxsf|virtiofs|vmhgfs|wekafs"
)
# Somebody who has just taken a lock needs a moment to write its name.
_NAME_SECONDS = 0.5


class _Lock(Protocol):
    def acquire(self) -> None: ...
    def check(self) -> None: ...
    def release(self) -> None: ...


@contextlib.contextmanager
def locked(workdir: Workdir, *, pace: Pace | None = None) -> Iterator[None]:
    """Keeps other processes from writing to a workdir in this block.

    Who only reads it needs no lock.

    Args:
      workdir: its folder is there.
      pace: of the heartbeat, where one is needed.

    Raises:
      TrainerError: another process holds the workdir; or, from
        `workdir.check_held` in the block, another has taken it over.
    """
    path = workdir.file(LOCK)
    if not files.is_remote(path):
        try:
            files.check_own(path)
        except OSError as error:
            reason = f"{error.filename}: {error.strerror}"
            raise unwritable(workdir.path, reason) from None
    lock: _Lock = FileLock(path)
    if is_shared(workdir.path) or not lock_files_work(workdir.path):
        lock = HeartbeatLock(path, warn=workdir.warn, pace=pace or Pace())
    try:
        lock.acquire()
        workdir.hold(lock.check)
        yield
    finally:
        workdir.hold(None)
        lock.release()


def lock_files_work(folder: str) -> bool:
    """Whether the kernel can lock files in a folder."""
    if fcntl is None:
        return False
    try:
        fd = os.open(folder, os.O_RDONLY)
    except OSError:
        return True  # Left to whoever takes the lock to say.
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def is_shared(path: str, mounts: str | None = None) -> bool:
    """Whether other machines may write there too.

    Args:
      path: a folder, or a URL.
      mounts: what /proc/self/mountinfo holds, which is read if unset.
    """
    if files.is_remote(path):
        return True
    if mounts is None:
        try:
            with open(_MOUNTS, encoding="utf-8") as stream:
                mounts = stream.read()
        except OSError:
            return False
    kind = _file_system(os.path.realpath(path), mounts)
    return _SHARED.fullmatch(kind.partition(".")[0]) is not None


def _file_system(path: str, mounts: str) -> str:
    """The kind of file system that an absolute path lies on."""
    best, kind = "", ""
    for line in mounts.splitlines():
        head, _, tail = line.partition(" - ")
        point = re.sub(
            r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), head.split()[4]
        )
        inside = f"{path}/".startswith(point.rstrip("/") + "/")
        # Of two at one point the later one hides the earlier.
        if inside and len(point) >= len(best):
            best, kind = point, tail.split()[0]
    return kind


class FileLock:
    """Keeps a workdir by a lock of the kernel's on a file in it."""

    def __init__(self, path: str) -> None:
        self._path, self._folder = path, os.path.dirname(path)
        self._fd: int | None = None

    def acquire(self) -> None:
        """Takes the lock.

        Raises:
          TrainerError: another process, or another run of this one, has it.
        """
        while self._fd is None:
            fd = self._open()
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                raise in_use(self._folder, self._holder()) from None
            self._fd = fd
            if not self._is_mine():
                # Its last holder has removed it meanwhile.
                self._close()
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, this_process().to_text().encode(), 0)
        except OSError as error:
            self.release()
            raise unwritable(self._folder, error.strerror) from None

    def check(self) -> None:
        """Raises TrainerError if somebody has removed the lock file."""
        if not self._is_mine():
            raise lost(self._folder, holder_of(self._text()))

    def release(self) -> None:
        """Gives the lock back, if it is held."""
        if self._fd is None:
            return
        if self._is_mine():
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        self._close()

    def _open(self) -> int:
        try:
            return self._opened()
        except FileNotFoundError:
            # Another process that was refused has taken the folder back.
            os.makedirs(self._folder, exist_ok=True)
            return self._opened()
        except OSError as error:
            raise unwritable(self._folder, error.strerror) from None

    def _opened(self) -> int:
        return files.open_own(self._path, os.O_RDWR | os.O_CREAT)

    def _close(self) -> None:
        assert self._fd is not None
        os.close(self._fd)
        self._fd = None

    def _is_mine(self) -> bool:
        """Whether the file that is locked is the one that is found there."""
        assert self._fd is not None
        try:
            return os.path.samestat(os.fstat(self._fd), os.stat(self._path))
        except OSError:
            return False

    def _text(self) -> str | None:
        try:
            with open(self._path, encoding="utf-8") as stream:
                return stream.read()
        except (OSError, UnicodeDecodeError):
            return None

    def _holder(self) -> Holder | None:
        """Who has the lock, once it has written its name over an old one."""
        end = time.monotonic() + _NAME_SECONDS
        holder = holder_of(self._text())
        while time.monotonic() < end and (not holder or holder.has_ended()):
            time.sleep(_NAME_SECONDS / 10)
            holder = holder_of(self._text())
        return holder
