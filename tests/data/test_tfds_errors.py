"""Errors about TFDS data sets that cannot be prepared or used."""

from __future__ import annotations

import os
import pathlib
import sys
import time

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader

from tests.support import tfds_images
from tests.support.records import write_records
from trainer.data import connectivity
from trainer.data.samples import Source
from trainer.data.tfds_source import open_tfds
from trainer.errors import TrainerError, UsageError

# TFDS knows these data sets once the module is imported.
assert tfds_images


def open_it(dataset: str, folder: pathlib.Path) -> Source:
    return open_tfds(dataset, data_dir=str(folder), test_fraction=0.2)


def test_an_unreachable_host_is_reported_within_seconds(
    tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    start = time.monotonic()
    with pytest.raises(TrainerError) as error:
        open_it("trainer_unreachable", tmp_path)
    assert time.monotonic() - start < 20
    assert str(error.value) == (
        "--dataset='trainer_unreachable': not prepared under"
        f" {tmp_path}/trainer_unreachable/1.0.0 and photos.invalid cannot be"
        " reached; prepare it on a machine with a network (tfds build"
        " trainer_unreachable) and point --tfds_data_dir at it"
    )
    assert error.value.exit_status == 1
    assert capfd.readouterr() == ("", "")


def test_a_dns_look_up_that_hangs_counts_as_unreachable(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connectivity, "_REACH_TIMEOUT_SECS", 0.05)
    monkeypatch.setattr(connectivity, "_answers", lambda url: time.sleep(2))
    start = time.monotonic()
    with pytest.raises(
        TrainerError, match=r"photos\.invalid cannot be reached"
    ):
        open_it("trainer_unreachable", tmp_path)
    assert time.monotonic() - start < 1.5


def test_a_failed_preparation_is_reported_in_one_line(
    tmp_path: pathlib.Path,
) -> None:
    with pytest.raises(TrainerError) as error:
        open_it("trainer_fails", tmp_path)
    assert str(error.value) == (
        "--dataset='trainer_fails': cannot be prepared (Manual folder is"
        " missing. See the manual.); prepare it on a machine with a network"
        " (tfds build trainer_fails) and point --tfds_data_dir at it"
    )


def test_a_data_set_without_train_split_is_rejected(
    tmp_path: pathlib.Path,
) -> None:
    with pytest.raises(TrainerError) as error:
        open_it("trainer_images/no_train", tmp_path)
    assert str(error.value) == (
        "--dataset='trainer_images/no_train': has no train split with"
        " labels (its splits: test); give a data set that has one"
    )


@pytest.mark.parametrize(
    ("file_format", "missing", "text"),
    [
        (
            "riegeli",
            None,
            "riegeli; only tfrecord and array_record can be read: ",
        ),
        (
            "array_record",
            "array_record.python.array_record_module",
            "array_record, and the package array_record is not installed;"
            " install it, or ",
        ),
    ],
)
def test_an_unreadable_file_format_is_rejected(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    file_format: str,
    missing: str | None,
    text: str,
) -> None:
    tfds.builder(
        "trainer_images/train_test", data_dir=str(tmp_path)
    ).download_and_prepare()
    monkeypatch.setattr(
        tfds.core.DatasetInfo,
        "file_format",
        tfds.core.file_adapters.FileFormat(file_format),
    )
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(TrainerError) as error:
        open_it("trainer_images/train_test", tmp_path)
    assert str(error.value) == (
        "--dataset='trainer_images/train_test': prepared in the file format"
        f" {text}prepare it with tfds build --file_format=tfrecord in another"
        " --tfds_data_dir"
    )


def drop_last_record(path: str, file_format: str) -> None:
    """Rewrites a file of records without its last record."""
    if file_format == "array_record":
        records = ArrayRecordReader(path).read_all()
    else:
        records = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
    write_records(path, records[:-1], file_format)


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "record dropped"])
def test_a_damaged_shard_is_named(
    tmp_path: pathlib.Path, damage: str, file_format: str
) -> None:
    dataset = "trainer_images/train_test"
    builder = tfds.builder(
        dataset, data_dir=str(tmp_path), file_format=file_format
    )
    builder.download_and_prepare()
    path = os.fspath(builder.info.splits["train"].filepaths[0])
    content = bytearray(pathlib.Path(path).read_bytes())
    if damage == "truncated":
        del content[-20:]
    elif damage == "record dropped":
        drop_last_record(path, file_format)
        content = bytearray(pathlib.Path(path).read_bytes())
    else:
        content[100] ^= 0xFF
    pathlib.Path(path).write_bytes(content)
    with pytest.raises(TrainerError) as error:
        open_it(dataset, tmp_path)
    text = str(error.value)
    assert text.startswith(f"--dataset={dataset!r}: {path}: cannot be read (")
    assert text.endswith(
        f"); remove {builder.data_path} and prepare the data set again"
    )
    assert "\n" not in text


def test_tfds_data_dir_is_required_without_a_home_folder(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TFDS would create a folder named ~."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        tfds.core.constants, "DATA_DIR", "~/tensorflow_datasets"
    )
    with pytest.raises(UsageError) as caught:
        open_tfds("mnist", data_dir=None, test_fraction=0.2)
    assert str(caught.value) == (
        "--tfds_data_dir: not given, and this user has no home folder to look"
        " for mnist in; give --tfds_data_dir=FOLDER"
    )
    assert list(tmp_path.iterdir()) == []
