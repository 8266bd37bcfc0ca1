"""Entry point of the process that runs an exported model; see `apart`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trainer.run.apart import serve


def _load() -> Callable[[Any], Mapping[str, Any]]:
    from trainer.results.format_runners import run_format

    return run_format


if __name__ == "__main__":
    serve(_load)
