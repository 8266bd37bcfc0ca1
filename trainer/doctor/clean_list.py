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
      TrainerError: the name of a file is not text, or a name begins or ends
        with a space, or nothing is left.
    """
    pool = checked.pool
    left_out = checked.rows()
    rows = [row for row in range(len(pool.samples)) if row not in left_out]
    if not rows:
        raise TrainerError(
            f"--write_list={path!r}: every image has a finding, so the list"
            " would be empty; see check.html"
        )
    samples = pool.samples
    names = list(COLUMNS)
    names += ["group"] if samples.groups else []
    names += [] if samples.weights is None else ["weight"]
    stream = io.StringIO(newline="")
    # The default would not quote a name with a carriage return.
    writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(names)
    for row in rows:
        image = files.absolute(os.path.expanduser(pool.samples.paths[row]))
        if image != printable(image):
            raise TrainerError(
                f"--write_list={path!r}: the name of {printable(image)} is not"
                " text; rename it"
            )
        cells = [image, pool.class_names[int(samples.labels[row])]]
        cells.append(pool.splits[row])
        if samples.groups:
            cells.append(samples.groups[row])
        if samples.weights is not None:
            cells.append(repr(float(samples.weights[row])))
        for cell in cells:
            if cell != cell.strip():
                raise TrainerError(
                    f"--write_list={path!r}: {cell!r} begins or ends with a"
                    " space, which tables do not keep; rename it"
                )
        writer.writerow(cells)
    write_text(path, stream.getvalue())
    return len(rows)
