"""The cached rows of a list of samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.cache.segments import RowSpec, Segment


class CachedRows:
    """The cached rows of a list of samples."""

    def __init__(
        self,
        specs: Sequence[RowSpec],
        found: Sequence[tuple[Segment, int]],
    ) -> None:
        """Creates an index of the samples' rows; no row is read.

        Args:
          specs: the format of each array of a row.
          found: for each sample, its segment and its row number there.
        """
        self.specs = tuple(specs)
        numbers: dict[int, int] = {}
        self._segments: list[Segment] = []
        for segment, _ in found:
            if id(segment) not in numbers:
                numbers[id(segment)] = len(self._segments)
                self._segments.append(segment)
        self._segment = np.array([numbers[id(s)] for s, _ in found], np.int64)
        self._row = np.array([row for _, row in found], np.int64)

    def read(self, rows: np.ndarray) -> list[np.ndarray]:
        """Returns the rows of some samples.

        Args:
          rows: int64 (n,), sample numbers; negative numbers are padding.

        Returns:
          One array (n, *shape) for each spec; zeros for padding.

        Raises:
          OSError: a file of the cache was truncated after it was opened.
        """
        out = [np.zeros((len(rows), *s.shape), s.dtype) for s in self.specs]
        real = np.flatnonzero(rows >= 0)
        for number, segment in enumerate(self._segments):
            at = real[self._segment[rows[real]] == number]
            source = self._row[rows[at]]
            for target, array in zip(out, segment.arrays, strict=True):
                target[at] = array[source]
        return out

    @classmethod
    def joined(cls, parts: Sequence[CachedRows]) -> CachedRows:
        """Returns the rows of several lists of samples as those of one list.

        Args:
          parts: of the same format; at least one. Row r of part p becomes row
            r + the number of rows in the parts before p.
        """
        return cls(
            parts[0].specs,
            [
                (part._segments[segment], row)
                for part in parts
                for segment, row in zip(
                    part._segment.tolist(), part._row.tolist(), strict=True
                )
            ],
        )
