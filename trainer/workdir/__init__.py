"""The folder of a run, its files, and the lock for writing to it."""

from trainer.workdir.metrics_file import MetricsFile
from trainer.workdir.workdir import (
    BACKBONE,
    CONFIG,
    EVALUATION,
    EVENTS,
    EXPORT_FOLDER,
    HEAD_CHART,
    HEAD_PATH,
    LOCK,
    MANIFEST,
    MARKER,
    METRICS,
    PREDICTIONS,
    REPORT,
    RESULT,
    TENSORBOARD,
    Workdir,
)

__all__ = [
    "BACKBONE",
    "CONFIG",
    "EVALUATION",
    "EVENTS",
    "EXPORT_FOLDER",
    "HEAD_CHART",
    "HEAD_PATH",
    "LOCK",
    "MANIFEST",
    "MARKER",
    "METRICS",
    "PREDICTIONS",
    "REPORT",
    "RESULT",
    "TENSORBOARD",
    "MetricsFile",
    "Workdir",
]
