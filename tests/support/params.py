"""Parameters of tests that only the slow suite runs."""

from __future__ import annotations

from typing import Any

import pytest


def slow(*cases: tuple[Any, ...]) -> list[Any]:
    """Returns the parameters of each case, marked as slow."""
    return [pytest.param(*case, marks=pytest.mark.slow) for case in cases]
