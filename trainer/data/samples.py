"""The lists of samples that every other part of the data code hands around."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence

import numpy as np

WHOLE_FILE = -1
TFRECORD, ARRAY_RECORD = "tfrecord", "array_record"


def id_hash(sample_id: str) -> int:
    """64 bits of the sample id, as a signed integer in [-2**63, 2**63)."""
    digest = hashlib.blake2b(sample_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def image_digest(encoded: bytes) -> str:
    """BLAKE2b of an encoded image, 32 hexadecimal digits."""
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def printable(path: str) -> str:
    """The path as text that can be encoded; bytes that are none are escaped.

    A file's name need not be text: Python stands surrogates in for the bytes
    that are not, and those can be neither printed nor hashed. NUL, which no
    file's name holds and a list of names may, is escaped too.
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text.replace("\0", "\\x00")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Columns of equal length, one row a sample.

    Attributes:
      ids: unique within the split; the POSIX path below the split's folder in
        NFC, or the `tfds_id`.
      labels: int32 (n,), indices into the data set's class names.
      paths: the file that holds the sample's encoded image. Several samples
        may share one (a TFRecord shard).
      offsets: int64 (n,), where the sample's bytes begin in that file; in an
        ArrayRecord file the record's number.
      lengths: int64 (n,), number of bytes, or `WHOLE_FILE`.
      record_image_key: None where the sample's bytes are the encoded image;
        else they are a serialised `tf.train.Example` whose bytes feature of
        this name is the encoded image.
      record_format: of the files that hold them, `TFRECORD` or `ARRAY_RECORD`.
      digests: of the encoded images; empty before they are checked.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    paths: tuple[str, ...]
    offsets: np.ndarray
    lengths: np.ndarray
    record_image_key: str | None = None
    record_format: str = TFRECORD
    digests: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        columns = (self.labels, self.paths, self.offsets, self.lengths)
        if any(len(column) != len(self.ids) for column in columns):
            raise ValueError("columns differ in length")
        if self.digests and len(self.digests) != len(self.ids):
            raise ValueError("columns differ in length")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int] | np.ndarray) -> Samples:
        """The samples at the given row numbers, in the given order."""
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
        )

    def id_hashes(self) -> np.ndarray:
        """int64 (n,): 64 bits of each sample id."""
        return np.array([id_hash(i) for i in self.ids], np.int64)

    def counts(self, num_classes: int) -> np.ndarray:
        """int64 (num_classes,): samples of each class."""
        return np.bincount(self.labels, minlength=num_classes)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A data set as it was found, not yet checked.

    Attributes:
      name: short, for names of folders: 'food3', 'food10', 'tf_flowers'.
      location: where it lies, an absolute path.
      class_names: in the order of the labels, in NFC.
      train: what may be trained on.
      validation: a split of its own, or None.
      test: None only where there is a validation split.
    """

    name: str
    location: str
    class_names: tuple[str, ...]
    train: Samples
    validation: Samples | None
    test: Samples | None

    def splits(self) -> dict[str, Samples]:
        """Those there are, by name."""
        found = {
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
        }
        return {name: part for name, part in found.items() if part is not None}
