"""Paths as text: local paths, and URLs such as `gs://bucket/run`."""

from __future__ import annotations

import os


def is_remote(path: str) -> bool:
    """Returns whether a path is a URL, which TensorFlow resolves."""
    return "://" in path


def absolute(path: str) -> str:
    """Returns the absolute path; a URL without its trailing slashes."""
    return path.rstrip("/") if is_remote(path) else os.path.abspath(path)


def identity(folder: str) -> object:
    """Returns a value that is equal for all names of one folder.

    A local folder may have several names, through links. A URL is its own
    identity.

    Raises:
      OSError: the local folder is missing or unreadable.
    """
    if is_remote(folder):
        return folder
    found = os.stat(folder)
    return found.st_dev, found.st_ino
