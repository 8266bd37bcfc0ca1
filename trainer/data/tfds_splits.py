"""The splits of a prepared TFDS data set, read without decoding an image."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from trainer.data import array_records
from trainer.data.passed_over import UNLABELLED, PassedOver
from trainer.data.records import read_labels, record_spans
from trainer.data.samples import ARRAY_RECORD, TFRECORD, Samples, printable
from trainer.data.tfds_builder import Builder, in_one_line
from trainer.data.tfds_features import FeatureKeys
from trainer.storage import files

_MAX_CLASSES = 100_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledSplits:
    """The records of a data set that have a label.

    Attributes:
      splits: split -> its samples, of 'train', 'validation' and 'test'.
      class_names: in the order of the labels.
      passed_over: the records without a label.
    """

    splits: dict[str, Samples]
    class_names: tuple[str, ...]
    passed_over: PassedOver


class Splits:
    """Reads the splits of a prepared data set."""

    def __init__(self, builder: Builder, keys: FeatureKeys):
        """Creates the reader.

        Args:
          builder: of a prepared data set.
          keys: the features to read.

        Raises:
          TrainerError: the file format or the class names are invalid.
        """
        self._builder = builder
        self._keys = keys
        self._record_format = _record_format(builder)
        # None: the labels are numbers, and `read` finds them.
        names = _class_names(builder, keys.label) if keys.named else None
        self._names = names

    def read(self, *, as_before: bool = False) -> LabelledSplits:
        """Returns the samples of the train, validation and test split.

        Records without a label (-1) are left out. A split without any label
        is left out whole.

        Args:
          as_before: whether a single record without a label leaves out its
            split, as in earlier versions.

        Raises:
          TrainerError: a file cannot be read, there is no train split with
            labels, or labels that are numbers are not 0 to n - 1.
        """
        with self._builder.parsing():
            found = {
                name: list(zip(info.filepaths, info.shard_lengths, strict=True))
                for name, info in self._builder.info.splits.items()
                if info.num_examples
            }
        splits, unlabelled = {}, {}
        for split in ("train", "validation", "test"):
            if split not in found:
                continue
            samples = self._samples(found[split])
            rows = np.flatnonzero(samples.labels >= 0)
            without = len(samples) - len(rows)
            if without:
                unlabelled[split] = without
            if not without:
                splits[split] = samples
            elif len(rows) and not as_before:
                splits[split] = samples.take(rows)
        if "train" not in splits:
            raise self._builder.error(
                "has no train split with labels (its splits:"
                f" {', '.join(found) or 'none'}); give a data set that has one"
            )
        return LabelledSplits(
            splits=splits,
            class_names=self._names or self._numbers(splits),
            passed_over=PassedOver(
                counts={UNLABELLED: unlabelled} if unlabelled else {}
            ),
        )

    def _numbers(self, splits: Mapping[str, Samples]) -> tuple[str, ...]:
        """Returns the labels as names, if they are 0 to n - 1.

        Raises:
          TrainerError: a number is missing, or there are too few or too many.
        """
        found = np.unique(np.concatenate([s.labels for s in splits.values()]))
        count, key = int(found[-1]) + 1, self._keys.label
        if len(found) < count:
            missing = next(i for i in range(count) if found[i] != i)
            raise self._builder.error(
                f"the numbers of {key!r} are {found[0]} to {found[-1]} without"
                f" {missing}, and a label is 0 to n - 1 with a record of each;"
                " give a data set whose labels are"
            )
        _check_count(self._builder, count)
        return tuple(map(str, range(count)))

    def _samples(
        self, shards: Sequence[tuple[os.PathLike[str], int]]
    ) -> Samples:
        """Returns the samples of files with their numbers of records."""
        ids: list[str] = []
        labels, paths, offsets, lengths = [], [], [], []
        for shard, count in shards:
            path = os.fspath(shard)
            try:
                found, begin, length = self._columns(path)
                if len(found) != count:
                    raise ValueError(f"{len(found)} records, not {count}")
            except (OSError, ValueError, tf.errors.OpError) as error:
                raise self._builder.error(
                    f"{printable(path)}: cannot be read ({in_one_line(error)});"
                    f" {self._builder.prepare_again()}"
                ) from None
            self._check_labels(found, path)
            base = os.path.basename(path)
            ids.extend(f"{base}__{i}" for i in range(len(begin)))
            paths.extend([path] * len(begin))
            labels.append(found)
            offsets.append(begin)
            lengths.append(length)
        return Samples(
            ids=tuple(ids),
            labels=np.concatenate(labels).astype(np.int32),
            paths=tuple(paths),
            offsets=np.concatenate(offsets),
            lengths=np.concatenate(lengths),
            record_image_key=self._keys.image,
            record_image_shape=self._keys.image_shape,
            record_format=self._record_format,
        )

    def _check_labels(self, labels: np.ndarray, path: str) -> None:
        """Rejects labels without a class; -1 stands for a secret label.

        Records hold 64 bits, so this comes before the cast to 32.
        """
        count = _MAX_CLASSES if self._names is None else len(self._names)
        wrong = (labels < -1) | (labels >= count)
        if wrong.any():
            number = int(wrong.argmax())
            raise self._builder.error(
                f"{printable(path)}: record {number} has the label"
                f" {labels[number]}; legal are 0 to {count - 1:,}, and -1 for"
                " none:"
                f" {self._builder.prepare_again('correct the labels')}"
            )

    def _columns(self, path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns labels, offsets and lengths of the records of a file.

        Raises:
          OSError, ValueError, tf.errors.OpError: the file cannot be read.
        """
        keys = self._keys.image, self._keys.label, self._keys.image_shape
        if not files.is_remote(path):
            # Reading a named pipe would wait for a writer.
            files.open_regular(path).close()
        if self._record_format == ARRAY_RECORD:
            labels, lengths = array_records.read_columns(path, *keys)
            return labels, np.arange(len(labels)), lengths
        offsets, lengths = record_spans(path)
        return read_labels(path, *keys), offsets, lengths


