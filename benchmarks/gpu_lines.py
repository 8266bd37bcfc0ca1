"""The settings and the output lines of the parts of `benchmarks.gpu`."""

from __future__ import annotations

import gc
import json
import os
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from benchmarks.gpu import Settings

__all__ = ["Lines", "device_name", "run_part"]

# Runs a part: prints a line for each of its cases.
Part = Callable[[Settings, "Lines"], None]


def device_name() -> str:
    """Returns the models of the GPUs, or the number of cores without one."""
    names = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return ", ".join(names) or f"CPU, {len(os.sched_getaffinity(0))} cores"


class Lines:
    """Prints the lines of a part, and counts the cases that failed.

    Attributes:
      failed: number of failed cases.
    """

    def __init__(self, part: str, seconds: float) -> None:
        """Creates the object.

        Args:
          part: name of the part.
          seconds: time after which no further case starts.
        """
        self.failed = 0
        self._part = part
        self._device = device_name()
        self._end = time.monotonic() + seconds

    def show(self, what: str, **values: Any) -> None:
        """Prints a line with the given values."""
        line = {"part": self._part, "device": self._device, "what": what}
        print(json.dumps({**line, **values}), flush=True)

    def case(self, what: str, measure: Callable[[], Mapping[str, Any]]) -> None:
        """Measures a case and prints its values, or the error if it fails."""
        if time.monotonic() > self._end:
            self.show(what, skipped="--minutes is over")
            return
        began = time.monotonic()
        try:
            values = dict(measure())
        # `sides.timed` exits if the process fails.
        except (Exception, SystemExit) as error:
            self.failed += 1
            traceback.print_exc()
            self.show(what, error=error_text(error))
        else:
            seconds = round(time.monotonic() - began, 1)
            self.show(what, **values, case_seconds=seconds)
        # The next case must find the memory free.
        keras.utils.clear_session()
        gc.collect()


def error_text(error: BaseException) -> str:
    """Returns the type and the beginning of the message, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"


def rates(
    images: int, rounds: Iterable[float], digits: int = 1
) -> dict[str, Any]:
    """Returns images/s of rounds that took the given seconds.

    Returns:
      `images_per_second`, the median of the rounds, and `range`.
    """
    found = sorted(images / seconds for seconds in rounds)
    return {
        "images_per_second": round(found[len(found) // 2], digits),
        "range": [round(found[0], digits), round(found[-1], digits)],
    }


def run_part(parts: Mapping[str, Part], argv: Sequence[str]) -> int:
    """Runs one part; returns the exit status.

    Args:
      parts: the parts by name.
      argv: the part's name, its settings as JSON, and its seconds.
    """
    name, settings, seconds = argv
    lines = Lines(name, float(seconds))
    given = json.loads(settings)
    parts[name](Settings(**{**given, "workdir": Path(given["workdir"])}), lines)
    return 1 if lines.failed else 0
