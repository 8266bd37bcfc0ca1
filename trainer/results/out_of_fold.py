"""out_of_fold.csv: predictions for the samples that a fold holds out."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence

import numpy as np

from trainer.data.samples import Samples
from trainer.errors import untrusted
from trainer.results.escaping import csv_line, for_csv
from trainer.results.evaluation import Evaluation
from trainer.results.predictions_file import softmax
from trainer.storage import files
from trainer.workdir import Workdir
from trainer.workdir.stored import MAX_BYTES

OUT_OF_FOLD = "out_of_fold.csv"
COLUMNS = (
    "id",
    "fold",
    "true",
    "predicted",
    "probability",
    "true_probability",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoldRows:
    """The rows of one fold.

    Attributes:
      lines: the line of each sample, with its line feed, by the id's cell.
      accuracy: share of the samples that are classified correctly, in [0, 1].
    """

    lines: Mapping[str, str]
    accuracy: float


def write_out_of_fold(
    workdir: Workdir, fold: int, samples: Samples, evaluation: Evaluation
) -> None:
    """Writes the rows of one fold; only the chief writes.

    A probability has the fewest digits from which NumPy reads the same float32.

    Args:
      workdir: of the fold's run.
      fold: the number of the fold, from 1.
      samples: the samples of the fold.
      evaluation: of these samples, with outputs.
    """
    assert evaluation.outputs is not None
    names = [for_csv(name) for name in evaluation.class_names]
    lines = [csv_line(list(COLUMNS))]
    for sample_id, label, row, logits in zip(
        samples.ids,
        samples.labels.tolist(),
        softmax(evaluation.outputs),
        evaluation.outputs,
        strict=True,
    ):
        predicted = int(np.argmax(logits))
        cells = [
            for_csv(sample_id),
            str(fold),
            names[label],
            names[predicted],
            str(row[predicted]),
            str(row[label]),
        ]
        lines.append(csv_line(cells))
    workdir.write_text(OUT_OF_FOLD, "".join(lines))


def read_out_of_fold(
    workdir: Workdir, fold: int, ids: Sequence[str]
) -> FoldRows:
    """Reads the rows of one fold.

    Args:
      workdir: of the fold's run.
      fold: the number of the fold, from 1.
      ids: the ids of the samples of the fold.

    Raises:
      TrainerError: the file is missing or damaged, or of other samples.
    """
    path = workdir.file(OUT_OF_FOLD)
    with untrusted(path, f"remove {workdir.path} to run this fold again"):
        if files.stat(path).st_size > MAX_BYTES:
            raise ValueError(f"is larger than {MAX_BYTES:,} bytes")
        text = files.read(path).decode("utf-8")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        if tuple(next(reader, ())) != COLUMNS:
            raise ValueError(f"line 1 is not {','.join(COLUMNS)}")
        found: dict[str, str] = {}
        correct = 0
        for cells in reader:
            if len(cells) != len(COLUMNS) or cells[1] != str(fold):
                raise ValueError(f"line {reader.line_num} is not of this fold")
            found[cells[0]] = csv_line(cells)
            correct += cells[2] == cells[3]
        if list(found) != [for_csv(sample_id) for sample_id in ids]:
            raise ValueError("its samples are not those of the fold")
    return FoldRows(lines=found, accuracy=correct / len(found))
