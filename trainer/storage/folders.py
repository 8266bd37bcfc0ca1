"""Replacement of a whole folder to which a person may have added files.

A new local folder is filled in a hidden folder next to the target:

  .trainer-HASH-RANDOM/new  the folder that is being filled
  .trainer-HASH-RANDOM/old  the former folder, until the new one is in place

HASH is derived from the target's name, so that the next replacement finds what
a killed one left. It restores the former folder if the target is missing, and
removes the rest. While a process fills the hidden folder, it holds a kernel
lock on it.

Folders at a URL cannot be renamed; see `_replace_remote`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence

try:
    import fcntl
except ImportError:  # Not a Unix.
    fcntl = None  # type: ignore[assignment]

from trainer.storage import files, remote

# A file in a folder at a URL while the folder is being replaced: a JSON
# object whose `files` are the names that may be removed. Earlier versions
# wrote it empty.
UNFINISHED = ".unfinished"
# The temporary name that a killed `remote.upload` leaves.
_UPLOAD = re.compile(r"(.+)\.[0-9a-f]{12}\.partial")

# Returns whether the writer of a folder also wrote a name below it. The names
# of folders end in a slash.
Own = Callable[[str], bool]


class StrangerError(Exception):
    """A name in a folder was not written by the writer of the folder.

    Attributes:
      name: the name, relative to the folder; empty if the folder itself is not
        a folder.
    """

    def __init__(self, name: str) -> None:
        """Creates the error for one name."""
        super().__init__(name)
        self.name = name


@contextlib.contextmanager
def replaced_folder(
    folder: str, *, own: Callable[[str], Own], last: Sequence[str]
) -> Iterator[str]:
    """Yields an empty local folder that replaces another one afterwards.

    A kill leaves the former folder or the new one, complete. Between two
    renames the former folder is in the hidden one, and the next call restores
    it.

    Args:
      folder: the folder to replace; unchanged if the block raises. A link to a
        folder stays, and the folder that it leads to is replaced.
      own: maps a folder, which may be missing, to a function that tells which
        names may be removed from it.
      last: names of files that describe the others. A local folder loses them
        last; at a URL they are removed first and written last.

    Raises:
      StrangerError: the folder holds a name that is not `own`, before or after
        the block.
      OSError: the folder cannot be replaced.
    """
    if files.is_remote(folder):
        _require_own(folder, own)
        with tempfile.TemporaryDirectory() as held:
            yield held
            _replace_remote(folder, held, own, last)
        return
    target = os.path.abspath(folder)
    if os.path.isdir(target):
        target = os.path.realpath(target)
    _require_own(target, own)
    with _parents(target):
        for aside in _left_aside(target):
            _settle(target, aside, own, last)
        # A former folder may just have been restored.
        _require_own(target, own)
        aside = tempfile.mkdtemp(prefix=_prefix(target), dir=_parent(target))
        with _locked(aside):
            try:
                new = os.path.join(aside, "new")
                os.mkdir(new)
                yield new
                _swap(target, aside, own)
            finally:
                _settle(target, aside, own, last)


def _parent(target: str) -> str:
    return os.path.dirname(target)


def _prefix(target: str) -> str:
    name = os.fsencode(os.path.basename(target))
    digest = hashlib.blake2b(name, digest_size=6).hexdigest()
    return f".trainer-{digest}-"


@contextlib.contextmanager
def _parents(target: str) -> Iterator[None]:
    """Creates the parents of a target; removes them again after an error."""
    made = []
    above = _parent(target)
    while not os.path.lexists(above):
        made.append(above)
        above = _parent(above)
    os.makedirs(_parent(target), exist_ok=True)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for name in made:
                os.rmdir(name)
        raise


def _left_aside(target: str) -> list[str]:
    """Returns the hidden folders that killed processes left behind."""
    return [
        entry.path
        for entry in os.scandir(_parent(target))
        if entry.name.startswith(_prefix(target))
        and entry.is_dir(follow_symlinks=False)
        and set(os.listdir(entry.path)) <= {"new", "old"}
        and not _is_locked(entry.path)
    ]


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Holds a kernel lock on a folder, if the file system supports locks."""
    if fcntl is None:
        yield
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


def _is_locked(folder: str) -> bool:
    if fcntl is None:
        return False
    try:
        fd = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return False


def _swap(target: str, aside: str, own: Callable[[str], Own]) -> None:
    """Renames the former folder out of the way and the new one into place.

    After an error, `_settle` restores the former folder.
    """
    old = os.path.join(aside, "old")
    if os.path.lexists(target):
        os.rename(target, old)
        # A file may have been added while the new folder was filled.
        _require_own(old, own)
    os.rename(os.path.join(aside, "new"), target)


