"""Tests that freed memory returns to the system."""

from __future__ import annotations

import functools
import pathlib
import sys

import numpy as np
import pytest

from trainer import native_memory


def resident_mib() -> float:
    try:
        status = pathlib.Path("/proc/self/status").read_text()
    except OSError:
        pytest.skip("the system has no /proc")
    line = next(x for x in status.splitlines() if x.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


class _Cycle:
    def __init__(self) -> None:
        self.own = self
        # Many small arrays, which the C library keeps after they are freed.
        self.arrays = [np.ones(1000) for _ in range(8000)]


def test_memory_of_a_reference_cycle_is_returned() -> None:
    native_memory.return_freed()
    before = resident_mib()
    made = _Cycle()
    assert resident_mib() > before + 50
    del made
    native_memory.return_freed()
    assert resident_mib() < before + 20


def test_other_c_libraries_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(native_memory.ctypes, "CDLL", lambda _: object())
    native_memory.return_freed()
    native_memory.return_large_at_once()


def test_only_the_first_import_of_tensorflow_is_frozen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Garbage of a program that has imported it itself is still collected."""
    calls: list[str] = []
    for name in ("disable", "enable", "freeze"):
        monkeypatch.setattr(
            native_memory.gc, name, functools.partial(calls.append, name)
        )
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    with native_memory.long_lived_imports():
        calls.append("import")
        monkeypatch.setitem(sys.modules, "tensorflow", native_memory)
    assert calls == ["disable", "import", "enable", "freeze"]
    with native_memory.long_lived_imports():
        calls.append("again")
    assert calls[4:] == ["again"]
