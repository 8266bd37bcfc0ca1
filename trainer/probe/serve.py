"""Entry point of the process that measures a backbone; started by `child`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trainer.run.apart import serve


def _load() -> Callable[[Any], Mapping[str, Any]]:
    from trainer.probe.measure import measure

    return lambda job: measure(
        job.candidate, job.split, job.key, measured=job.measured
    ).to_json()


if __name__ == "__main__":
    serve(_load)
