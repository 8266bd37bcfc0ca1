"""Checks that every image can be decoded, before training begins."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from trainer.data.array_records import read_records
from trainer.data.decode import image_of_record
from trainer.data.formats import unfit_to_read, what_is_wrong
from trainer.data.headers import orientation
from trainer.data.samples import (
    ARRAY_RECORD,
    WHOLE_FILE,
    Samples,
    image_digest,
    printable,
)
from trainer.errors import TrainerError
from trainer.native_logs import native_notes_hidden
from trainer.storage import files

TRAIN = "train"
# Checking one image costs less than handing a task to a thread.
_IMAGES_PER_TASK = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckedFile:
    """The result of the check of a readable image.

    Attributes:
      size: of the file, in bytes; of the whole shard for a record.
      mtime_ns: time at which the file was last written.
      ctime_ns: time at which the system last changed the file or its
        attributes, which users cannot set back.
      digest: BLAKE2b of the encoded image, 32 hexadecimal digits.
      orientation: EXIF orientation, 1 to 8; 1 is upright.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    digest: str
    orientation: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class BadImage:
    """A sample whose image cannot be read.

    Attributes:
      split: 'train', 'validation' or 'test'.
      id: id of the sample.
      path: printable path of its file.
      reason: what is wrong with the image.
    """

    split: str
    id: str
    path: str
    reason: str

    def __str__(self) -> str:
        # The path of a shard does not tell which record is meant.
        where = "" if self.path.endswith(self.id) else f" ({self.id})"
        return f"{self.path}{where}: {self.reason}"


