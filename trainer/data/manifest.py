"""What a run trains and is judged on, settled before it begins."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from trainer.cache import FileCache
from trainer.data.check import (
    BadImage,
    CheckedFile,
    CheckedSplit,
    apply_policy,
    check_images,
)
from trainer.data.headers import UPRIGHT
from trainer.data.samples import Samples, printable
from trainer.data.sources import Source, open_source
from trainer.data.subsets import (
    nested_subset,
    stratified_sample,
    validation_count,
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Manifest:
    """The samples of a run.

    Attributes:
      name: of the data set, short.
      location: where it lies.
      class_names: in the order of the labels.
      train: the subset of `data_pct`, sorted by id.
      validation: what each epoch is validated on.
      validation_from_test: whether those are part of the test split, for want
        of a validation split.
      final: what the end of a run is judged on.
      final_split: 'test', or 'validation' where there is no test split.
      skipped: left out because they cannot be read.
      shared_content: pairs of a sample of `train` and one of `final` that are
        the same image, byte for byte.
      fingerprint: hexadecimal, of the class names and of role, id, label and
        content of every sample in `train` and `final`, and in `validation`
        where that is a split of its own.
      train_total: readable samples to train on, before the subset.
      splits: all readable samples of the data set, by split.
    """

    name: str
    location: str
    class_names: tuple[str, ...]
    train: Samples
    validation: Samples
    validation_from_test: bool
    final: Samples
    final_split: str
    skipped: tuple[BadImage, ...]
    shared_content: tuple[tuple[str, str], ...]
    fingerprint: str
    train_total: int
    splits: Mapping[str, CheckedSplit]

    @property
    def turned(self) -> tuple[str, ...]:
        """Paths of readable samples whose EXIF orientation is not upright."""
        return tuple(
            printable(path)
            for part in self.splits.values()
            for path, file in zip(part.samples.paths, part.files, strict=True)
            if file.orientation != UPRIGHT
        )

    def to_json(self) -> dict[str, Any]:
        """What manifest.json holds, and `build_manifest` takes as earlier."""
        return {
            "name": self.name,
            "location": self.location,
            "class_names": list(self.class_names),
            "fingerprint": self.fingerprint,
            "train_total": self.train_total,
            "validation_from_test": self.validation_from_test,
            "final_split": self.final_split,
            "train_ids": list(self.train.ids),
            "validation_ids": list(self.validation.ids),
            "skipped": [dataclasses.asdict(bad) for bad in self.skipped],
            "turned": len(self.turned),
            "shared_content": [list(pair) for pair in self.shared_content],
            "splits": _files_json(self.splits),
        }


def build_manifest(
    *,
    dataset: str,
    tfds_data_dir: str | None,
    test_fraction: float,
    data_pct: float,
    seed: int,
    batch_size: int,
    validation_fraction: float,
    on_bad_image: str,
    earlier: Mapping[str, Any] | None = None,
    cache: FileCache | None = None,
) -> Manifest:
    """Finds the data, looks at every image, and settles who trains on what.

    Args:
      dataset: see `sources.open_source`.
      tfds_data_dir: likewise.
      test_fraction: likewise.
      data_pct: percentage of each class's readable training samples.
      seed: which of them.
      batch_size: the global one; validation takes whole batches of the test
        split.
      validation_fraction: how many of those batches.
      on_bad_image: `fail` or `skip`.
      earlier: what `to_json` gave in an earlier start, so that unchanged
        files are not read again; what is not understood of it is ignored.
      cache: where other runs left what their check of the images found.

    Raises:
      UsageError: there is no such data set.
      TrainerError: it cannot be used as it is.
    """
    source = open_source(
        dataset, tfds_data_dir=tfds_data_dir, test_fraction=test_fraction
    )
    cache = cache or FileCache(None)
    known = _known(earlier, source) or _cached_looks(cache, source)
    results = [
        check_images(samples, split=split, known=known.get(split))
        for split, samples in source.splits().items()
    ]
    splits = apply_policy(
        results, class_names=source.class_names, on_bad_image=on_bad_image
    )
    _cache_looks(cache, source, known, splits)
    splits = {name: _with_digests(part) for name, part in splits.items()}
    num_classes = len(source.class_names)
    train = splits["train"].take(
        nested_subset(splits["train"].samples, num_classes, data_pct, seed)
    )
    final_split = "test" if "test" in splits else "validation"
    final = splits[final_split]
    validation = splits.get("validation")
    if validation is None:
        count = validation_count(
            len(final.samples), batch_size, validation_fraction
        )
        validation = final.take(
            stratified_sample(final.samples, num_classes, count)
        )
    return Manifest(
        name=source.name,
        location=source.location,
        class_names=source.class_names,
        train=train.samples,
        validation=validation.samples,
        validation_from_test="validation" not in splits,
        final=final.samples,
        final_split=final_split,
        skipped=tuple(bad for result in results for bad in result.bad),
        shared_content=_shared_content(train, final),
        fingerprint=_fingerprint(
            source.class_names,
            {
                "train": train,
                "final": final,
                # A sample of the final split follows from it.
                **{k: v for k, v in splits.items() if k == "validation"},
            },
        ),
        train_total=len(splits["train"].samples),
        splits=splits,
    )


def _with_digests(part: CheckedSplit) -> CheckedSplit:
    digests = tuple(file.digest for file in part.files)
    return dataclasses.replace(
        part, samples=dataclasses.replace(part.samples, digests=digests)
    )


def _files_json(splits: Mapping[str, CheckedSplit]) -> dict[str, Any]:
    """What a look has found, as JSON holds it."""
    return {
        split: {
            "ids": list(part.samples.ids),
            "labels": part.samples.labels.tolist(),
            "digests": [file.digest for file in part.files],
            "sizes": [file.size for file in part.files],
            "mtimes_ns": [file.mtime_ns for file in part.files],
            "ctimes_ns": [file.ctime_ns for file in part.files],
            "orientations": [file.orientation for file in part.files],
        }
        for split, part in splits.items()
    }


def _looks_key(source: Source) -> dict[str, str]:
    # Another version may decode what this one cannot.
    return {
        "kind": "looks",
        "location": source.location,
        "tensorflow": tf.__version__,
    }


def _cached_looks(
    cache: FileCache, source: Source
) -> dict[str, dict[str, CheckedFile]]:
    """What `_known` makes of the looks of another run; {} if in doubt."""
    content = cache.read(_looks_key(source))
    try:
        return _known(json.loads(content), source) if content else {}
    except ValueError:
        return {}


def _cache_looks(
    cache: FileCache,
    source: Source,
    known: Mapping[str, Mapping[str, CheckedFile]],
    splits: Mapping[str, CheckedSplit],
) -> None:
    """Leaves for other runs what this one has found new."""
    found = {
        split: dict(zip(part.samples.ids, part.files, strict=True))
        for split, part in splits.items()
    }
    if found != known:
        looks = {"location": source.location, "splits": _files_json(splits)}
        cache.write(_looks_key(source), json.dumps(looks).encode())


def _known(
    earlier: Mapping[str, Any] | None, source: Source
) -> dict[str, dict[str, CheckedFile]]:
    """Split -> sample id -> what is known of its file; {} if in doubt."""
    try:
        if earlier is None or earlier["location"] != source.location:
            return {}
        return {
            split: {
                sample_id: CheckedFile(
                    size=int(size),
                    mtime_ns=int(mtime),
                    ctime_ns=int(ctime),
                    digest=str(digest),
                    orientation=int(orientation),
                )
                for sample_id, size, mtime, ctime, digest, orientation in zip(
                    part["ids"],
                    part["sizes"],
                    part["mtimes_ns"],
                    part["ctimes_ns"],
                    part["digests"],
                    part["orientations"],
                    strict=True,
                )
            }
            for split, part in earlier["splits"].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def _shared_content(
    train: CheckedSplit, final: CheckedSplit
) -> tuple[tuple[str, str], ...]:
    """One pair for each sample of `final` whose image is in `train`."""
    train_ids: dict[str, str] = {}
    for file, sample_id in zip(train.files, train.samples.ids, strict=True):
        train_ids.setdefault(file.digest, sample_id)
    return tuple(
        (train_ids[file.digest], sample_id)
        for file, sample_id in zip(final.files, final.samples.ids, strict=True)
        if file.digest in train_ids
    )


def _fingerprint(
    class_names: tuple[str, ...], roles: Mapping[str, CheckedSplit]
) -> str:
    """Does not depend on the order of the samples."""
    rows = sorted(
        (role, sample_id, int(label), file.digest)
        for role, part in roles.items()
        for sample_id, label, file in zip(
            part.samples.ids, part.samples.labels, part.files, strict=True
        )
    )
    text = json.dumps([class_names, rows])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
