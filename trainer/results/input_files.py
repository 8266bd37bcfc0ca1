"""Finds the files that `--inputs` names, without TensorFlow."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from trainer.data.samples import printable
from trainer.data.walk import SUFFIXES, walk_images
from trainer.errors import TrainerError, UsageError, reason_of
from trainer.storage import files


def find_inputs(inputs: str, stdin: TextIO = sys.stdin) -> list[str]:
    """Finds the files that `--inputs` names.

    Args:
      inputs: a file; a folder, which is searched recursively; a glob, where
        `**` matches any depth; or `-` for a list on standard input, one path
        per line, so without names that contain a line feed.
      stdin: the stream to read this list from.

    Returns:
      The paths, sorted; those of a list in the list's order. From a folder, the
      images that `walk_images` finds.

    Raises:
      UsageError: no file was found.
      TrainerError: a folder cannot be listed.
    """
    given = os.path.expanduser(inputs)
    if inputs == "-":
        found = _listed(stdin)
        missing = "no path on standard input; give one per line"
    else:
        matches = [given] if files.exists(given) else files.glob(given)
        found = sorted({p for match in matches for p in _below(match, inputs)})
        missing = (
            f"holds no image ({', '.join(SUFFIXES)}); add some, or name files"
            " of other suffixes one by one"
            if matches
            else "no such file; give an image, a folder of images, a glob such"
            " as 'photos/*.jpg' in quotes, or - for a list on standard input"
        )
    if not found:
        raise UsageError(f"--inputs={inputs!r}: {missing}")
    return found


def none_readable(inputs: str | None, bad: int, first: str) -> TrainerError:
    """Returns the error that no file of `--inputs` can be read.

    Args:
      inputs: the value of the flag.
      bad: number of files.
      first: path and error of the first one.
    """
    what = (
        f"none of the {bad:,} files could be read; the first error is"
        if bad > 1
        else "the file could not be read:"
    )
    return TrainerError(
        f"--inputs={inputs!r}: {what} {first}; give readable images"
    )


def _listed(stdin: TextIO) -> list[str]:
    """Returns the paths on standard input without their LF or CR LF."""
    if isinstance(stdin, io.TextIOWrapper):
        # A file name can be any bytes; see `printable`.
        stdin.reconfigure(
            encoding=sys.getfilesystemencoding(),
            errors="surrogateescape",
            newline="\n",
        )
    return [_without_return(x.rstrip("\n")) for x in stdin if x.strip()]


def _without_return(name: str) -> str:
    """Returns the name without the carriage return of a Windows line end.

    On Linux a name may end in a carriage return. It is kept if only the file
    with it exists.
    """
    stripped = name.removesuffix("\r")
    if stripped == name or files.is_remote(name):
        return stripped
    only_unstripped = files.exists(name) and not files.exists(stripped)
    return name if only_unstripped else stripped


def _below(path: str, inputs: str) -> Iterator[str]:
    """Yields the path itself or, for a folder, the images below it."""
    if not files.is_dir(path):
        yield path
        return
    try:
        yield from walk_images(path)
    except OSError as error:
        folder = printable(str(error.filename or path))
        raise TrainerError(
            f"--inputs={inputs!r}: {folder}: cannot be listed"
            f" ({reason_of(error)}); give a folder that can be read"
        ) from error
