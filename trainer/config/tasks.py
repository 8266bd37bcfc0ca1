"""Checks that the flags fit `--task`: one label per image, or several."""

from __future__ import annotations

from trainer.config.fields import (
    FIELDS,
    LOSS,
    MAP,
    MULTILABEL,
    NONE,
    Fields,
)
from trainer.config.table_columns import TABLE_SUFFIXES, is_table
from trainer.config.validation import FOLD, KFOLD, parse_validation
from trainer.errors import UsageError

# The metrics of --monitor for images with several labels.
_MONITORS = (LOSS, MAP)


def check_task(fields: Fields) -> None:
    """Checks the flags that `--task=multilabel` restricts.

    Args:
      fields: of a run. A stage that does not read the flag is not checked.

    Raises:
      UsageError: a flag does not fit the task; the message names the first.
    """
    if fields.stage not in FIELDS["task"].metadata["stages"]:
        return
    if fields.task != MULTILABEL:
        if fields.monitor == MAP:
            raise UsageError(
                f"--monitor={MAP}: only with --task={MULTILABEL}; give"
                " accuracy, loss, macro_f1 or balanced_accuracy"
            )
        return
    task = f"--task={MULTILABEL}"
    if not is_table(fields.dataset):
        raise UsageError(
            f"{task}: needs a table of images, but --dataset="
            f"{fields.dataset!r} is not one; give a file with one of"
            f" {', '.join(TABLE_SUFFIXES)}, whose labels are written as"
            " cat|outdoor"
        )
    if fields.monitor not in _MONITORS:
        raise UsageError(
            f"--monitor={fields.monitor}: not possible with {task}; give"
            f" {' or '.join(_MONITORS)}"
        )
    if fields.shots is not None:
        raise UsageError(
            f"--shots={fields.shots}: not possible with {task}, because an"
            " image counts for several classes; give --data_pct"
        )
    if fields.class_weights != NONE:
        raise UsageError(
            f"--class_weights={fields.class_weights!r}: not possible with"
            f" {task}, which chooses a threshold for each class instead; leave"
            " it out"
        )
    if fields.validation is not None:
        rule = parse_validation(fields.validation)
        if rule.mode in (FOLD, KFOLD):
            raise UsageError(
                f"--validation={fields.validation}: no folds with {task}; give"
                " auto, split, train:FRACTION or test"
            )