def _class_names(builder: Builder, label_key: str) -> tuple[str, ...]:
    """Returns the names of the classes, two or more and all different.

    Raises:
      TrainerError: there are too few or too many, or two are the same.
    """
    with builder.parsing():
        feature = builder.info.features[label_key]
    # Without a file of names TFDS makes a name for each number.
    count = feature.num_classes or 0
    _check_count(builder, count)
    names = tuple(feature.names)
    # TFDS accepts a file with missing or repeated names.
    if len(names) != count:
        raise builder.error(
            f"{len(names)} names for {count} classes;"
            f" {builder.prepare_again('give each class one name')}"
        )
    seen: dict[str, int] = {}
    for label, name in enumerate(names):
        form = unicodedata.normalize("NFC", name)
        if form in seen:
            raise builder.error(
                f"classes {seen[form]} and {label} are both called"
                f" {name!r}; {builder.prepare_again('give each its own name')}"
            )
        seen[form] = label
    return names


def _check_count(builder: Builder, count: int) -> None:
    """Raises an error if there are too few or too many classes."""
    if not 2 <= count <= _MAX_CLASSES:
        raise builder.error(
            f"{count:,} class{'' if count == 1 else 'es'}; legal are 2 to"
            f" {_MAX_CLASSES:,}: give a data set within this range"
        )


def _record_format(builder: Builder) -> str:
    """Returns `TFRECORD` or `ARRAY_RECORD`.

    Raises:
      TrainerError: it is another format, or its library is not installed.
    """
    found = getattr(builder.info.file_format, "value", "unknown")
    remedy = (
        f"prepare it with tfds build --file_format={TFRECORD} in another"
        " --tfds_data_dir"
    )
    if found not in (TFRECORD, ARRAY_RECORD):
        raise builder.error(
            f"prepared in the file format {found}; only {TFRECORD} and"
            f" {ARRAY_RECORD} can be read: {remedy}"
        )
    if found == ARRAY_RECORD and not array_records.is_installed():
        raise builder.error(
            f"prepared in the file format {ARRAY_RECORD}, and the package"
            f" array_record is not installed; install it, or {remedy}"
        )
    return str(found)