class BadImagesError(TrainerError):
    """Raised if images cannot be read and the policy is to fail.

    Attributes:
      bad: all of these images; the message names the first.
    """

    def __init__(self, bad: Sequence[BadImage]) -> None:
        """Creates the error.

        Args:
          bad: the images, at least one.
        """
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        super().__init__(
            f"{bad[0]}{more}; fix or remove it, or"
            " --on_bad_image=skip trains on the rest"
        )
        self.bad = tuple(bad)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CheckResult:
    """The result of the check of all samples of a split.

    Attributes:
      split: name of the split.
      samples: all samples of the split.
      files: the result for each sample; None if its image cannot be read.
      bad: the samples whose images cannot be read.
    """

    split: str
    samples: Samples
    files: tuple[CheckedFile | None, ...]
    bad: tuple[BadImage, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CheckedSplit:
    """The readable samples of a split, with the result for each."""

    samples: Samples
    files: tuple[CheckedFile, ...]

    def take(self, rows: np.ndarray) -> CheckedSplit:
        """Returns the samples at the given row numbers, in the given order."""
        return CheckedSplit(
            samples=self.samples.take(rows),
            files=tuple(self.files[row] for row in rows),
        )

    def with_digests(self) -> CheckedSplit:
        """Returns the split with the digests of its files in its samples."""
        digests = tuple(file.digest for file in self.files)
        return dataclasses.replace(
            self, samples=dataclasses.replace(self.samples, digests=digests)
        )


def check_images(
    samples: Samples,
    *,
    split: str,
    known: Mapping[str, CheckedFile] | None = None,
) -> CheckResult:
    """Reads and decodes every image once, on all cores.

    The format is detected by content, not by suffix.

    Args:
      samples: the samples to check.
      split: name of their split.
      known: results of an earlier check, by sample id; a file whose size and
        times are unchanged is not read again.

    Returns:
      A digest for each readable sample, a reason for each of the others.
    """
    earlier = known or {}

    def check(row: int) -> CheckedFile | str:
        try:
            return _check(samples, row, earlier.get(samples.ids[row]))
        except OSError as error:
            return f"cannot be read ({error.strerror})"

    def check_some(start: int) -> list[CheckedFile | str]:
        return [
            check(row) for row in range(len(samples))[start:][:_IMAGES_PER_TASK]
        ]

    # The decoders print messages of their own about what they cannot read.
    with native_notes_hidden(), ThreadPoolExecutor(os.cpu_count()) as pool:
        starts = range(0, len(samples), _IMAGES_PER_TASK)
        outcomes = list(
            itertools.chain.from_iterable(pool.map(check_some, starts))
        )
    return CheckResult(
        split=split,
        samples=samples,
        files=tuple(
            outcome if isinstance(outcome, CheckedFile) else None
            for outcome in outcomes
        ),
        bad=tuple(
            BadImage(
                split=split,
                id=samples.ids[row],
                path=printable(samples.paths[row]),
                reason=outcome,
            )
            for row, outcome in enumerate(outcomes)
            if isinstance(outcome, str)
        ),
    )


def apply_policy(
    results: Sequence[CheckResult],
    *,
    class_names: Sequence[str],
    on_bad_image: str,
    every_class: bool = True,
) -> dict[str, CheckedSplit]:
    """Applies the policy for bad images.

    Args:
      results: the result of each split.
      class_names: in the order of the labels.
      on_bad_image: `fail` or `skip`.
      every_class: whether train must have every class, and each other split
        those that it has samples of.

    Returns:
      The readable samples of each split, by its name.

    Raises:
      BadImagesError: there are bad images and the policy is `fail`.
      TrainerError: a class has no readable image in a split that must have it.
    """
    bad = [image for result in results for image in result.bad]
    if bad and on_bad_image == "fail":
        raise BadImagesError(bad)
    checked = {}
    for result in results:
        good = [row for row, file in enumerate(result.files) if file]
        samples = result.samples.take(good)
        counts = samples.counts(len(class_names)).tolist()
        listed = result.samples.counts(len(class_names)).tolist()
        for label, name in enumerate(class_names):
            # Some TFDS splits have no record of a class, and images with
            # several labels may lack one outside of training.
            listed_here = listed[label] and not samples.multilabel
            needed = every_class and (result.split == TRAIN or listed_here)
            if needed and not counts[label]:
                first_bad = _first_bad(result, label)
                raise TrainerError(
                    f"class {name!r}: no readable image in the"
                    f" {result.split} split{first_bad};"
                    f" {_advice(result, class_names, first_bad)}"
                )
        checked[result.split] = CheckedSplit(
            samples=samples,
            files=tuple(file for file in result.files if file),
        )
    return checked


def _advice(
    result: CheckResult, class_names: Sequence[str], first_bad: str
) -> str:
    """Returns what to do about a class without readable images in a split."""
    if result.samples.record_image_key is not None:
        return "give a data set that has images of every class"
    # If the trainer makes the splits, an added image may go to another split;
    # an image with the same name goes to the same one.
    advice = "replace the unreadable images" if first_bad else "add some"
    if len(class_names) > 2:
        advice += ", or remove every folder of the class"
    return advice


def _first_bad(result: CheckResult, label: int) -> str:
    """Returns ` (PATH: REASON)` for a class's first bad image, else ``."""
    rows = [row for row, file in enumerate(result.files) if file is None]
    for row, image in zip(rows, result.bad, strict=True):
        if result.samples.having(label)[row]:
            return f" ({image})"
    return ""


def _check(
    samples: Samples, row: int, earlier: CheckedFile | None
) -> CheckedFile | str:
    """Returns the result for an image, or what is wrong with it."""
    path = samples.paths[row]
    found = files.stat(path)
    length = int(samples.lengths[row])
    unfit = unfit_to_read(
        found.st_mode, found.st_size if length == WHOLE_FILE else length
    )
    if unfit:
        return unfit
    if earlier and (earlier.size, earlier.mtime_ns, earlier.ctime_ns) == (
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
    ):
        return earlier
    encoded = read_encoded_image(samples, row)
    if encoded is None:
        return f"the record has no image {samples.record_image_key!r}"
    return what_is_wrong(encoded) or CheckedFile(
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
        digest=image_digest(encoded),
        orientation=orientation(encoded),
    )


def read_encoded_image(samples: Samples, row: int) -> bytes | None:
    """Reads an encoded image; returns None if the record has none.

    Raises:
      OSError: the file, or the record, cannot be read.
    """
    path, offset = samples.paths[row], int(samples.offsets[row])
    length = int(samples.lengths[row])
    if samples.record_format == ARRAY_RECORD:
        (data,) = read_records([path], [offset])
    else:
        whole = length == WHOLE_FILE
        data = files.read(path, offset, None if whole else length)
    if samples.record_image_key is None:
        return data
    if samples.record_image_shape is not None:
        return _image_of_pixels(data, samples)
    try:
        features = tf.train.Example.FromString(data).features.feature
    except DecodeError:
        return None
    values = features[samples.record_image_key].bytes_list.value
    return values[0] if values else None


def _image_of_pixels(record: bytes, samples: Samples) -> bytes | None:
    """Returns the pixels of a record as PNG; None if it has none."""
    key, shape = samples.record_image_key, samples.record_image_shape
    try:
        found = image_of_record(tf.constant(record), str(key), shape)
    except tf.errors.OpError:
        return None
    return bytes(found.numpy())
