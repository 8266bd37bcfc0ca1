"""Lists the runs below a folder, without TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from trainer.config import Config
from trainer.config.fields import TRAINING_STAGES, TUTORIAL
from trainer.errors import TrainerError, UsageError
from trainer.results.columns import padded
from trainer.results.escaping import csv_line, for_csv, for_terminal
from trainer.results.page.render import number, render, seconds
from trainer.storage import files
from trainer.workdir import CONFIG, RESULT, Workdir

# Folders of a run, in which no other run can be.
_OWN = ("checkpoints", "tensorboard", "export")
# A study has SEED/MODEL below its workdir, a search trials/NAME, folds fold-N.
_DEPTH = 3
_COLUMNS = (
    "run",
    "stage",
    "data",
    "photos",
    "backbone",
    "recipe",
    "test",
    "95 % interval",
    "steps",
    "time in steps",
    "MB",
)
_NOT_FINISHED = "not finished"


class Row(NamedTuple):
    """One run, as it is shown; see `_COLUMNS`."""

    run: str
    stage: str
    data: str
    photos: str
    backbone: str
    recipe: str
    test: str
    interval: str
    steps: str
    time: str
    megabytes: str


def list_runs(config: Config) -> None:
    """Prints the runs below `--runs`, and writes `--output`.

    Raises:
      UsageError: the folder does not exist or holds no run; or `--output` ends
        with another suffix than .html or .csv.
      TrainerError: the file cannot be written.
    """
    folder = config.runs
    _check_output(config.output)
    if not files.is_dir(folder):
        raise UsageError(
            f"--runs={folder!r}: no such folder; give the folder that holds"
            " the workdirs of runs"
        )
    rows = [
        _row(name or folder, os.path.join(folder, name))
        for name in _workdirs(folder, "", _DEPTH)
    ]
    if not rows:
        raise UsageError(
            f"--runs={folder!r}: holds no run; give the folder that holds the"
            " workdirs of runs"
        )
    print("\n".join(_lines(rows)), flush=True)
    if config.output is not None:
        _write(config.output, folder, rows)


def _check_output(output: str | None) -> None:
    if output is not None and not output.lower().endswith((".html", ".csv")):
        raise UsageError(
            f"--output={output!r}: not a table; give FILE.html or FILE.csv"
        )


def _workdirs(folder: str, below: str, depth: int) -> Iterator[str]:
    """Yields the workdirs in a folder, by their names below it, sorted.

    Args:
      folder: the folder.
      below: where in it to look; "" for the folder itself.
      depth: how much deeper to look.
    """
    path = os.path.join(folder, below)
    if files.is_file(os.path.join(path, CONFIG)):
        yield below
    for name in sorted(files.names(path)) if depth else ():
        inner = os.path.join(below, name)
        hidden = name in _OWN or name.startswith(".")
        if not hidden and files.is_dir(os.path.join(folder, inner)):
            yield from _workdirs(folder, inner, depth - 1)


def _row(name: str, path: str) -> Row:
    """Returns what is shown of a run; a damaged one has its error."""
    workdir = Workdir(path)
    try:
        config = (workdir.read_json(CONFIG) or {}).get("config") or {}
        result = workdir.read_json(RESULT)
        return _of_files(name, config, result, _megabytes(path))
    except TrainerError as error:
        text = str(error).partition("(")[2].partition(")")[0] or str(error)
        return Row(name, f"cannot be read: {text}", *[""] * (len(_COLUMNS) - 2))


def _of_files(
    name: str,
    config: Mapping[str, Any],
    result: Mapping[str, Any] | None,
    megabytes: str,
) -> Row:
    """Returns the row of a run.

    Args:
      name: the workdir, below the folder that is listed.
      config: the flags of the run, or {}.
      result: the content of result.json; None without one.
      megabytes: the size of the workdir.
    """
    found = result or {}
    trains = config.get("stage") in TRAINING_STAGES
    return Row(
        run=name,
        stage=str(found.get("stage", config.get("stage", "-"))),
        data=_name_of(config.get("dataset", "-")),
        photos=number(found.get("train_examples")),
        backbone=str(found.get("backbone", config.get("backbone") or "-")),
        recipe=str(config.get("recipe", TUTORIAL)) if trains else "-",
        test=_test(found) if result else _NOT_FINISHED if trains else "-",
        interval=_interval(found.get("test_accuracy_interval")),
        steps=number(found.get("steps")),
        time=seconds(found.get("train_seconds")),
        megabytes=megabytes,
    )


def _name_of(dataset: str) -> str:
    return os.path.basename(dataset.rstrip("/")) or dataset


def _test(result: Mapping[str, Any]) -> str:
    if "test_map" in result:
        return f"mAP {number(result['test_map'])}"
    return number(result.get("test_accuracy"))


def _interval(ends: Any) -> str:
    if not ends:
        return "-"
    return f"[{ends[0]:.3f}, {ends[1]:.3f}]"


def _megabytes(folder: str) -> str:
    """Returns the size of all files below a folder, in 10^6 bytes."""
    return f"{_bytes_below(folder) / 1e6:.1f}"


def _bytes_below(path: str) -> int:
    if files.is_dir(path):
        names = files.names(path)
        return sum(_bytes_below(os.path.join(path, name)) for name in names)
    return files.stat(path).st_size if files.is_file(path) else 0


def _lines(rows: list[Row]) -> Iterator[str]:
    """Yields the rows in columns; the first ones are aligned left."""
    shown = [_COLUMNS, *([for_terminal(x) for x in row] for row in rows)]
    left = ("run", "stage", "data", "backbone", "recipe")
    columns = [
        padded(column, right=column[0] not in left)
        for column in zip(*shown, strict=True)
    ]
    for row in zip(*columns, strict=True):
        yield "  ".join(row).rstrip()


def _write(output: str, folder: str, rows: list[Row]) -> None:
    if output.lower().endswith(".html"):
        text = render(
            "list_runs.html",
            title=f"Runs in {folder}",
            columns=_COLUMNS,
            rows=rows,
        )
    else:
        table = [[for_csv("" if x == "-" else x) for x in row] for row in rows]
        text = "".join(map(csv_line, [list(_COLUMNS), *table]))
    try:
        with files.output_stream(output) as stream:
            stream.write(text)
    except OSError as error:
        raise TrainerError(
            f"--output={output!r}: cannot be written to ({error.strerror});"
            " give another file"
        ) from error
