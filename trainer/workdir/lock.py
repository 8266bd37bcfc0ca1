"""Ensures one process per workdir; the error of a second one names the first.

On a local disk, the lock is a kernel lock, which the kernel releases when the
process ends for any reason. On shared storage, kernel locks are unreliable;
there the lock is a file with a heartbeat.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Protocol

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None  # type: ignore[assignment]

from trainer.storage import files
from trainer.workdir import LOCK, Workdir
from trainer.workdir.clock import CLOCK, Clock
from trainer.workdir.heartbeat import HeartbeatLock, HeartbeatTiming
from trainer.workdir.holder import (
    Holder,
    holder_of,
    in_use,
    lost,
    this_process,
    unwritable,
)

_MOUNTS = "/proc/self/mountinfo"
# The kernel's names of shared file systems; `fuse.sshfs` counts as `fuse`.
_SHARED = re.compile(
    "9p|acfs|afs|beegfs|ceph|cifs|coda|daos|davfs|fuse|gfs2|glusterfs|gpfs"
    "|lustre|ncpfs|nfs4?|ocfs2|orangefs|panfs|prl_fs|pvfs2|smb[23]|smbfs"
    "|vboxsf|virtiofs|vmhgfs|wekafs"
)
# The wait for a process that has taken the lock but not yet written its name.
_NAME_SECONDS = 0.5


class _Lock(Protocol):
    def acquire(self) -> None: ...
    def check(self) -> None: ...
    def release(self) -> None: ...


@contextlib.contextmanager
def locked(workdir: Workdir, *, clock: Clock = CLOCK) -> Iterator[None]:
    """Holds the lock of a workdir during this block.

    Only processes that write to the workdir need the lock.

    Args:
      workdir: a workdir whose folder exists.
      clock: the clock to use.

    Raises:
      TrainerError: another process holds the workdir. In the block,
        `workdir.check_held` raises it if another process takes over the
        workdir.
    """
    path = workdir.file(LOCK)
    if not files.is_remote(path):
        try:
            files.check_own(path)
        except OSError as error:
            reason = f"{error.filename}: {error.strerror}"
            raise unwritable(workdir.path, reason) from None
    lock: _Lock = FileLock(path, clock)
    if is_shared(workdir.path) or not kernel_locks_work(workdir.path):
        lock = HeartbeatLock(
            path, warn=workdir.warn, timing=HeartbeatTiming(), clock=clock
        )
    try:
        lock.acquire()
        workdir.hold(lock.check)
        yield
    finally:
        workdir.hold(None)
        lock.release()


def kernel_locks_work(folder: str) -> bool:
    """Returns whether the kernel can lock files in a folder."""
    if fcntl is None:
        return False
    try:
        fd = os.open(folder, os.O_RDONLY)
    except OSError:
        return True  # Taking the lock reports the error.
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
    """Returns whether other machines may also write to a folder.

    Args:
      path: path or URL of the folder.
      mounts: the content of /proc/self/mountinfo; read from there if unset.
    """
    if files.is_remote(path):
        return True
    if mounts is None:
        try:
            with open(_MOUNTS, encoding="utf-8") as stream:
                mounts = stream.read()
        except OSError:
            return False
    file_system = _file_system(os.path.realpath(path), mounts)
    return _SHARED.fullmatch(file_system.partition(".")[0]) is not None


def _file_system(path: str, mounts: str) -> str:
    """Returns the file system type of an absolute path; "" if unknown."""
    best = file_system = ""
    for line in mounts.splitlines():
        head, _, tail = line.partition(" - ")
        point = re.sub(
            r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), head.split()[4]
        )
        inside = f"{path}/".startswith(point.rstrip("/") + "/")
        # A later mount at the same point hides an earlier one.
        if inside and len(point) >= len(best):
            best = point
            file_system = tail.split()[0]
    return file_system


class FileLock:
    """A lock on a workdir: a kernel lock on a file in it."""

    def __init__(self, path: str, clock: Clock = CLOCK) -> None:
        """Creates a lock that is not held yet.

        Args:
          path: the path of the lock file.
          clock: the clock to use.
        """
        self._path = path
        self._folder = os.path.dirname(path)
        self._clock = clock
        self._fd: int | None = None

    def acquire(self) -> None:
        """Takes the lock.

        Raises:
          TrainerError: another process, or another run of this process,
            holds the lock; or the file cannot be written.
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
                # The last holder removed the file after it was opened.
                self._close()
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, this_process().to_text().encode(), 0)
        except OSError as error:
            self.release()
            raise unwritable(self._folder, error.strerror) from None

    def check(self) -> None:
        """Checks that this process still holds the lock.

        Raises:
          TrainerError: the lock file was removed or replaced.
        """
        if not self._is_mine():
            raise lost(self._folder, holder_of(self._text()))

    def release(self) -> None:
        """Releases the lock if it is held."""
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
            # Another process failed and removed the folder.
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
        """Returns whether the path still names the locked file."""
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
        """Returns the holder; waits up to 0.5 s for it to write its name."""
        end = self._clock.now() + _NAME_SECONDS
        holder = holder_of(self._text())
        while self._clock.now() < end and (not holder or holder.has_ended()):
            self._clock.sleep(_NAME_SECONDS / 10)
            holder = holder_of(self._text())
        return holder
