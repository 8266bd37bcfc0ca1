"""The processes of a job, and how they agree on values.

All processes must call each method here at the same point of the run, because
each call is an all-reduce, which waits for all processes. Values that differ
between processes (clocks, signals, an error of the chief) become equal in this
way before a decision depends on them.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator
from typing import TypeVar, cast

import numpy as np

from trainer import interrupt
from trainer.distribute.topology import Topology
from trainer.errors import TrainerError, UsageError

_T = TypeVar("_T")
# Maximum size of an error message that the chief sends to the other processes.
_TEXT_BYTES = 1000

# float32 (n,) of this process -> the sum over all processes.
Sum = Callable[[np.ndarray], np.ndarray]


class Processes:
    """The processes of a job, seen from one of them; only the chief writes."""

    def __init__(self, topology: Topology, total: Sum) -> None:
        """Creates the view of one process.

        Args:
          topology: the index of this process and the number of processes.
          total: sums a float32 vector over all processes.
        """
        self._topology = topology
        self._total = total

    @property
    def count(self) -> int:
        """The number of processes."""
        return self._topology.count

    @property
    def index(self) -> int:
        """The number of this process, from 0; the chief's is 0."""
        return self._topology.index

    @property
    def is_chief(self) -> bool:
        """Whether this process writes and prints."""
        return self._topology.is_chief

    def gather(self, value: float) -> list[float]:
        """Returns the value of every process, as float32, in order."""
        if self.count == 1:
            return [value]
        row = np.zeros(self.count, np.float32)
        row[self._topology.index] = value
        return [float(x) for x in self._total(row)]

    def chief_value(self, value: float) -> float:
        """Returns the chief's value."""
        return self.gather(value)[0]

    def stacked(self, rows: np.ndarray) -> np.ndarray:
        """Returns the rows of every process, one below the other, in order.

        Args:
          rows: float32 (n, width), with the same shape in every process.

        Returns:
          float32 (count * n, width), bit for bit.
        """
        if self.count == 1:
            return rows
        every = np.zeros((self.count, *rows.shape), np.float32)
        every[self.index] = rows
        return self._bits_of_one(every).reshape(-1, *rows.shape[1:])

    def chief_array(self, array: np.ndarray) -> np.ndarray:
        """Returns the chief's float32 array, bit for bit.

        Args:
          array: of this process, with the same shape in every process.
        """
        if self.count == 1:
            return array
        own = array if self.is_chief else np.zeros_like(array)
        return self._bits_of_one(own)

    def _bits_of_one(self, array: np.ndarray) -> np.ndarray:
        """Returns the bits of the one process whose bits are not all 0.

        A sum of floats would lose the sign of -0. Each half of a float is sent
        as a number below 2**16, which a float32 represents exactly.

        Args:
          array: float32. Each element is 0 in all processes but one.
        """
        halves = np.ascontiguousarray(array).view(np.uint16).ravel()
        found = self._total(halves.astype(np.float32))
        return found.astype(np.uint16).view(np.float32).reshape(array.shape)

    def by_chief(self, work: Callable[[], _T]) -> _T | None:
        """Runs `work` on the chief while the other processes wait.

        Returns:
          The result of `work` on the chief; None on the other processes.

        Raises:
          Exception: on the chief, any exception that `work` raises.
          TrainerError: on the other processes, with the same text and exit
            status.
        """
        if not self.is_chief:
            text = self._chief_text("")
            if text:
                self._depart()
                error_type = UsageError if text[0] == "2" else TrainerError
                raise error_type(text[1:])
            return None
        try:
            result = work()
        except TrainerError as error:
            self._chief_text(f"{error.exit_status}{error}")
            self._depart()
            raise
        except Exception as error:
            self._chief_text(f"1process 0: {type(error).__name__}: {error}")
            self._depart()
            raise
        self._chief_text("")
        return result

    def chief_first(self, work: Callable[[], _T]) -> _T:
        """Runs `work` on the chief, then on all other processes.

        Returns:
          The result of `work` on this process.

        Raises:
          TrainerError: on the other processes, if `work` fails on the chief.
        """
        result = self.by_chief(work)
        return cast(_T, result) if self.is_chief else work()

    def check_same(self, value: str, problem: str) -> None:
        """Checks that all processes have the same value.

        Args:
          value: the value of this process.
          problem: the message of the error.

        Raises:
          TrainerError: the value of a process differs from the chief's.
        """
        # 24 bits, which a float32 represents exactly.
        found = self.gather(float(zlib.crc32(value.encode()) >> 8))
        other = [i for i, v in enumerate(found) if v != found[0]]
        if other:
            self._depart()
            raise TrainerError(
                f"{problem} (process {other[0]} of {self.count})"
            )

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Wraps a block, and waits at its end for all processes.

        In the block, a signal to one process ends all processes when they next
        call `interrupt.check`. An error of one process ends it at once, and
        the others lose it. With one process, the block has no effect.
        """
        if self.count == 1:
            yield
            return
        with interrupt.deferred(), interrupt.shared(self._any_signal):
            try:
                yield
            except interrupt.Stopped as stopped:
                if stopped.shared:
                    self._depart()
                raise
            # A process that exits early looks dead to the other processes.
            self.gather(0.0)
            self._depart()

    def _depart(self) -> None:
        """Waits until all processes have the result of the last sum.

        A process that exits closes connections on which another may still
        receive that result. So no process exits before all have begun one more
        sum, which they do with the result. Nobody needs the result of this
        one, so it may fail because a process has exited.
        """
        with contextlib.suppress(Exception):
            self.gather(0.0)

    def _any_signal(self, signum: int) -> int:
        return int(max(self.gather(float(signum))))

    def _chief_text(self, text: str) -> str:
        if self.count == 1:
            return text
        row = np.zeros(_TEXT_BYTES, np.float32)
        if self.is_chief:
            data = text.encode()[:_TEXT_BYTES]
            row[: len(data)] = list(data)
        found = bytes(int(x) for x in self._total(row) if x)
        return found.decode(errors="ignore")


ALONE = Processes(Topology(), lambda row: row)
