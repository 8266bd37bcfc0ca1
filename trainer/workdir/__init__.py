"""The folder of a run, and who may write in it."""

from trainer.workdir.workdir import (
    BACKBONE,
    CONFIG,
    EVALUATION,
    EXPORT_FOLDER,
    LOCK,
    MANIFEST,
    MARKER,
    METRICS,
    RESULT,
    MetricsFile,
    Workdir,
)

__all__ = [
    "BACKBONE",
    "CONFIG",
    "EVALUATION",
    "EXPORT_FOLDER",
    "LOCK",
    "MANIFEST",
    "MARKER",
    "METRICS",
    "RESULT",
    "MetricsFile",
    "Workdir",
]
