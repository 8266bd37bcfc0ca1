"""Writes report.html: the study on one self-contained page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from trainer.errors import reason_of
from trainer.results.page.bars import class_bars
from trainer.results.page.charts import (
    Epoch,
    epochs_of,
    learning_curves,
    stage_ends,
)
from trainer.results.page.matrix import matrix
from trainer.results.page.render import render
from trainer.storage import files
from trainer.study.models import BASE_MODEL
from trainer.study.table import caption, table_columns

_T = TypeVar("_T")


def write_html(
    path: str,
    record: Mapping[str, Any],
    lines: Mapping[int, Sequence[Mapping[str, Any]]],
    mistakes: Sequence[Mapping[str, Any]] | None,
    *,
    reports: Mapping[str, str],
    warn: Callable[[str], None],
) -> None:
    """Writes the page atomically.

    A chart that cannot be drawn is replaced by a note, with a warning.

    Args:
      path: the path of the page.
      record: the content of study.json.
      lines: the lines of metrics.jsonl of each model, by its number.
      mistakes: mistakes of the last model; None if the search for them failed.
      reports: the report of each model, relative to the page, by its name.
      warn: called with the text of each warning.
    """

    def chart(what: str, draw: Callable[[], _T]) -> _T | None:
        try:
            return draw()
        except Exception as error:
            warn(f"{path}: the {what} could not be drawn ({reason_of(error)})")
            return None

    rows, classes = record["models"], record["classes"]
    columns = table_columns(record)
    page = render(
        "study.html",
        title=f"{record['dataset']}: transfer learning, five models",
        caption=caption(record),
        columns=list(columns),
        rows=list(zip(*columns.values(), strict=True)),
        published="published_accuracy" in rows[0],
        reports=list(reports.items()),
        curves=chart("learning curves", lambda: study_curves(lines)),
        classes=chart(
            "accuracy by class",
            lambda: class_bars(
                "Accuracy of each class",
                classes,
                {
                    f"model {row['model']}": row["per_class_accuracy"]
                    for row in rows
                },
            ),
        ),
        last=rows[-1]["model"],
        matrix=chart(
            "confusion matrix",
            lambda: matrix(np.array(rows[-1]["confusion"]), classes),
        ),
        wrong=mistakes,
        trainable=[_trainable(record, row) for row in rows],
    )
    files.write_text(path, page)


def study_curves(
    lines: Mapping[int, Sequence[Mapping[str, Any]]],
) -> list[dict[str, Any]]:
    """Returns the charts of accuracy and loss of the models by epoch.

    A model that starts from the base model's last weights begins at its end.

    Args:
      lines: see `write_html`.
    """
    curves: dict[str, list[Epoch]] = {}
    marks: dict[float, str] = {}
    for number, own in lines.items():
        epochs = epochs_of(own)
        if number > BASE_MODEL:
            whole = epochs_of([*lines[BASE_MODEL], *own])
            marks |= stage_ends(whole)
            begin = max(marks)
            epochs = [epoch for epoch in whole if epoch.x >= begin]
        curves[f"model {number}"] = epochs
    return [chart.drawn() for chart in learning_curves(curves, marks)]


def _trainable(record: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    layers = (
        f"the head and --unfreeze={record['unfreeze']}"
        if row["stage"] == "finetune"
        else "the head"
    )
    return (
        f"model {row['model']}: {layers}, {row['trainable_params']:,} of"
        f" {row['total_params']:,} parameters"
    )
