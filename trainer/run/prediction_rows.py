"""How predictions are written: the rows of the CSV file, and the file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO

from trainer.errors import TrainerError, UsageError
from trainer.results.predict import Prediction, write_csv, write_label_csv
from trainer.run.label_thresholds import trained_thresholds
from trainer.run.trained import Trained
from trainer.storage import files

_TOP_K = 5
# Writes predictions to a stream; returns the number of bad files.
RowWriter = Callable[[Iterable[Prediction], TextIO], int]


def row_writer(trained: Trained, top_k: int | None) -> RowWriter:
    """Returns the function that writes the CSV.

    Args:
      trained: the trained classifier.
      top_k: the value of --top_k; None if it is unset.

    Raises:
      UsageError: --top_k is given, but an image may have several labels.
      TrainerError: there are fewer classes than --top_k.
    """
    names = trained.class_names
    if trained.classifier.multilabel:
        if top_k is not None:
            raise UsageError(
                f"--top_k={top_k}: not read with a run whose images have"
                " several labels, because every class has a column; leave it"
                " out"
            )
        thresholds = trained_thresholds(trained)
        return lambda rows, out: write_label_csv(rows, out, names, thresholds)
    count = top_k or min(_TOP_K, len(names))
    if count > len(names):
        raise TrainerError(
            f"--top_k={count}: the run in {trained.workdir.path} has"
            f" {len(names)} classes; give that many or fewer"
        )
    return lambda rows, out: write_csv(rows, out, names, count)


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
            " a file that can"
        ) from error