def _settle(
    target: str, aside: str, own: Callable[[str], Own], last: Sequence[str]
) -> None:
    """Completes or undoes a replacement, and removes its hidden folder."""
    old = os.path.join(aside, "old")
    if os.path.lexists(old):
        if files.names(target):
            _remove_own(old, own(old), last)
        else:
            os.rename(old, target)
    shutil.rmtree(os.path.join(aside, "new"), ignore_errors=True)
    with contextlib.suppress(OSError):
        os.rmdir(aside)


def _remove_own(folder: str, own: Own, last: Sequence[str]) -> None:
    """Removes a folder, except for names that its writer did not write."""
    names = [name for name, plain in _below(folder) if plain and own(name)]
    # In reverse order, so that the contents of a folder come before it. If a
    # name cannot be removed, the next replacement tries again.
    for name in sorted(names, reverse=True, key=lambda n: (n not in last, n)):
        with contextlib.suppress(OSError):
            remove = os.rmdir if name.endswith("/") else os.remove
            remove(os.path.join(folder, name))
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def _require_own(folder: str, own: Callable[[str], Own]) -> None:
    """Raises StrangerError for the first name that is not `own`."""
    if not files.exists(folder):
        return
    if not files.is_dir(folder):
        raise StrangerError("")
    is_own = own(folder)
    if files.is_remote(folder):
        is_own = _or_unfinished(folder, is_own)
    for name, plain in _below(folder):
        if not (plain and is_own(name)):
            raise StrangerError(name)


def _below(folder: str) -> Iterator[tuple[str, bool]]:
    """Yields the names below a folder, sorted, and whether each is plain.

    The names of folders end in a slash. Regular files and folders are plain;
    links, which are not followed, pipes and devices are not.
    """
    for entry in sorted(files.scan(folder), key=lambda entry: entry.name):
        plain = not isinstance(entry, os.DirEntry) or (
            entry.is_dir(follow_symlinks=False)
            or entry.is_file(follow_symlinks=False)
        )
        if plain and entry.is_dir():
            yield f"{entry.name}/", True
            for name, below_plain in _below(entry.path):
                yield f"{entry.name}/{name}", below_plain
        else:
            yield entry.name, plain


def files_below(folder: str) -> list[str]:
    """Returns the names of all files below a folder, sorted."""
    return [name for name, _ in _below(folder) if not name.endswith("/")]


def is_unfinished(folder: str) -> bool:
    """Returns whether a replacement at a URL was interrupted."""
    return files.is_remote(folder) and files.is_file(
        os.path.join(folder, UNFINISHED)
    )


def unfinished_files(folder: str) -> list[str] | None:
    """Returns the names that an interrupted replacement may have left.

    Returns:
      The names; None if no replacement was interrupted, or if its list is
      missing or invalid.
    """
    if not is_unfinished(folder):
        return None
    mark = os.path.join(folder, UNFINISHED)
    try:
        names = json.loads(files.read_text(mark))["files"]
        return [str(name) for name in names]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _or_unfinished(folder: str, own: Own) -> Own:
    """Extends `own` by the names that an interrupted replacement left."""
    left = set(unfinished_files(folder) or ())
    for name in list(left):
        above = pathlib.PurePosixPath(name).parents
        left.update(f"{path}/" for path in above)

    def is_own(name: str) -> bool:
        upload = _UPLOAD.fullmatch(name)
        if upload:
            name = upload[1]
        return name == UNFINISHED or name in left or own(name)

    return is_own


def _replace_remote(
    folder: str, held: str, own: Callable[[str], Own], last: Sequence[str]
) -> None:
    """Replaces a folder at a URL, object by object.

    The files of `last` are removed first and written last, so a reader that
    finds them also finds all others. The file UNFINISHED exists meanwhile.
    """
    _require_own(folder, own)
    new = files_below(held)
    old = []
    if files.exists(folder):
        is_own = _or_unfinished(folder, own(folder))
        # Names added after the check above are not own, so they stay.
        old = [name for name in files_below(folder) if is_own(name)]
    mark = os.path.join(folder, UNFINISHED)
    remote.write(
        mark,
        json.dumps({"files": sorted({*old, *new} - {UNFINISHED})}).encode(),
    )
    for name in sorted(old, key=lambda name: name not in last):
        if name != UNFINISHED:
            remote.discard(os.path.join(folder, name))
    for below in sorted({os.path.dirname(name) for name in new}):
        remote.make_dirs(os.path.join(folder, below).rstrip("/"))
    for name in sorted(new, key=lambda name: name in last):
        remote.upload(os.path.join(held, name), os.path.join(folder, name))
    remote.remove(mark)
