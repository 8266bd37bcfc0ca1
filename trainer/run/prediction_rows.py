"""How predictions are written: the rows of the file, and the file."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO

from trainer.config import Config
from trainer.config.fields import JSON_LINES, OFF
from trainer.errors import TrainerError, UsageError
from trainer.results.json_lines import json_object, write_json_lines
from trainer.results.predict import (
    Decide,
    Prediction,
    write_csv,
    write_label_csv,
)
from trainer.run.label_thresholds import trained_thresholds
from trainer.run.trained import Trained
from trainer.storage import files

_TOP_K = 5
# Writes predictions to a stream; returns the number of bad files.
RowWriter = Callable[[Iterable[Prediction], TextIO], int]


def decision(config: Config) -> Decide | None:
    """Returns how predictions are accepted; None if no flag asks for it."""
    if config.min_confidence is None and config.reject == OFF:
        return None
    return Decide(config.min_confidence or 0.0)


def row_writer(
    trained: Trained,
    output: str | None,
    top_k: int | None,
    decide: Decide | None = None,
) -> RowWriter:
    """Returns the function that writes the predictions.

    Args:
      trained: the trained classifier.
      output: the file; JSON lines if it ends in `.jsonl`, else CSV.
      top_k: the value of --top_k; None if it is unset.
      decide: decides about each prediction; None leaves the decision out.

    Raises:
      UsageError: --top_k is given, but an image may have several labels.
      TrainerError: there are fewer classes than --top_k.
    """
    names = trained.class_names
    several = trained.classifier.multilabel
    if several and top_k is not None:
        raise UsageError(
            f"--top_k={top_k}: not read with a run whose images have several"
            " labels, because every class has a column; leave it out"
        )
    count = top_k or (len(names) if several else min(_TOP_K, len(names)))
    if count > len(names):
        raise TrainerError(
            f"--top_k={count}: the run in {trained.workdir.path} has"
            f" {len(names)} classes; give that many or fewer"
        )
    thresholds = trained_thresholds(trained) if several else None
    if output is not None and output.lower().endswith(JSON_LINES):
        to_object = functools.partial(
            json_object,
            class_names=names,
            top_k=count,
            thresholds=thresholds,
            decide=decide,
        )
        return lambda rows, out: write_json_lines(rows, out, to_object)
    if thresholds is not None:
        return lambda rows, out: write_label_csv(
            rows, out, names, thresholds, decide
        )
    return lambda rows, out: write_csv(rows, out, names, count, decide)


@contextlib.contextmanager
def csv_output(path: str | None) -> Iterator[TextIO]:
    """Opens standard output, or a file that is created when it is complete."""
    if path is None:
        yield sys.stdout
        return
    try:
        with files.output_stream(path) as stream:
            yield stream
    except OSError as error:
        raise TrainerError(
            f"--output={path!r}: cannot be written to ({error.strerror}); give"
            " another file"
        ) from error
