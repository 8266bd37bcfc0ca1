"""Warns of classes with fewer images than `--shots`."""

from __future__ import annotations

from trainer.data.manifest import Manifest
from trainer.errors import shortened


def few_shots_warning(manifest: Manifest, shots: int | None) -> str | None:
    """Returns the warning about classes with fewer images than `--shots`."""
    if shots is None:
        return None
    counts = manifest.splits["train"].samples.counts(len(manifest.class_names))
    few = [
        f"{name!r} has {count}"
        for name, count in zip(
            manifest.class_names, counts.tolist(), strict=True
        )
        if count < shots
    ]
    if not few:
        return None
    return (
        f"--shots={shots}: {shortened(', '.join(few))}; such a class trains on"
        " all of its images"
    )
