"""The versions of the program and of what it computes with."""

from __future__ import annotations

import platform
from importlib import metadata

from trainer.config.usage import COMMAND

_LIBRARIES = ("tensorflow", "keras")


def version_text() -> str:
    """Returns one line, without importing TensorFlow."""
    libraries = (f"{name} {_version(name)}" for name in _LIBRARIES)
    python = f"Python {platform.python_version()}"
    return f"{COMMAND} {_version(COMMAND)} ({', '.join((*libraries, python))})"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "(not installed)"
