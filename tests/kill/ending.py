"""The final state of a run, as a flat table of texts to compare."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

# Values that depend on the clock. metrics_position does so because the metrics
# before it contain times, whose numbers of digits differ.
_TIMES = {
    "times",
    "train_seconds",
    "seconds",
    "run_seconds",
    "metrics_position",
}


def ending(
    workdir: pathlib.Path, root: pathlib.Path | None = None
) -> dict[str, str]:
    """Returns everything that must be equal after a kill, except times.

    Args:
      workdir: the workdir of a complete run.
      root: a folder whose name does not count; `workdir` if unset.
    """
    found: dict[str, str] = {}
    for path in sorted(workdir.glob("checkpoints/*/*/ckpt-*.index")):
        found.update(_checkpoint(workdir, path.with_suffix("")))
    for path in sorted(workdir.glob("checkpoints/**/*")):
        # Names only: TensorFlow's list of checkpoints contains times.
        if path.is_file():
            found[f"file {path.relative_to(workdir)}"] = "exists"
    for name in ("result.json", *_markers(workdir)):
        for key, value in _json(workdir / name).items():
            found[f"{name} {key}"] = _text(value, key)
    runs = _text(_json(workdir / "config.json")["runs"])
    found["config.json runs"] = runs.replace(str(root or workdir), "ROOT")
    for name in ("manifest.json", "backbone.json"):
        found[name] = _digest((workdir / name).read_bytes())
    for path in sorted(
        [*workdir.glob("head_path.*"), *workdir.glob("predictions.csv")]
    ):
        found[path.name] = _digest(path.read_bytes())
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    for number, line in enumerate(lines, 1):
        found[f"metrics.jsonl line {number}"] = _text(json.loads(line))
    return found


def study_ending(workdir: pathlib.Path) -> dict[str, str]:
    """Returns the final state of a study and of its runs."""
    record = _json(workdir / "study.json")
    found = {k: _text(v) for k, v in record.items() if k != "models"}
    for row in record["models"]:
        for key, value in row.items():
            found[f"model {row['model']} {key}"] = _text(value, key)
    for folder in sorted(workdir.glob("seed*/model*")):
        for key, value in ending(folder, workdir).items():
            found[f"{folder.relative_to(workdir)} {key}"] = value
    return found


def folds_ending(workdir: pathlib.Path) -> dict[str, str]:
    """Returns what a run in folds ends with: its summary, and its runs."""
    found = {
        name: (workdir / name).read_text(encoding="utf-8")
        for name in ("folds.json", "out_of_fold.csv")
    }
    for folder in sorted(workdir.glob("fold-*")):
        rows = (folder / "out_of_fold.csv").read_text(encoding="utf-8")
        found[f"{folder.name} out_of_fold.csv"] = rows
        for key, value in ending(folder, workdir).items():
            found[f"{folder.name} {key}"] = value
    return found


def differences(one: Mapping[str, str], two: Mapping[str, str]) -> list[str]:
    """Returns one line for each key whose values differ."""
    return [
        f"{key}: {one.get(key, 'missing')} != {two.get(key, 'missing')}"
        for key in sorted(one.keys() | two.keys())
        if one.get(key) != two.get(key)
    ]


def _checkpoint(
    workdir: pathlib.Path, prefix: pathlib.Path
) -> Iterator[tuple[str, str]]:
    reader = tf.train.load_checkpoint(str(prefix))
    name = prefix.relative_to(workdir / "checkpoints")
    for key in sorted(reader.get_variable_to_shape_map()):
        value = reader.get_tensor(key)
        if key.startswith(("model/", "slots/")):
            array = np.asarray(value)
            text = f"{array.dtype}{array.shape} {_digest(array.tobytes())}"
            yield f"{name} {key}", text
        elif key.startswith("state/"):
            for field, part in json.loads(value).items():
                yield f"{name} state {field}", _text(part, field)


def _markers(workdir: pathlib.Path) -> list[str]:
    found = sorted(workdir.glob("checkpoints/*/result.json"))
    return [os.fspath(path.relative_to(workdir)) for path in found]


def _json(path: pathlib.Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _text(value: Any, name: str = "") -> str:
    """Returns a value as JSON, which is exact for floats; null for a time."""
    return json.dumps(None if name in _TIMES else _timeless(value))


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in _TIMES}
    if isinstance(value, list):
        return [_timeless(v) for v in value]
    return value


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
