"""A client of the cache of rows that records what it computes."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from trainer.cache import CachedRows, CacheFolder, RowCache, RowSpec
from trainer.cache.disk import NAME

# A row takes 4 * 6 + 2 = 26 bytes.
SPECS = (
    RowSpec(shape=(2, 3), dtype="float32"),
    RowSpec(shape=(2,), dtype="uint8"),
)


ROW = 26


KEY_FIELDS = {"kind": "test"}


MIB = 2**20


def expected(digest: str) -> list[np.ndarray]:
    """Returns the row of a digest, which is one letter."""
    number = ord(digest)
    return [
        np.arange(6, dtype=np.float32).reshape(2, 3) + number / 7,
        np.array([number, 255 - number], np.uint8),
    ]


class Asker:
    """Asks a cache for rows; records computed digests and warnings."""

    def __init__(
        self, folder: pathlib.Path, mode: str = "auto", **bounds: Any
    ) -> None:
        """Creates the cache; `bounds` are `disk_bytes` and `ram_bytes`."""
        disk_bytes = bounds.pop("disk_bytes", MIB)
        self.cache = RowCache(
            mode=mode,
            disk=CacheFolder(str(folder), disk_bytes=disk_bytes),
            **{"ram_bytes": MIB, **bounds},
        )
        self.computed: list[str] = []
        self.warnings: list[str] = []

    def rows(
        self,
        digests: Sequence[str],
        key_fields: dict[str, Any] = KEY_FIELDS,
        specs: Sequence[RowSpec] = SPECS,
        compute: Any = None,
        block: int = 2,
    ) -> CachedRows | None:
        """Returns the rows of digests, computed by `expected` if missing."""

        def blocks(numbers: np.ndarray) -> Iterator[list[np.ndarray]]:
            asked = [digests[number] for number in numbers]
            self.computed += asked
            for start in range(0, len(asked), block):
                rows = [expected(d) for d in asked[start : start + block]]
                yield [np.stack(arrays) for arrays in zip(*rows, strict=True)]

        return self.cache.rows(
            digests,
            key_fields=key_fields,
            specs=specs,
            compute=compute or blocks,
            warn=self.warnings.append,
        )

    def check(self, digests: Sequence[str], computed: str, **ask: Any) -> None:
        """Asserts that rows are right, and which ones were computed."""
        self.computed.clear()
        found = self.rows(digests, **ask)
        assert found is not None
        assert "".join(self.computed) == computed
        assert_rows(found, digests)


def assert_rows(found: CachedRows, digests: Sequence[str]) -> None:
    """Asserts that the cached rows are those of the digests."""
    arrays = found.read(np.arange(len(digests)))
    for spec, array in zip(SPECS, arrays, strict=True):
        assert array.dtype == spec.dtype
        assert array.shape == (len(digests), *spec.shape)
    for number, digest in enumerate(digests):
        for array, row in zip(arrays, expected(digest), strict=True):
            np.testing.assert_array_equal(array[number], row)


def segments(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the segments of a cache's folder, sorted."""
    return sorted(folder.glob(f"{NAME}/*/rows-*"))


def leftovers(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the entries that are being written or removed."""
    return [
        path for path in folder.glob(f"{NAME}/*/*") if path.name.startswith(".")
    ]
