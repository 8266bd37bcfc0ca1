"""The processes of a job, and what they have to agree on.

Every method here is to be called by all of them, at the same point of the
run: each is one all-reduce, which waits for all. What differs between them
(the clock, signals, an error of the one that writes) thereby becomes the same
everywhere before anything is decided by it.
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
# Bytes of an error's text that the others get.
_TEXT_BYTES = 1000

# float32 (n,) of this process -> the sum over all processes.
Sum = Callable[[np.ndarray], np.ndarray]


class Processes:
    """This process among those of its job; the chief alone writes."""

    def __init__(self, topology: Topology, total: Sum) -> None:
        """Args:
        topology: which this one is, of how many.
        total: adds up a float32 vector over all processes.
        """
        self._topology, self._total = topology, total

    @property
    def count(self) -> int:
        """How many there are."""
        return self._topology.count

    @property
    def is_chief(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self._topology.is_chief

    def gather(self, value: float) -> list[float]:
        """Every process's value, as float32 holds it, in their order."""
        if self.count == 1:
            return [value]
        row = np.zeros(self.count, np.float32)
        row[self._topology.index] = value
        return self._total(row).tolist()

    def chief_value(self, value: float) -> float:
        """The chief's value; alone, the value itself."""
        return self.gather(value)[0]

    def by_chief(self, work: Callable[[], _T]) -> _T | None:
        """Lets the chief do something while the others wait.

        Returns:
          What it gives; None on the others.

        Raises:
          Exception: what it raises, on the chief.
          TrainerError: with the same text and exit status, on the others.
        """
        if not self.is_chief:
            text = self._chief_text("")
            if text:
                kind = UsageError if text[0] == "2" else TrainerError
                raise kind(text[1:])
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
        """Everybody does it, the others after the chief and with its files."""
        result = self.by_chief(work)
        return cast(_T, result) if self.is_chief else work()

    def check_same(self, value: str, problem: str) -> None:
        """Refuses to go on where the processes do not see the same.

        Raises:
          TrainerError: `value` is not everywhere the chief's.
        """
        # 24 bits, which a float32 holds.
        found = self.gather(float(zlib.crc32(value.encode()) >> 8))
        other = [i for i, v in enumerate(found) if v != found[0]]
        if other:
            raise TrainerError(
                f"{problem} (process {other[0]} of {self.count})"
            )

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """A block at whose end all wait for one another.

        In it a signal to one of them ends all, at the next point where all
        look for signals; on one process this block changes nothing.
        """
        if self.count == 1:
            yield
            return
        with interrupt.deferred(), interrupt.shared(self._any_signal):
            yield
            # Who left first would look to the others as if it had died.
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
