"""The caches of a run: their location and their size limits."""

from __future__ import annotations

import functools
import os
import sys

from trainer.cache import (
    DISK,
    CacheFolder,
    CacheRefusedError,
    FileCache,
    RowCache,
)
from trainer.cache.disk import earlier_cache
from trainer.config import Config
from trainer.config.fields import AUTO
from trainer.errors import UsageError, one_line
from trainer.run.memory import free_memory

_MIB = 2**20


def file_cache(config: Config) -> FileCache:
    """Returns the run's cache of whole files."""
    return FileCache(_folder_of(config, config.cache))


def row_cache(config: Config, mode: str) -> RowCache:
    """Returns the run's cache of features and decoded images.

    Args:
      config: the configuration of the run.
      mode: auto, ram, disk or off; off if the run does not support the mode of
        `--cache`.
    """
    return _row_cache(mode, _folder_of(config, mode), config.cache_ram_mib)


def default_cache_dir() -> str | None:
    """Returns the default folder of the cache; None without a home folder."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return None if base.startswith("~") else base


@functools.cache
def _row_cache(mode: str, folder: CacheFolder | None, ram_mib: int) -> RowCache:
    # Cached per process, so that the models of a study share rows.
    return RowCache(
        mode=mode,
        disk=folder,
        ram_bytes=ram_mib * _MIB or free_memory() // 4,
    )


def _folder_of(config: Config, mode: str) -> CacheFolder | None:
    if mode not in (AUTO, DISK):
        return None
    base = config.cache_dir or default_cache_dir()
    return _open_folder(base, config.cache_disk_mib, bool(config.cache_dir))


@functools.cache
def _open_folder(
    base: str | None, disk_mib: int, given: bool
) -> CacheFolder | None:
    """Returns the cache's folder, checked once per process.

    Args:
      base: the parent folder; None without a home folder.
      disk_mib: see `--cache_disk_mib`.
      given: whether `base` is from `--cache_dir`.

    Returns:
      None, after a warning, if the default folder cannot be used.

    Raises:
      UsageError: the folder of `--cache_dir` cannot be used.
    """
    if base is None:
        _warn(
            "this user has no home folder, so nothing is cached on disk; give"
            " --cache_dir=FOLDER to do so"
        )
        return None
    folder = CacheFolder(base, disk_bytes=disk_mib * _MIB)
    try:
        folder.check()
    except CacheRefusedError as error:
        if given:
            raise UsageError(f"--cache_dir={base!r}: {error}") from None
        _warn(f"nothing is cached on disk: {error}")
        return None
    except OSError:
        pass  # Reported when rows are written.
    earlier = earlier_cache(base)
    if earlier:
        _warn(
            f"{earlier} holds a cache of an earlier version, which is no"
            " longer used; remove its folders of 24 hexadecimal digits to free"
            " the space"
        )
    return folder


def _warn(text: str) -> None:
    # Not standard output, which may be a CSV file.
    print(f"warning: {one_line(text)}", file=sys.stderr)
