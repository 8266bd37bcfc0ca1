"""Metadata of prepared TFDS data sets from untrusted sources."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tests.support import tfds_images
from tests.support.records import write_records
from tests.support.tfds_features import (
    BESIDE,
    CORE,
    DICT,
    EVIL,
    LABEL,
    LEGACY,
    legacy,
    with_feature,
)
from trainer.data.samples import Source
from trainer.data.tfds_source import open_tfds
from trainer.errors import TrainerError

NAME = "images_of_others"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Folder of a prepared data set that TFDS has no code for."""
    folder = tmp_path_factory.mktemp("tfds")
    builder = tfds.builder("trainer_images/train_test", data_dir=str(folder))
    builder.download_and_prepare()
    found = folder / NAME / "1.0.0"
    shutil.copytree(builder.data_path, found)
    for path in list(found.iterdir()):
        path.rename(found / path.name.replace("trainer_images", NAME))
    change_json(
        found / "dataset_info.json",
        lambda info: {
            **{k: v for k, v in info.items() if k != "configName"},
            "name": NAME,
        },
    )
    return folder


@pytest.fixture
def data_dir(
    prepared: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[pathlib.Path]:
    """Copy of that folder; a module on the path must not be imported."""
    shutil.copytree(prepared, tmp_path / "tfds")
    (tmp_path / "evil_features.py").write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "tfds"
    assert not (tmp_path / "ran").exists()
    assert "evil_features" not in sys.modules


def open_it(data_dir: pathlib.Path, dataset: str = NAME) -> Source:
    return open_tfds(dataset, data_dir=str(data_dir), test_fraction=0.2)


def folder_of(data_dir: pathlib.Path) -> pathlib.Path:
    return data_dir / NAME / "1.0.0"


def change_json(path: pathlib.Path, change: Callable[[Any], Any]) -> None:
    """Rewrites a JSON file."""
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)
def test_more_features_of_tfds_are_accepted(
    data_dir: pathlib.Path, beside: Any
) -> None:
    change_json(
        folder_of(data_dir) / "features.json", with_feature("beside", beside)
    )
    source = open_it(data_dir)
    assert source.class_names == tfds_images.CLASSES
    assert len(source.train) == 12


def test_features_in_the_old_form_are_accepted(data_dir: pathlib.Path) -> None:
    change_json(folder_of(data_dir) / "features.json", lambda _: LEGACY)
    assert len(open_it(data_dir).train) == 12


REJECTED: dict[str, Callable[[Any], Any]] = {
    "the whole": lambda _: {"pythonClassName": EVIL, "jsonFeature": {}},
    "the whole, by the field's other name": lambda _: {
        "python_class_name": EVIL,
        "json_feature": {},
    },
    "a feature": with_feature(
        "extra", {"pythonClassName": EVIL, "jsonFeature": {"json": "{}"}}
    ),
    "a feature in a sequence": with_feature(
        "extra",
        {
            "pythonClassName": f"{CORE}.sequence_feature.Sequence",
            "sequence": {"feature": {"pythonClassName": EVIL}},
        },
    ),
    "json within json": with_feature(
        "extra",
        {
            "pythonClassName": DICT,
            "jsonFeature": {"json": json.dumps({"a": legacy(EVIL, {})})},
        },
    ),
    "the old form": lambda _: legacy(DICT, {"a": legacy(EVIL, {})}),
    "the old form, as text": lambda _: {
        "type": DICT,
        "content": json.dumps({"features": {"a": {"pythonClassName": EVIL}}}),
        "proto_cls": "tensorflow_datasets.FeaturesDict",
    },
    "a class beside the features": with_feature(
        "extra", {"pythonClassName": "os.path", "text": {}}
    ),
}


@pytest.mark.parametrize("dataset", [NAME, f"{NAME}:1.0.0"])
@pytest.mark.parametrize("change", REJECTED.values(), ids=REJECTED)
def test_no_other_class_is_imported(
    data_dir: pathlib.Path, change: Callable[[Any], Any], dataset: str
) -> None:
    path = folder_of(data_dir) / "features.json"
    change_json(path, change)
    with pytest.raises(TrainerError) as error:
        open_it(data_dir, dataset)
    text = str(error.value)
    assert text.startswith(f"--dataset={dataset!r}: {path}: cannot be read (")
    assert "is not a class of tfds.features" in text
    assert text.endswith(
        f"; remove {path.parent} and prepare the data set again"
    )
    assert error.value.exit_status == 1


def test_other_classes_in_dataset_info_are_rejected(
    data_dir: pathlib.Path,
) -> None:
    """TFDS prefers features in this file."""
    path = folder_of(data_dir) / "dataset_info.json"
    features = {"pythonClassName": EVIL, "jsonFeature": {"json": "{}"}}
    change_json(path, lambda info: {**info, "features": features})
    with pytest.raises(TrainerError, match=r"is not a class of tfds\.features"):
        open_it(data_dir)


