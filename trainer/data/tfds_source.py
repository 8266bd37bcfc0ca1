"""TFDS data sets: where the encoded images lie in their files of records."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data import array_records
from trainer.data.connectivity import unreachable_host
from trainer.data.records import read_labels, record_spans
from trainer.data.samples import (
    ARRAY_RECORD,
    TFRECORD,
    Samples,
    Source,
    printable,
)
from trainer.data.subsets import split_flat
from trainer.data.tfds_metadata import check_metadata
from trainer.errors import (
    TrainerError,
    UsageError,
    one_line,
    shortened,
    untrusted,
)
from trainer.storage import files

DEMO = "demo"
FOOD10 = "food10"
# What TFDS calls data sets that have a name of their own here.
TFDS_NAMES = {FOOD10: "food101"}
FOOD10_CLASSES = (
    "chicken_curry",
    "chicken_wings",
    "fried_rice",
    "grilled_salmon",
    "hamburger",
    "ice_cream",
    "pizza",
    "ramen",
    "steak",
    "sushi",
)
_MAX_CLASSES = 100_000
_NAME = re.compile(r"([A-Za-z]\w*)(/[\w.-]+)?(:\d+\.\d+\.\d+)?")


def is_tfds_name(dataset: str) -> bool:
    """Whether TFDS knows a data set of this name, config aside."""
    import tensorflow_datasets as tfds

    match = _NAME.fullmatch(dataset)
    return match is not None and match[1] in tfds.list_builders()


def open_tfds(
    dataset: str, *, data_dir: str | None, test_fraction: float
) -> Source:
    """Finds the samples of a TFDS data set, which it prepares if need be.

    To test on: the test split, else the validation split, else a part of
    train. Where there are both, each epoch is validated on the latter.

    Args:
      dataset: `name`, `name/config`, `name:version`, `food10`, or `demo`.
      data_dir: where TFDS keeps its data; None: its own default.
      test_fraction: of each class, where there is a train split only.

    Raises:
      UsageError: no such data set.
      TrainerError: it cannot be had, or is not one of labelled images.
    """
    name = TFDS_NAMES.get(dataset, dataset)
    opened = _Builder(dataset, name, data_dir)
    opened.prepare()
    class_names, splits = opened.read()
    if dataset == FOOD10:
        splits = {
            split: _only(samples, class_names, FOOD10_CLASSES)
            for split, samples in splits.items()
        }
        class_names = FOOD10_CLASSES
    train, validation = splits["train"], splits.get("validation")
    test = splits.get("test")
    if test is None:
        test, validation = validation, None
    if test is None:
        train, test = split_flat(
            train,
            class_names,
            test_fraction,
            dataset=dataset,
            remedy="give a data set with a test split",
        )
    return Source(
        name=dataset.split(":")[0].replace("/", "-"),
        location=opened.location,
        class_names=class_names,
        train=train,
        validation=validation,
        test=test,
    )


def _only(
    samples: Samples, names: tuple[str, ...], wanted: tuple[str, ...]
) -> Samples:
    """The samples of some classes, labelled in the order of `wanted`."""
    new_label = np.array(
        [wanted.index(name) if name in wanted else -1 for name in names],
        np.int32,
    )
    labels = new_label[samples.labels]
    rows = np.flatnonzero(labels >= 0)
    return dataclasses.replace(samples.take(rows), labels=labels[rows])


class _Builder:
    """A TFDS builder and what the user called it."""

    def __init__(self, dataset: str, name: str, data_dir: str | None) -> None:
        import tensorflow_datasets as tfds

        self._dataset, self._name = dataset, name
        match = _NAME.fullmatch(name)
        if match and match[1] == DEMO:
            # The project's own; TFDS knows it once it is imported.
            import trainer.demo.builder  # noqa: F401
        self._data_dir = data_dir and os.path.expanduser(data_dir)
        if data_dir is None and tfds.core.constants.DATA_DIR.startswith("~"):
            # TFDS would make a folder of that name here.
            raise UsageError(
                "--tfds_data_dir: not given, and this user has no home folder"
                f" to look for {name} in; give --tfds_data_dir=FOLDER"
            )
        try:
            if match is None:
                raise tfds.core.registered.DatasetNotFoundError(name)
            self._builder = self._look()
        except tfds.core.registered.DatasetNotFoundError:
            names = sorted({DEMO, FOOD10, *tfds.list_builders()})
            raise UsageError(self._not_found(names)) from None
        except TrainerError:
            raise
        except Exception as error:  # Whatever the data set's own code raises.
            raise UsageError(
                f"--dataset={dataset!r}: {_one_line(error)}; give a config and"
                " version that TFDS has"
            ) from None
        self.location = str(self._builder.data_path)
        # Before anything is downloaded.
        self._image_key, self._label_key = self._keys()

    def _look(self) -> Any:
        """TFDS's builder, which knows what is prepared by now."""
        import tensorflow_datasets as tfds

        check_metadata(
            self._name, self._data_dir, flag=f"--dataset={self._dataset!r}"
        )
        with _quiet():
            return tfds.builder(
                self._name, data_dir=self._data_dir, try_gcs=False
            )

    def _error(self, text: str) -> TrainerError:
        return TrainerError(f"--dataset={self._dataset!r}: {text}")

    def _again(self, first: str = "") -> str:
        """The advice to prepare the data set again, after `first`.

        TFDS leaves a folder that is there as it is.
        """
        start = f"{first}, " if first else ""
        return (
            f"{start}remove {printable(self.location)} and prepare the data set"
            " again"
        )

    def _not_found(self, names: list[str]) -> str:
        near = difflib.get_close_matches(
            re.split("[/:]", self._dataset)[0], names, n=3, cutoff=0.6
        )
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        return (
            f"--dataset={self._dataset!r}: neither a folder nor a TFDS"
            f" name{hint}; give a folder of photos, {DEMO}, {FOOD10} or a name"
            " from the TFDS catalogue"
        )

    def prepare(self) -> None:
        """Downloads and prepares the data set, unless that has been done."""
        import tensorflow_datasets as tfds

        with _quiet():
            prepared = self._builder.is_prepared()
        if prepared:
            return
        # How a data set that is not downloaded is made.
        making = getattr(self._builder, "making", None)
        remedy = (
            "prepare it on a machine with a network (tfds build"
            f" {self._name}) and point --tfds_data_dir at it"
        )
        if making:
            where = printable(self.location)
            print(f"{self._name}: {making} to {where} (once)")
            remedy = "point --tfds_data_dir at a folder with space to write in"
        else:
            # TFDS itself gives up only after minutes.
            host = unreachable_host(self._builder.url_infos or {})
            if host:
                raise self._error(
                    f"not prepared under {self.location} and {host} cannot be"
                    f" reached; {remedy}"
                )
            print(f"{self._name}: downloading to {printable(self.location)}")
        sys.stdout.flush()
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        try:
            self._builder.download_and_prepare(download_config=config)
        # What it raises differs from data set to data set.
        except Exception as error:
            self._builder = self._look()
            with _quiet():
                # Another process may have been faster.
                if self._builder.is_prepared():
                    return
            raise self._error(
                f"cannot be prepared ({_one_line(error)}); {remedy}"
            ) from None

    def read(self) -> tuple[tuple[str, ...], dict[str, Samples]]:
        """Class names, and the samples of those splits that are used."""
        record_format = self._file_format()
        class_names = self._class_names()
        with self._parsing():
            found = {
                name: list(zip(info.filepaths, info.shard_lengths, strict=True))
                for name, info in self._builder.info.splits.items()
                if info.num_examples
            }
        splits = {}
        for split in ("train", "validation", "test"):
            if split in found:
                samples = self._samples(
                    found[split], record_format, class_names
                )
                # Of some data sets the labels of the test split are secret.
                if samples.labels.min() >= 0:
                    splits[split] = samples
        if "train" not in splits:
            raise self._error(
                "has no train split with labels, but"
                f" {', '.join(found) or 'none at all'}; give one that"
                " has"
            )
        return class_names, splits

    def _parsing(self) -> AbstractContextManager[None]:
        """The block in which TFDS makes something of the metadata."""
        label = f"--dataset={self._dataset!r}: {printable(self.location)}"
        return untrusted(label, self._again())

    def _class_names(self) -> tuple[str, ...]:
        """The names of the classes, two or more and no two of them equal."""
        with self._parsing():
            feature = self._builder.info.features[self._label_key]
        # Without a file of names TFDS makes one for each number.
        count = feature.num_classes or 0
        if not 2 <= count <= _MAX_CLASSES:
            raise self._error(
                f"{count:,} classes; legal are 2 to {_MAX_CLASSES:,}: give a"
                " data set of as many"
            )
        names = tuple(feature.names)
        # TFDS takes both from a file of names and goes on.
        if len(names) != count:
            raise self._error(
                f"{len(names)} names for {count} classes;"
                f" {self._again('give each class one name')}"
            )
        seen: dict[str, int] = {}
        for label, name in enumerate(names):
            form = unicodedata.normalize("NFC", name)
            if form in seen:
                raise self._error(
                    f"classes {seen[form]} and {label} are both called"
                    f" {name!r}; {self._again('give each its own name')}"
                )
            seen[form] = label
        return names

    def _file_format(self) -> str:
        """`TFRECORD` or `ARRAY_RECORD`.

        Raises:
          TrainerError: it is another, or its library is not installed.
        """
        found = getattr(self._builder.info.file_format, "value", "unknown")
        remedy = (
            f"prepare it with tfds build --file_format={TFRECORD} in another"
            " --tfds_data_dir"
        )
        if found not in (TFRECORD, ARRAY_RECORD):
            raise self._error(
                f"prepared in the file format {found}; only {TFRECORD} and"
                f" {ARRAY_RECORD} can be read: {remedy}"
            )
        if found == ARRAY_RECORD and not array_records.is_installed():
            raise self._error(
                f"prepared in the file format {ARRAY_RECORD}, and the package"
                f" array_record is not installed; install it, or {remedy}"
            )
        return str(found)

    def _keys(self) -> tuple[str, str]:
        """Names of the image's and the label's feature."""
        import tensorflow_datasets as tfds

        found = self._builder.info.features
        is_dict = isinstance(found, tfds.features.FeaturesDict)
        features = dict(found.items()) if is_dict else {}
        keys = self._builder.info.supervised_keys
        if keys and len(keys) == 2 and all(isinstance(k, str) for k in keys):
            image, label = (features.get(key) for key in keys)
            if (
                isinstance(image, tfds.features.Image)
                and image.np_dtype in (np.uint8, np.uint16)
                and isinstance(label, tfds.features.ClassLabel)
            ):
                return keys
        raise self._error(
            "is not made for classifying images (its supervised keys are"
            f" {keys}); give one of images with one class label each"
        )

    def _samples(
        self,
        shards: Sequence[tuple[os.PathLike[str], int]],
        record_format: str,
        class_names: tuple[str, ...],
    ) -> Samples:
        ids: list[str] = []
        labels, paths, offsets, lengths = [], [], [], []
        for shard, count in shards:
            path = os.fspath(shard)
            try:
                found, begin, length = self._columns(path, record_format)
                if len(found) != count:
                    raise ValueError(f"{len(found)} records, not {count}")
            except (OSError, ValueError, tf.errors.OpError) as error:
                raise self._error(
                    f"{printable(path)}: cannot be read ({_one_line(error)});"
                    f" {self._again()}"
                ) from None
            self._check_labels(found, path, class_names)
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
            record_format=record_format,
        )

    def _check_labels(
        self, labels: np.ndarray, path: str, class_names: tuple[str, ...]
    ) -> None:
        """Refuses labels of no class; -1 stands for a label that is secret.

        Records hold 64 bits, so this comes before 32 are made of them.
        """
        wrong = (labels < -1) | (labels >= len(class_names))
        if wrong.any():
            number = int(wrong.argmax())
            raise self._error(
                f"{printable(path)}: record {number} has the label"
                f" {labels[number]}; legal are 0 to {len(class_names) - 1}, and"
                f" -1 for none: {self._again('correct the labels')}"
            )

    def _columns(
        self, path: str, record_format: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels, offsets and lengths of the records of a file.

        Raises:
          OSError, ValueError, tf.errors.OpError: it cannot be read.
        """
        keys = self._image_key, self._label_key
        if not files.is_remote(path):
            # A named pipe would wait for a writer.
            files.open_regular(path).close()
        if record_format == ARRAY_RECORD:
            labels, lengths = array_records.read_columns(path, *keys)
            return labels, np.arange(len(labels)), lengths
        offsets, lengths = record_spans(path)
        return read_labels(path, *keys), offsets, lengths


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without TFDS's warnings that a data set is not prepared."""
    from absl import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _one_line(error: BaseException) -> str:
    """What an error says, in at most 300 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return shortened(one_line(text), 300)
