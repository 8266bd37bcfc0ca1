"""Local files that must be regular: opened without waiting or following links.

Opening a pipe would wait for its other end, and reading a device may never
end. A folder that came from somebody else may hold such a name, or a link that
leads a write to another file.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

from trainer.storage.paths import is_remote

# Windows has none of these flags.
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)


def not_regular(path: str) -> OSError:
    """Returns the error for a pipe, device, socket or folder."""
    return OSError(errno.EINVAL, "not a regular file", path)


def open_regular(path: str) -> BinaryIO:
    """Opens a local file for reading; links are followed.

    Raises:
      OSError: the file cannot be opened, or is not a regular file.
    """
    fd = os.open(path, os.O_RDONLY | _NONBLOCK | _CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise not_regular(path)
    return os.fdopen(fd, "rb")


def open_own(path: str, flags: int) -> int:
    """Opens one of the trainer's own local files for writing.

    Args:
      path: the file; a link, pipe or device of that name is rejected.
      flags: `os.O_WRONLY` or `os.O_RDWR`, optionally with `os.O_CREAT` and
        `os.O_APPEND`.

    Returns:
      The file descriptor.

    Raises:
      OSError: the file cannot be opened, is a link, or is not a regular file.
    """
    check_own(path)
    fd = os.open(path, flags | _NOFOLLOW | _NONBLOCK | _CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise not_regular(path)
    return fd


def check_own(path: str) -> None:
    """Checks that a local path is missing or a regular file.

    Raises:
      OSError: the path is a link, or not a regular file.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise OSError(
            errno.ELOOP, "a link, which is not written through; remove it", path
        )
    if not stat.S_ISREG(mode):
        raise not_regular(path)


def check_no_links(folder: str) -> None:
    """Checks that a local folder holds no links.

    TensorFlow writes checkpoints by name, and would follow a link. A missing
    folder and a URL hold none.

    Raises:
      OSError: the folder holds a link, or cannot be listed.
    """
    if is_remote(folder) or not os.path.isdir(folder):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                check_own(entry.path)
