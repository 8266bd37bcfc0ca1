"""Cache that runs share: rows of arrays, and whole files."""

from trainer.cache.cached_rows import CachedRows
from trainer.cache.disk import CacheFolder, CacheRefusedError, key_of
from trainer.cache.files import FileCache
from trainer.cache.rows import (
    AUTO,
    DISK,
    OFF,
    RAM,
    RowCache,
    RowSpec,
)

__all__ = [
    "AUTO",
    "DISK",
    "OFF",
    "RAM",
    "CacheFolder",
    "CacheRefusedError",
    "CachedRows",
    "FileCache",
    "RowCache",
    "RowSpec",
    "key_of",
]
