"""The memory of the machine, from what the system reports."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest

from trainer.errors import UsageError
from trainer.run import memory

_MEMINFO = "MemTotal: 9000 kB\nMemFree: 1 kB\nMemAvailable:  3000 kB\nX: 5 kB\n"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 1000 pages of 4096 bytes."""
    sizes = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)


def test_free_memory_is_what_linux_calls_available(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def opened(path: str, **options: Any) -> io.StringIO:
        assert path == "/proc/meminfo"
        return io.StringIO(_MEMINFO)

    monkeypatch.setattr(memory, "open", opened, raising=False)
    assert memory.free_memory() == 3000 * 1024


def test_without_meminfo_half_of_the_memory_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(path: str, **options: Any) -> io.StringIO:
        raise FileNotFoundError(path)

    monkeypatch.setattr(memory, "open", missing, raising=False)
    assert memory.free_memory() == 1000 * 4096 // 2


def test_a_batch_may_fill_the_memory_and_not_more() -> None:
    # 3 * 4 bytes per pixel: 4,096,000 / 12 / 10**2 is 3413.3 images.
    memory.check_batch_fits(3413, 10)
    with pytest.raises(
        UsageError, match=r"^--batch_size=3414: one batch of 10"
    ):
        memory.check_batch_fits(3414, 10)
