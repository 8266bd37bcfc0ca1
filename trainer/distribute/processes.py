"""The processes of a job, and how they agree on values.

All processes must call each method here at the same point of the run: each
call is one all-reduce, which waits for all. Values that differ between
processes (clocks, signals, an error of the chief) thus become equal before a
decision depends on them.
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
# Bytes of an error message that the chief sends to the others.
_TEXT_BYTES = 1000

# float32 (n,) of this process -> the sum over all processes.
Sum = Callable[[np.ndarray], np.ndarray]


class Processes:
    """This process and the others of its job; the chief alone writes."""

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

    def chief_array(self, values: np.ndarray) -> np.ndarray:
        """Returns the chief's values, float32 (n,)."""
        if self.count == 1:
            return values
        return self._total(values if self.is_chief else np.zeros_like(values))

    def by_chief(self, work: Callable[[], _T]) -> _T | None:
        """Runs `work` on the chief while the others wait.

        Returns:
          The result on the chief; None on the others.

        Raises:
          Exception: on the chief, what `work` raises.
          TrainerError: on the others, with the same text and exit status.
        """
        if not self.is_chief:
            text = self._chief_text("")
            if text:
                error_type = UsageError if text[0] == "2" else TrainerError
                raise error_type(text[1:])
            return None
        try:
            result = work()
        except TrainerError as error:
            self._chief_text(f"{error.exit_status}{error}")
            raise
        except Exception as error:
            self._chief_text(f"1process 0: {type(error).__name__}: {error}")
            raise
        self._chief_text("")
        return result

    def chief_first(self, work: Callable[[], _T]) -> _T:
        """Runs `work` on every process; on the chief before the others."""
        result = self.by_chief(work)
        return cast(_T, result) if self.is_chief else work()

    def check_same(self, value: str, problem: str) -> None:
        """Checks that all processes have the same value.

        Args:
          value: the value of this process.
          problem: the message of the error.

        Raises:
          TrainerError: a process has another value than the chief.
        """
        # 24 bits, which a float32 represents exactly.
        found = self.gather(float(zlib.crc32(value.encode()) >> 8))
        other = [i for i, v in enumerate(found) if v != found[0]]
        if other:
            raise TrainerError(
                f"{problem} (process {other[0]} of {self.count})"
            )

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Wraps a block at whose end all processes wait for each other.

        In the block, a signal to one process ends all of them at the next
        point where all check for signals. With one process, the block has no
        effect.
        """
        if self.count == 1:
            yield
            return
        with interrupt.deferred(), interrupt.shared(self._any_signal):
            yield
            # To the others, a process that leaves early looks dead.
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
