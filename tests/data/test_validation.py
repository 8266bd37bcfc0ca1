"""The samples that --validation chooses, for each layout of the data."""

from __future__ import annotations

import pathlib
import re
import shutil
from typing import Any

import numpy as np
import pytest

from tests.support.images import CLASSES, make_folder
from tests.support.manifests import build, stored
from trainer.config.validation import parse_validation
from trainer.data.manifest import Manifest
from trainer.data.validation import classes_without_validation
from trainer.errors import TrainerError, UsageError

BOTH = {"train": 6, "val": 2, "test": 4}
NO_TEST = {"train": 6, "val": 2}
NO_VALIDATION = {"train": 6, "test": 4}
SMALL = ", ".join(f"{name!r} has 6" for name in CLASSES)


def of(
    folder: str | pathlib.Path, value: str | None, **changes: Any
) -> Manifest:
    """Returns the manifest of all training samples, by default."""
    rule = None if value is None else parse_validation(value)
    values = {"data_pct": 100, **changes}
    return build(folder, validation=rule, **values)


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """A folder of each layout."""
    root = tmp_path_factory.mktemp("layouts")
    layouts = {"both": BOTH, "no_test": NO_TEST, "no_val": NO_VALIDATION}
    return {
        name: make_folder(root / name, layout)
        for name, layout in layouts.items()
    }


# Six of each of three classes train; two validate; four test, in three batches
# of four, of which --validation_fraction=0.5 is one.
@pytest.mark.parametrize(
    ("layout", "value", "source", "train", "validation"),
    [
        ("both", None, "split", 18, 6),
        ("both", "split", "split", 18, 6),
        ("both", "auto", "split", 18, 6),
        ("both", "test", "test", 18, 4),
        ("both", "train:0.5", "train", 9, 9),
        ("both", "fold:2/3", "fold 2 of 3", 12, 6),
        ("no_test", None, "split", 18, 6),
        ("no_test", "split", "split", 18, 6),
        # The validation split is what the finished model is evaluated on.
        ("no_test", "auto", "train", 15, 3),
        ("no_val", None, "test", 18, 4),
        ("no_val", "auto", "train", 15, 3),
        ("no_val", "test", "test", 18, 4),
        ("no_val", "train:0.34", "train", 12, 6),
        ("no_val", "fold:1/6", "fold 1 of 6", 15, 3),
    ],
)
def test_a_value_and_a_layout_choose_the_samples(
    folders: dict[str, str],
    layout: str,
    value: str | None,
    source: str,
    train: int,
    validation: int,
) -> None:
    manifest = of(folders[layout], value)
    assert manifest.validation_source == source
    assert len(manifest.train) == train
    assert len(manifest.validation) == validation
    assert manifest.validation_from_test == (source == "test")
    if source not in ("split", "test"):
        ids = set(manifest.train.ids), set(manifest.validation.ids)
        assert not ids[0] & ids[1]
        assert len(ids[0] | ids[1]) == 18
        assert manifest.validation.counts(3).min() >= 1
    values = stored(manifest)
    assert values["validation_source"] == source
    assert values["train_ids"] == list(manifest.train.ids)
    assert values["validation_ids"] == list(manifest.validation.ids)


@pytest.mark.parametrize(
    ("layout", "value", "same"),
    [
        ("both", "split", True),
        ("both", "auto", True),
        ("both", "test", False),
        ("no_val", "test", True),
        ("no_val", "train:0.5", False),
        ("no_val", "fold:1/2", False),
    ],
)
def test_the_fingerprint_covers_the_validation_samples(
    folders: dict[str, str], layout: str, value: str, same: bool
) -> None:
    unset = of(folders[layout], None).fingerprint
    found = of(folders[layout], value)
    assert (found.fingerprint == unset) == same
    again = of(folders[layout], value, earlier=stored(found))
    assert again.to_json() == found.to_json()


def test_each_fold_has_its_own_fingerprint(folders: dict[str, str]) -> None:
    folds = [of(folders["no_val"], f"fold:{n}/3") for n in (1, 2, 3)]
    assert len({fold.fingerprint for fold in folds}) == 3
    ids = [sample for fold in folds for sample in fold.validation.ids]
    assert sorted(ids) == sorted(of(folders["no_val"], None).train.ids)


def test_a_manifest_of_an_earlier_version_is_read(
    folders: dict[str, str],
) -> None:
    manifest = of(folders["both"], None)
    values = stored(manifest)
    for name in ("validation_source", "shared_validation"):
        del values[name]
    assert of(folders["both"], None, earlier=values).to_json() == (
        manifest.to_json()
    )