def test_metadata_of_a_known_data_set_are_checked_too(
    prepared: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """If a version is given, TFDS reads files even for known data sets."""
    shutil.copytree(prepared, tmp_path / "tfds")
    path = tmp_path / "tfds/trainer_images/train_test/1.0.0/features.json"
    change_json(path, REJECTED["a feature"])
    for dataset in (
        "trainer_images/train_test:1.0.0",
        "TrainerImages/train_test:1.0.0",
    ):
        with pytest.raises(TrainerError, match="is not a class of tfds"):
            open_it(tmp_path / "tfds", dataset)


@pytest.mark.parametrize("key", ["names_file", "labels"])
def test_paths_of_other_files_of_names_are_rejected(
    data_dir: pathlib.Path, key: str
) -> None:
    change_json(
        folder_of(data_dir) / "features.json",
        lambda _: legacy(DICT, {"label": legacy(LABEL, {key: "/dev/zero"})}),
    )
    with pytest.raises(TrainerError, match=f"{key} names another file"):
        open_it(data_dir)


def _pipe(path: pathlib.Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _large(path: pathlib.Path) -> None:
    with open(path, "ab") as stream:
        stream.truncate((16 << 20) + 1)


DAMAGES: dict[str, tuple[Callable[[pathlib.Path], object], str]] = {
    "pipe": (_pipe, "not a regular file"),
    "large": (_large, "has 16 MiB; at most 16 are read"),
    "empty": (lambda path: path.write_bytes(b""), ""),
    "no JSON": (lambda path: path.write_bytes(b"<html>"), "Expecting value"),
    "no UTF-8": (lambda path: path.write_bytes(b"\xff\xfe"), "utf-8"),
    "deep": (lambda path: path.write_bytes(b"[" * 100_000), "recursion"),
    "a list": (lambda path: path.write_bytes(b"[]"), ""),
    "a number": (lambda path: path.write_bytes(b"1"), ""),
    "no such field": (lambda path: path.write_bytes(b'{"x": 1}'), '"x"'),
}


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_metadata_are_reported_in_one_line(
    data_dir: pathlib.Path, name: str, damage: str
) -> None:
    path = folder_of(data_dir) / name
    change, reason = DAMAGES[damage]
    change(path)
    with pytest.raises(TrainerError) as error:
        open_it(data_dir)
    text = str(error.value)
    assert text.startswith(f"--dataset={NAME!r}: {path}: cannot be read (")
    assert reason in text
    assert text.isprintable()
    assert error.value.exit_status == 1


@pytest.mark.parametrize("damage", ["pipe", "large", "no UTF-8"])
def test_a_damaged_file_of_names_is_reported_in_one_line(
    data_dir: pathlib.Path, damage: str
) -> None:
    path = folder_of(data_dir) / "label.labels.txt"
    change, _ = DAMAGES[damage]
    change(path)
    with pytest.raises(
        TrainerError, match=r"label\.labels\.txt: cannot be read"
    ):
        open_it(data_dir)


@pytest.mark.parametrize("config", ["..", "../..", "a/b", "/tmp", 3])
def test_a_default_config_must_stay_below_the_data_set(
    data_dir: pathlib.Path, config: Any
) -> None:
    path = data_dir / NAME / ".config" / "metadata.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"default_config_name": config}))
    with pytest.raises(TrainerError, match=r"metadata\.json: cannot be read"):
        open_it(data_dir)


def test_a_shard_that_is_a_pipe_is_rejected(data_dir: pathlib.Path) -> None:
    (shard,) = folder_of(data_dir).glob("*-train.tfrecord*")
    _pipe(shard)
    with pytest.raises(TrainerError, match=r"cannot be read .*not a regular"):
        open_it(data_dir)


def _labels(data_dir: pathlib.Path, labels: list[int]) -> None:
    """Replaces the labels of the first records of the train split."""
    (shard,) = folder_of(data_dir).glob("*-train.tfrecord*")
    records = list(tf.data.TFRecordDataset(str(shard)).as_numpy_iterator())
    for row, label in enumerate(labels):
        example = tf.train.Example.FromString(records[row])
        example.features.feature["label"].int64_list.value[:] = [label]
        records[row] = example.SerializeToString()
    write_records(str(shard), records, "tfrecord")


@pytest.mark.parametrize(
    "label", [3, 100, -2, 2**32, 2**32 + 1, 2**31, -(2**32), 2**63 - 1]
)
def test_a_label_without_class_is_rejected(
    data_dir: pathlib.Path, label: int
) -> None:
    """Cast to 32 bits, 2**32 would be class 0."""
    _labels(data_dir, [0, label])
    with pytest.raises(TrainerError) as error:
        open_it(data_dir)
    (shard,) = folder_of(data_dir).glob("*-train.tfrecord*")
    assert str(error.value) == (
        f"--dataset={NAME!r}: {shard}: record 1 has the label {label}; legal"
        " are 0 to 2, and -1 for none: correct the labels, remove"
        f" {shard.parent} and prepare the data set again"
    )
    _labels(data_dir, [0, 1])
    labels = open_it(data_dir).train.labels
    assert labels.dtype == np.int32
    assert labels[:2].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ("pie\nramen\npie\n", "classes 0 and 2 are both called 'pie'"),
        ("é\npie\ne\u0301\n", "classes 0 and 2 are both called"),
        ("pie\nramen\n", "2 names for 3 classes"),
        ("a\nb\nc\nd\n", "4 names for 3 classes"),
    ],
)
def test_class_names_are_one_per_class(
    data_dir: pathlib.Path, names: str, text: str
) -> None:
    """TFDS accepts such a file without a warning."""
    path = folder_of(data_dir) / "label.labels.txt"
    path.write_text(names)
    with pytest.raises(TrainerError) as error:
        open_it(data_dir)
    assert str(error.value).startswith(f"--dataset={NAME!r}: {text}")
    path.write_text("x\ny\nz\n")
    assert open_it(data_dir).class_names == ("x", "y", "z")


@pytest.mark.parametrize(
    ("count", "text"), [("1", "1 class"), (str(10**15), "1,000,000,000,")]
)
def test_the_number_of_classes_has_a_range(
    data_dir: pathlib.Path, count: str, text: str
) -> None:
    folder = folder_of(data_dir)
    (folder / "label.labels.txt").unlink()
    change_json(
        folder / "features.json",
        with_feature(
            "label",
            {"pythonClassName": LABEL, "classLabel": {"numClasses": count}},
        ),
    )
    with pytest.raises(TrainerError, match=f"{text}.*legal are 2 to 100,000"):
        open_it(data_dir)
