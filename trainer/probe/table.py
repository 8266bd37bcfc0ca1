"""The printed table of a probe, its recommendation and its command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainer.config import Config
from trainer.config.fields import FIELDS
from trainer.errors import shortened
from trainer.probe.row import Row
from trainer.probe.scores import NEIGHBOURS
from trainer.results import commands
from trainer.results.escaping import for_terminal

# The flags of a probe that also say what a run trains on.
_DATA_FLAGS = (
    "dataset",
    "tfds_data_dir",
    "test_fraction",
    "columns",
    "group_by",
    "train_split",
    "val_split",
    "test_split",
    "on_bad_image",
    "seed",
    "cache_dir",
)


def ranked(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows, the most accurate first and failed ones last.

    Equally accurate backbones are ordered by parameters, the smaller first.
    """
    return sorted(rows, key=lambda row: (-row.accuracy, row.parameters or 0))


def equals_of_best(rows: Sequence[Row]) -> list[Row]:
    """Returns the backbones within the interval of the best, best first.

    The data cannot tell them apart: the interval of the best accuracy holds
    theirs.
    """
    complete = [row for row in ranked(rows) if row.head_interval is not None]
    if not complete:
        return []
    best = complete[0].head_interval
    assert best is not None
    return [row for row in complete if row.accuracy >= best[0]]


def recommended(rows: Sequence[Row]) -> Row | None:
    """Returns the fastest backbone within the interval of the best.

    If the speed of one of them is unknown, it is the smallest. None if all
    backbones failed.
    """
    equal = equals_of_best(rows)
    if not equal:
        return None
    speeds = [row.images_per_second for row in equal]
    if None in speeds:
        return min(equal, key=lambda row: row.parameters or 0)
    return max(
        equal,
        key=lambda row: (row.images_per_second or 0.0, -(row.parameters or 0)),
    )


def table_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yields the table; a `*` marks the backbones that equal the best."""
    equal = equals_of_best(rows)
    cells = [
        (
            "backbone",
            "accuracy",
            "95 % interval",
            f"{NEIGHBOURS} nearest",
            "class mean",
            "images/s",
            "parameters",
            "MB",
            "px",
        ),
        *(_cells(row, row in equal) for row in ranked(rows) if not row.error),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        first = line[0].ljust(widths[0])
        rest = (
            text.rjust(width)
            for text, width in zip(line[1:], widths[1:], strict=True)
        )
        yield "  ".join((first, *rest)).rstrip()
    for row in rows:
        if row.error:
            yield for_terminal(f"{row.label}: failed: {row.error}")


def _cells(row: Row, equal: bool) -> tuple[str, ...]:
    assert row.head_interval is not None
    low, high = row.head_interval
    speed = row.images_per_second
    return (
        f"{'*' if equal else ' '} {shortened(for_terminal(row.label), 40)}",
        f"{row.accuracy:.3f}",
        f"[{low:.3f}, {high:.3f}]",
        f"{row.neighbours_accuracy:.3f}",
        f"{row.class_mean_accuracy:.3f}",
        "cached" if speed is None else f"{speed:.1f}",
        f"{row.parameters:,}",
        f"{row.megabytes:.1f}",
        str(row.image_px),
    )


def command_line(config: Config, row: Row) -> str:
    """Returns the command that fine-tunes a backbone, for a shell.

    Args:
      config: the configuration of the probe.
      row: the backbone.
    """
    values = {"stage": "finetune"}
    for name in _DATA_FLAGS:
        value = getattr(config, name)
        if value != FIELDS[name].default:
            values[name] = str(value)
    values["backbone"] = row.backbone
    for name in ("backbone_args", "weights", "weights_origin"):
        value = getattr(row, name)
        if value:
            values[name] = value
    if config.image_size is not None:
        values["image_size"] = str(config.image_size)
    return commands.command_line(values)