def test_held_out_samples_nest_in_the_subset(folders: dict[str, str]) -> None:
    half, whole = (
        of(folders["no_val"], "train:0.34", data_pct=pct) for pct in (50, 100)
    )
    assert set(half.validation.ids) < set(whole.validation.ids)
    assert set(half.train.ids) < set(whole.train.ids)


@pytest.mark.parametrize(
    ("layout", "value", "error", "message"),
    [
        (
            "no_val",
            "split",
            UsageError,
            "--validation=split: no_val has no validation split; add a folder"
            " val/ to a folder of photos, or give --validation=train:0.1",
        ),
        (
            "no_test",
            "test",
            UsageError,
            "--validation=test: no_test has no test split; give"
            " --validation=split for its validation split, or"
            " --validation=train:0.1",
        ),
        (
            "both",
            "fold:1/7",
            TrainerError,
            "--validation=fold:1/7: 7 folds need 7 training samples of each"
            f" class in the subset; {SMALL}; give fewer folds or a larger"
            " --data_pct, or add images",
        ),
    ],
)
def test_a_value_that_does_not_fit_the_data_is_refused(
    folders: dict[str, str],
    layout: str,
    value: str,
    error: type[TrainerError],
    message: str,
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        of(folders[layout], value)


def test_only_the_small_class_is_named(tmp_path: pathlib.Path) -> None:
    folder = make_folder(tmp_path, NO_VALIDATION)
    for number in range(4):
        (tmp_path / "train" / CLASSES[1] / f"{number:03}.jpg").unlink()
    of(folder, "fold:1/2")
    with pytest.raises(TrainerError, match=f"; '{CLASSES[1]}' has 2; give"):
        of(folder, "fold:1/3")


def test_a_class_of_one_sample_is_trained_on(folders: dict[str, str]) -> None:
    with pytest.raises(TrainerError, match="each class has one training"):
        of(folders["no_val"], "auto", data_pct=1)
    train, validation = np.array([1, 5, 0]), np.array([0, 1, 0])
    names = ("pie", "soup", "cake")
    assert classes_without_validation(train, validation, names) == "pie"
    assert classes_without_validation(train, train, names) == ""


def test_images_in_both_train_and_validation_are_found(
    tmp_path: pathlib.Path,
) -> None:
    folder = make_folder(tmp_path, BOTH)
    source = tmp_path / "train" / CLASSES[0]
    shutil.copy(source / "001.jpg", tmp_path / "val" / CLASSES[0] / "x.jpg")
    pair = (f"{CLASSES[0]}/001.jpg", f"{CLASSES[0]}/x.jpg")
    assert of(folder, None).shared_validation == (pair,)
    assert of(folder, None).shared_content == ()
    assert of(folder, "test").shared_validation == ()


@pytest.mark.parametrize(
    ("layout", "value", "expected"),
    [
        ("both", "split", False),
        ("both", "test", True),
        ("no_test", "split", True),
        ("no_test", "auto", False),
        ("no_val", None, True),
        ("no_val", "auto", False),
    ],
)
def test_whether_final_samples_are_validated_on(
    folders: dict[str, str], layout: str, value: str | None, expected: bool
) -> None:
    assert of(folders[layout], value).validates_on_final == expected


@pytest.mark.parametrize(
    ("layout", "value"),
    [
        *(("both", "split"), ("both", "auto"), ("both", "train:0.5")),
        *(("no_val", "auto"), ("no_val", "fold:1/6"), ("no_test", "auto")),
    ],
)
def test_without_the_test_split_the_other_samples_are_the_same(
    folders: dict[str, str], tmp_path: pathlib.Path, layout: str, value: str
) -> None:
    """No test image is read: those here are empty files of other classes."""
    whole = of(folders[layout], value)
    folder = tmp_path / "photos"
    shutil.copytree(folders[layout], folder)
    for path in folder.glob("test/*/*"):
        path.write_bytes(b"")
    spoiled = of(folder, value, tests=False)
    assert spoiled.train.ids == whole.train.ids
    assert spoiled.validation.ids == whole.validation.ids
    assert spoiled.validation_source == whole.validation_source
    assert spoiled.final.ids == whole.validation.ids
    assert "test" not in spoiled.splits
    # A run restores its best validation also where this is on a split.
    assert not spoiled.validates_on_final
    assert spoiled.fingerprint == of(folder, value, tests=False).fingerprint


@pytest.mark.parametrize(
    ("layout", "value", "words"),
    [
        ("both", None, "chooses by test images"),
        ("both", "test", "chooses by test images"),
        ("no_test", "split", "is tested on its validation split"),
    ],
)
def test_a_dishonest_validation_needs_the_test_split(
    folders: dict[str, str], layout: str, value: str | None, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        of(folders[layout], value, tests=False)
