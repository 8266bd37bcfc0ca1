"""What a run ends with, as a flat table of texts that can be compared."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

# What depends on the clock; metrics_position on how long its figures print.
_TIMES = {"times", "train_seconds", "seconds", "metrics_position"}


def ending(
    workdir: pathlib.Path, root: pathlib.Path | None = None
) -> dict[str, str]:
    """Every array, figure and line that must be equal, times left out.

    Args:
      workdir: of a complete run.
      root: a folder that may have another name; `workdir` if unset.
    """
    found: dict[str, str] = {}
    for path in sorted(workdir.glob("checkpoints/*/*/ckpt-*.index")):
        found.update(_checkpoint(workdir, path.with_suffix("")))
    for path in sorted(workdir.glob("checkpoints/**/*")):
        # The list that TensorFlow keeps holds times.
        if path.is_file():
            found[f"file {path.relative_to(workdir)}"] = "is there"
    for name in ("result.json", *_markers(workdir)):
        for key, value in _json(workdir / name).items():
            found[f"{name} {key}"] = _text(value, key)
    runs = _text(_json(workdir / "config.json")["runs"])
    found["config.json runs"] = runs.replace(str(root or workdir), "ROOT")
    for name in ("manifest.json", "backbone.json"):
        found[name] = _digest((workdir / name).read_bytes())
    for path in sorted(workdir.glob("head_path.*")):
        found[path.name] = _digest(path.read_bytes())
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    for number, line in enumerate(lines, 1):
        found[f"metrics.jsonl line {number}"] = _text(json.loads(line))
    return found


def study_ending(workdir: pathlib.Path) -> dict[str, str]:
    """What a study ends with: its own figures, and those of its runs."""
    record = _json(workdir / "study.json")
    found = {k: _text(v) for k, v in record.items() if k != "models"}
    for row in record["models"]:
        for key, value in row.items():
            found[f"model {row['model']} {key}"] = _text(value, key)
    for folder in sorted(workdir.glob("seed*/model*")):
        for key, value in ending(folder, workdir).items():
            found[f"{folder.relative_to(workdir)} {key}"] = value
    return found


def differences(one: Mapping[str, str], two: Mapping[str, str]) -> list[str]:
    """One line for each key whose values are not the same text."""
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
    """Exact, since JSON writes every digit that a float needs."""
    return json.dumps(None if name in _TIMES else _timeless(value))


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in _TIMES}
    if isinstance(value, list):
        return [_timeless(v) for v in value]
    return value


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
