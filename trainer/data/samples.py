"""Samples as columns, and data sets as sources of samples."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.data.passed_over import PassedOver

WHOLE_FILE = -1
# Between the labels of a sample that has several.
SEPARATOR = "|"
# The beginning of an origin whose samples are a part of another split.
HELD_OUT = "held out from"
TFRECORD, ARRAY_RECORD = "tfrecord", "array_record"


def id_hash(sample_id: str) -> int:
    """Returns 64 bits of a sample id's hash, in [-2**63, 2**63)."""
    digest = hashlib.blake2b(sample_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def image_digest(encoded: bytes) -> str:
    """Returns the BLAKE2b of an encoded image, 32 hexadecimal digits."""
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def printable(path: str) -> str:
    """Returns a path as text that can be encoded; other bytes are escaped.

    The name of a file need not be text. Python replaces such bytes by
    surrogates, which can be neither printed nor hashed. NUL is escaped too:
    file names cannot contain it, but a list of names may.
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text.replace("\0", "\\x00")


def is_of_earlier_version(
    location: str, manifest: Mapping[str, Any] | None
) -> bool:
    """Returns whether a manifest of a data set lacks `origins`.

    Args:
      location: where the data set is; see `Source`.
      manifest: manifest.json of a run; None if there is none.
    """
    return (
        isinstance(manifest, Mapping)
        and manifest.get("location") == location
        and "origins" not in manifest
    )


def without_ones(
    weights: np.ndarray | None, rows: np.ndarray
) -> np.ndarray | None:
    """Returns the weights of some samples; None if all are 1.

    So samples whose weights are 1 are the same as samples without weights.
    """
    if weights is None or (weights[rows] == 1).all():
        return None
    return weights[rows]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Columns of equal length, one row per sample.

    Attributes:
      ids: unique within the split; the POSIX path below the split's folder,
        in NFC, or the `tfds_id`.
      labels: int32 (n,), indices into the data set's class names; with several
        labels per sample, uint8 (n, classes), 1 for each class that it has.
      paths: the file that holds the sample's encoded image. Several samples
        may share one (a TFRecord shard).
      offsets: int64 (n,), the position of the sample's bytes in that file; in
        an ArrayRecord file the number of the record.
      lengths: int64 (n,), number of bytes, or `WHOLE_FILE`.
      record_image_key: None if the sample's bytes are the encoded image; else
        they are a serialised `tf.train.Example`, and this is the name of the
        bytes feature that holds the encoded image.
      record_image_shape: (height, width, channels) if that feature holds pixels
        as numbers, else None.
      record_format: format of the record files, `TFRECORD` or `ARRAY_RECORD`.
      digests: digests of the encoded images; empty until they are checked.
      groups: the group of each sample, which no split divides; "" for a sample
        that is a group by itself. Empty if the data set has no groups.
      weights: float64 (n,), factors of the training loss, at least 0; None if
        all are 1.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    paths: tuple[str, ...]
    offsets: np.ndarray
    lengths: np.ndarray
    record_image_key: str | None = None
    record_image_shape: tuple[int, int, int] | None = None
    record_format: str = TFRECORD
    digests: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        columns = (self.labels, self.paths, self.offsets, self.lengths)
        if any(len(column) != len(self.ids) for column in columns):
            raise ValueError("columns differ in length")
        for optional in (self.digests, self.groups):
            if optional and len(optional) != len(self.ids):
                raise ValueError("columns differ in length")
        if self.weights is not None and len(self.weights) != len(self.ids):
            raise ValueError("columns differ in length")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int] | np.ndarray) -> Samples:
        """Returns the samples at the given row numbers, in the given order."""
        rows = np.asarray(rows, np.int64)
        return dataclasses.replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            labels=self.labels[rows],
            paths=tuple(self.paths[row] for row in rows),
            offsets=self.offsets[rows],
            lengths=self.lengths[rows],
            digests=tuple(self.digests[row] for row in rows)
            if self.digests
            else (),
            groups=tuple(self.groups[row] for row in rows)
            if self.groups
            else (),
            weights=without_ones(self.weights, rows),
        )

    def id_hashes(self) -> np.ndarray:
        """Returns int64 (n,), the `id_hash` of each sample id."""
        return np.array([id_hash(i) for i in self.ids], np.int64)

    @property
    def multilabel(self) -> bool:
        """Whether a sample may have any number of labels."""
        return self.labels.ndim == 2

    def counts(self, num_classes: int) -> np.ndarray:
        """Returns int64 (num_classes,), the number of samples per class."""
        if self.multilabel:
            return self.labels.sum(axis=0, dtype=np.int64)
        return np.bincount(self.labels, minlength=num_classes)

    def having(self, label: int) -> np.ndarray:
        """Returns which samples are of a class, bool (n,)."""
        if self.multilabel:
            return self.labels[:, label] > 0
        return self.labels == label

    def label_values(self) -> list[Any]:
        """Returns the label of each sample, or the list of its labels."""
        if not self.multilabel:
            return self.labels.tolist()
        return [np.flatnonzero(row).tolist() for row in self.labels]

    def label_names(self, class_names: Sequence[str]) -> list[str]:
        """Returns the class name of each sample, several joined by `|`."""
        if not self.multilabel:
            return [class_names[label] for label in self.labels.tolist()]
        return [
            SEPARATOR.join(class_names[label] for label in labels)
            for labels in self.label_values()
        ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BadRow:
    """A row of a table that cannot be used.

    Attributes:
      line: number of its first line in the file, from 1.
      reason: what is wrong with it.
    """

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A data set whose images are not yet checked.

    Attributes:
      name: short name, for names of folders: 'food3', 'tf_flowers'.
      location: absolute path.
      class_names: in the order of the labels, in NFC.
      train: the train split.
      validation: the validation split; None if there is none.
      test: the test split; None only if there is a validation split.
      bad_rows: rows of a table that were left out.
      origins: where each split comes from, by its name: 'photos/train/', or
        'held out from photos/'.
      passed_over: files of the data set that are not used.
      notes: decisions about the layout that might be meant otherwise.
    """

    name: str
    location: str
    class_names: tuple[str, ...]
    train: Samples
    validation: Samples | None
    test: Samples | None
    bad_rows: tuple[BadRow, ...] = ()
    origins: Mapping[str, str] = dataclasses.field(default_factory=dict)
    passed_over: PassedOver = dataclasses.field(default_factory=PassedOver)
    notes: tuple[str, ...] = ()

    def splits(self) -> dict[str, Samples]:
        """Returns the existing splits by name."""
        found = {
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
        }
        return {name: part for name, part in found.items() if part is not None}
