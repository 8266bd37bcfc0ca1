"""A CSV data set of the images without findings."""

from __future__ import annotations

import csv
import io
import os

from trainer.data.samples import WHOLE_FILE, Source, printable
from trainer.doctor.report import Checked
from trainer.errors import TrainerError, UsageError
from trainer.storage import files
from trainer.storage.writing import write_text

COLUMNS = ("path", "label", "split")


def check_listable(source: Source, path: str) -> None:
    """Checks that a list can name the images of a data set.

    Raises:
      UsageError: the images are records, which have no path.
    """
    if source.train.record_image_key is not None or (
        len(source.train) and int(source.train.lengths[0]) != WHOLE_FILE
    ):
        raise UsageError(
            f"--write_list={path!r}: the images of {source.name} are records"
            " of larger files, which a list cannot name; leave it out"
        )


def write_list(checked: Checked, path: str) -> int:
    """Writes the images without findings; returns their number.

    Args:
      checked: the result of the check.
      path: of the CSV file, which is replaced.

    Raises:
      TrainerError: the name of a file is not text, or nothing is left.
    """
    pool = checked.pool
    left_out = checked.rows()
    rows = [row for row in range(len(pool.samples)) if row not in left_out]
    if not rows:
        raise TrainerError(
            f"--write_list={path!r}: every image has a finding, so the list"
            " would be empty; see check.html"
        )
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        image = files.absolute(os.path.expanduser(pool.samples.paths[row]))
        if image != printable(image):
            raise TrainerError(
                f"--write_list={path!r}: the name of {printable(image)} is not"
                " text; rename it"
            )
        label = pool.class_names[int(pool.samples.labels[row])]
        writer.writerow((image, label, pool.splits[row]))
    write_text(path, stream.getvalue())
    return len(rows)
