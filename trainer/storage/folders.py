"""Replaces a whole folder, which a person may have added files to.

A local folder is filled beside the target, in a hidden folder of its own:

  .trainer-HASH-RANDOM/new  what is being written
  .trainer-HASH-RANDOM/old  the former folder, until the new one is in place

HASH stands for the target's name, so that the next replacement finds what a
killed one left: it puts the former folder back if nothing took its place, and
removes the rest. The process that fills it holds a lock of the kernel's on it.

Behind a URL no folder can be renamed; see `_replace_remote`.
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

# In a folder behind a URL while it is being replaced: a JSON object whose
# `files` are the names that may be removed. Earlier versions left it empty.
UNFINISHED = ".unfinished"
# What an upload that was killed leaves; see `remote.upload`.
_UPLOAD = re.compile(r"(.+)\.[0-9a-f]{12}\.partial")

# Tells whether a name below a folder is its writer's own. A folder's name ends
# in a slash.
Own = Callable[[str], bool]


class StrangerError(Exception):
    """Something in a folder was not written by the writer of the folder.

    Attributes:
      name: of it, below the folder; empty for the folder itself, which then is
        no folder.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@contextlib.contextmanager
def replaced_folder(
    folder: str, *, own: Callable[[str], Own], last: Sequence[str]
) -> Iterator[str]:
    """Yields an empty local folder, which then takes another's place.

    A kill leaves the former folder or the new one, complete. Only between two
    renames is the former one aside; the next call puts it back.

    Args:
      folder: replaced if the block ends well, else left as it was. A link to
        a folder stays; the folder that it names is replaced.
      own: from a folder, which may be missing, to the names that may be
        removed from it.
      last: names of files. They are removed and, behind a URL, written last,
        as they describe the others.

    Raises:
      StrangerError: the folder holds a name that is not `own`, at the
        beginning or at the end of the block.
      OSError: it cannot be replaced.
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
        # One that was aside may be back.
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
    """Makes the folders above a target; removes them again after an error."""
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
    """Returns the hidden folders that killed processes left."""
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
    """Holds the kernel's lock on a folder, where the file system has locks."""
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
    """Moves the former folder aside and the new one into place.

    `_settle` puts the former one back after an error.
    """
    old = os.path.join(aside, "old")
    if os.path.lexists(target):
        os.rename(target, old)
        # A name may have been added while the new folder was filled.
        _require_own(old, own)
    os.rename(os.path.join(aside, "new"), target)


def _settle(
    target: str, aside: str, own: Callable[[str], Own], last: Sequence[str]
) -> None:
    """Ends a replacement, wherever it stopped, and removes what it made."""
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
    """Removes a folder but for names that are not its writer's own."""
    names = [name for name, plain in _below(folder) if plain and own(name)]
    # Reversed, so that a folder's contents come before it. What cannot be
    # removed stays aside, and the next replacement tries again.
    for name in sorted(names, reverse=True, key=lambda n: (n not in last, n)):
        with contextlib.suppress(OSError):
            remove = os.rmdir if name.endswith("/") else os.remove
            remove(os.path.join(folder, name))
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def _require_own(folder: str, own: Callable[[str], Own]) -> None:
    """Raises StrangerError for the first name in a folder that is not own."""
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
    """Yields the names below a folder, sorted; those of folders end in "/".

    With each comes whether it is a file or a folder. Links, which are not
    followed, pipes and devices are neither.
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
    """Returns the names of the files below a folder, sorted."""
    return [name for name, _ in _below(folder) if not name.endswith("/")]


def is_unfinished(folder: str) -> bool:
    """Tells whether a replacement behind a URL was interrupted."""
    return files.is_remote(folder) and files.is_file(
        os.path.join(folder, UNFINISHED)
    )


def unfinished_files(folder: str) -> list[str] | None:
    """Returns the names that an interrupted replacement may have left.

    Returns:
      None if none was interrupted, or if it did not say which.
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
    """Adds to own names those that an interrupted replacement left."""
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
    """Replaces a folder behind a URL, object by object.

    The files of `last` are removed first and written last, so a reader that
    finds them finds all others too. Meanwhile there is a file UNFINISHED.
    """
    _require_own(folder, own)
    new = files_below(held)
    old = []
    if files.exists(folder):
        is_own = _or_unfinished(folder, own(folder))
        # Nothing that was added since is among them.
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
