"""Fills the cache, in step with the other processes of a job."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer import interrupt
from trainer.cache import CachedRows, RowCache, RowSpec
from trainer.distribute.processes import ALONE, Processes
from trainer.errors import TrainerError

# What a process says after each block.
_DONE, _BUSY, _FAILED = 0.0, 1.0, 2.0

# Sample numbers, int64 (n,), to their rows in the same order, in blocks.
Compute = Callable[[np.ndarray], Iterator[list[np.ndarray]]]


class CacheFill:
    """A cache that the processes of a job fill together.

    Each process computes its share of the missing rows. On a file system that
    all processes share, each then finds the shares of the others; elsewhere
    each computes them too. The processes meet after each block of rows, so
    that none waits long in a step for the others, and a signal to one stops
    all.
    """

    def __init__(self, cache: RowCache, processes: Processes = ALONE) -> None:
        """Creates the object; nothing is computed.

        Args:
          cache: the cache of this process.
          processes: the processes of the job.
        """
        self.cache = cache
        self._processes = processes

    @property
    def several(self) -> bool:
        """Whether the job has several processes."""
        return self._processes.count > 1

    def any_process(self, value: bool) -> bool:
        """Returns whether the value is true in any process; a collective."""
        return max(self._processes.gather(float(value))) > 0

    def rows(
        self,
        digests: Sequence[str],
        *,
        key_fields: Mapping[str, Any],
        specs: Sequence[RowSpec],
        compute: Compute,
        warn: Callable[[str], None],
    ) -> CachedRows | None:
        """Returns what `RowCache.rows` returns.

        All processes must call it at the same point, with equal arguments.

        Args:
          digests: see `RowCache.rows`.
          key_fields: see `RowCache.rows`.
          specs: see `RowCache.rows`.
          compute: see `RowCache.rows`.
          warn: see `RowCache.rows`.

        Raises:
          TrainerError: another process failed.
          Stopped: a signal was received by one of the processes.
        """

        def fill(wanted: Sequence[str], work: Compute) -> CachedRows | None:
            return self.cache.rows(
                wanted,
                key_fields=key_fields,
                specs=specs,
                compute=lambda rows: self._paced(work(rows)),
                warn=warn,
            )

        if self.several:
            missing = self.cache.missing(
                digests, key_fields=key_fields, specs=specs, warn=warn
            )
            if self._same([digests[row] for row in missing]):
                share = missing[self._processes.index :: self._processes.count]
                self._together(
                    lambda: fill(
                        [digests[row] for row in share],
                        lambda rows: compute(share[rows]),
                    )
                )
        return self._together(lambda: fill(digests, compute))

    def _same(self, missing: Sequence[str]) -> bool:
        """Returns whether all processes miss the same rows, and some."""
        # 24 bits, which a float32 represents exactly.
        text = "\n".join(missing).encode()
        found = self._processes.gather(float(zlib.crc32(text) >> 8))
        # Rows that are missing in one process only fail the first condition.
        return len(set(found)) == 1 and bool(missing)

    def _together(
        self, work: Callable[[], CachedRows | None]
    ) -> CachedRows | None:
        """Runs `work`, and waits until all processes have done theirs."""
        if not self.several:
            return work()
        try:
            found = work()
        except (interrupt.Stopped, tf.errors.OpError, _OtherFailedError):
            # All processes stop, or one of them does not respond.
            raise
        except Exception:
            self._processes.gather(_FAILED)
            raise
        while self._meet(_DONE):
            interrupt.check()
        return found

    def _paced(
        self, blocks: Iterator[list[np.ndarray]]
    ) -> Iterator[list[np.ndarray]]:
        """Yields the blocks, and meets the other processes after each."""
        for block in blocks:
            yield block
            if self.several:
                self._meet(_BUSY)
            interrupt.check()

    def _meet(self, state: float) -> bool:
        """Tells the other processes this one's state.

        Returns:
          Whether any process is busy.
        """
        found = self._processes.gather(state)
        if _FAILED in found:
            raise _OtherFailedError(
                f"process {found.index(_FAILED)} of {len(found)} could not"
                " compute its rows of the cache; see its message"
            )
        return _BUSY in found


class _OtherFailedError(TrainerError):
    """Another process failed."""
