"""The results of earlier checks of the images, so that none is read twice.

Two places hold them: a run's manifest.json, and the cache shared by runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from trainer.cache import FileCache
from trainer.data.check import CheckedFile, CheckedSplit

# Split -> sample id -> the result for its file.
EarlierChecks = Mapping[str, Mapping[str, CheckedFile]]


def checks_to_json(splits: Mapping[str, CheckedSplit]) -> dict[str, Any]:
    """Returns the results of a check as JSON holds them."""
    return {
        split: {
            "ids": list(part.samples.ids),
            "labels": part.samples.label_values(),
            "digests": [file.digest for file in part.files],
            "sizes": [file.size for file in part.files],
            "mtimes_ns": [file.mtime_ns for file in part.files],
            "ctimes_ns": [file.ctime_ns for file in part.files],
            "orientations": [file.orientation for file in part.files],
        }
        for split, part in splits.items()
    }


def checks_from_json(
    manifest: Mapping[str, Any] | None, location: str
) -> EarlierChecks:
    """Returns the results of an earlier check of the same data set.

    Args:
      manifest: JSON with a `location`, and `splits` as `checks_to_json`
        returns them; None if there is none.
      location: of the data set; see `Source`.

    Returns:
      {} if the JSON is of another data set or malformed.
    """
    try:
        if manifest is None or manifest["location"] != location:
            return {}
        return {
            split: _files_from_json(columns)
            for split, columns in manifest["splits"].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def cached_checks(
    cache: FileCache, location: str, part: str = ""
) -> EarlierChecks:
    """Returns the results that another run cached; {} if there are none.

    Args:
      cache: holds the results.
      location: of the data set; see `Source`.
      part: what was checked, if not the splits of the data set.
    """
    content = cache.read(_cache_key(location, part))
    try:
        found = json.loads(content) if content else None
    except ValueError:
        return {}
    return checks_from_json(found, location)


def cache_checks(
    cache: FileCache,
    location: str,
    earlier: EarlierChecks,
    splits: Mapping[str, CheckedSplit],
    part: str = "",
) -> None:
    """Caches the results of a check for other runs.

    Writes nothing if they are the same as `earlier`.

    Args:
      cache: holds the results.
      location: of the data set; see `Source`.
      earlier: what `cached_checks` returned.
      splits: the checked samples.
      part: see `cached_checks`.
    """
    found = {
        split: dict(zip(part.samples.ids, part.files, strict=True))
        for split, part in splits.items()
    }
    if found != earlier:
        content = {"location": location, "splits": checks_to_json(splits)}
        key = _cache_key(location, part)
        cache.write(key, json.dumps(content).encode())


def _files_from_json(columns: Mapping[str, Any]) -> dict[str, CheckedFile]:
    """Returns the results of one split, by sample id."""
    return {
        sample_id: CheckedFile(
            size=int(size),
            mtime_ns=int(mtime),
            ctime_ns=int(ctime),
            digest=str(digest),
            orientation=int(orientation),
        )
        for sample_id, size, mtime, ctime, digest, orientation in zip(
            columns["ids"],
            columns["sizes"],
            columns["mtimes_ns"],
            columns["ctimes_ns"],
            columns["digests"],
            columns["orientations"],
            strict=True,
        )
    }


def _cache_key(location: str, part: str) -> dict[str, str]:
    # Another version of TensorFlow may decode what this one cannot.
    return {
        "kind": "looks",
        "location": location,
        "tensorflow": tf.__version__,
        **({"part": part} if part else {}),
    }
