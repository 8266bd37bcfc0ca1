"""The splits of a prepared TFDS data set, read without decoding an image."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from trainer.data import array_records
from trainer.data.records import read_labels, record_spans
from trainer.data.samples import ARRAY_RECORD, TFRECORD, Samples, printable
from trainer.data.tfds_builder import Builder, in_one_line
from trainer.storage import files

_MAX_CLASSES = 100_000


def feature_keys(builder: Builder) -> tuple[str, str]:
    """Returns the names of the image feature and of the label feature.

    Raises:
      TrainerError: the data set does not have one image and one class label
        per example.
    """
    import tensorflow_datasets as tfds

    found = builder.info.features
    is_dict = isinstance(found, tfds.features.FeaturesDict)
    features = dict(found.items()) if is_dict else {}
    keys = builder.info.supervised_keys
    if keys and len(keys) == 2 and all(isinstance(k, str) for k in keys):
        image, label = (features.get(key) for key in keys)
        if (
            isinstance(image, tfds.features.Image)
            and image.np_dtype in (np.uint8, np.uint16)
            and isinstance(label, tfds.features.ClassLabel)
        ):
            return keys[0], keys[1]
    raise builder.error(
        "not an image classification data set (its supervised keys are"
        f" {keys}); give one with an image and a class label per example"
    )


class Splits:
    """Reads the splits of a prepared data set."""

    def __init__(self, builder: Builder, image_key: str, label_key: str):
        """Creates the reader.

        Args:
          builder: of a prepared data set.
          image_key: name of the image feature.
          label_key: name of the label feature.

        Raises:
          TrainerError: the file format or the class names are invalid.
        """
        self._builder = builder
        self._image_key = image_key
        self._label_key = label_key
        self._record_format = _record_format(builder)
        self.class_names = _class_names(builder, label_key)

    def read(self) -> dict[str, Samples]:
        """Returns the samples of the train, validation and test split.

        Raises:
          TrainerError: a file cannot be read, or there is no train split with
            labels.
        """
        with self._builder.parsing():
            found = {
                name: list(zip(info.filepaths, info.shard_lengths, strict=True))
                for name, info in self._builder.info.splits.items()
                if info.num_examples
            }
        splits = {}
        for split in ("train", "validation", "test"):
            if split in found:
                samples = self._samples(found[split])
                # Some data sets keep the labels of the test split secret.
                if samples.labels.min() >= 0:
                    splits[split] = samples
        if "train" not in splits:
            raise self._builder.error(
                "has no train split with labels (its splits:"
                f" {', '.join(found) or 'none'}); give a data set that has one"
            )
        return splits

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
            record_image_key=self._image_key,
            record_format=self._record_format,
        )

    def _check_labels(self, labels: np.ndarray, path: str) -> None:
        """Rejects labels without a class; -1 stands for a secret label.

        Records hold 64 bits, so this comes before the cast to 32.
        """
        wrong = (labels < -1) | (labels >= len(self.class_names))
        if wrong.any():
            number = int(wrong.argmax())
            raise self._builder.error(
                f"{printable(path)}: record {number} has the label"
                f" {labels[number]}; legal are 0 to"
                f" {len(self.class_names) - 1}, and -1 for none:"
                f" {self._builder.prepare_again('correct the labels')}"
            )

    def _columns(self, path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns labels, offsets and lengths of the records of a file.

        Raises:
          OSError, ValueError, tf.errors.OpError: the file cannot be read.
        """
        keys = self._image_key, self._label_key
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
    if not 2 <= count <= _MAX_CLASSES:
        raise builder.error(
            f"{count:,} classes; legal are 2 to {_MAX_CLASSES:,}: give a data"
            " set within this range"
        )
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
