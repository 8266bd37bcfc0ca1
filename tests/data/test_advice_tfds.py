"""Errors about TFDS data sets; following their advice resolves them."""

from __future__ import annotations

import pathlib
import shutil
import sys

import pytest

from tests.support.advice import (
    DATA,
    Case,
    Given,
    check,
    in_folder,
    location,
    parameters,
    prepared,
    prepared_again,
    setting,
    then,
)
from trainer.data import connectivity

TFDS = setting(dataset=DATA)


def _without_array_record(given: Given) -> None:
    module = "array_record.python.array_record_module"
    given.patch.setitem(sys.modules, module, None)


CASES = (
    Case(
        "a name mistyped",
        setting(dataset="trainer_image"),
        ("did you mean trainer_images", "or a name from the TFDS catalogue"),
        (setting(dataset="trainer_images"),),
    ),
    Case(
        "a config mistyped",
        setting(dataset="trainer_images/train_tests"),
        ("train_test", "give a config and version that TFDS has"),
        (setting(dataset=DATA),),
    ),
    Case(
        "a version that is not there",
        setting(dataset=f"{DATA}:9.9.9"),
        ("give a config and version that TFDS has",),
        (setting(dataset=f"{DATA}:1.0.0"),),
    ),
    Case(
        "not prepared and no network",
        setting(dataset="trainer_unreachable"),
        ("(tfds build trainer_unreachable) and point --tfds_data_dir at it",),
        (
            then(
                prepared("trainer_unreachable", "other"),
                setting(data_dir="{root}/other"),
            ),
        ),
    ),
    Case(
        "no labelled train split",
        setting(dataset="trainer_images/no_train"),
        ("has no train split with labels (its splits: test); give",),
        (TFDS,),
    ),
    Case(
        "not for classifying",
        setting(dataset="trainer_unkeyed"),
        ("give one with an image and a class label per example",),
        (TFDS,),
    ),
    Case(
        "a package is missing",
        then(TFDS, prepared(file_format="array_record"), _without_array_record),
        ("install it, or prepare it with tfds build --file_format=tfrecord",),
        (
            lambda given: given.patch.undo(),
            then(prepared(data_dir="other"), setting(data_dir="{root}/other")),
        ),
    ),
    Case(
        "a damaged shard",
        then(
            TFDS,
            prepared(),
            in_folder("*-train.*", lambda path: path.write_bytes(b"x" * 30)),
        ),
        ("train_test/1.0.0 and prepare the data set again",),
        (
            prepared_again,
            # The trainer prepares a missing data set itself.
            lambda given: shutil.rmtree(location(given)),
        ),
    ),
    Case(
        "damaged metadata",
        then(
            TFDS,
            prepared(),
            in_folder("features.json", lambda path: path.write_bytes(b"{")),
        ),
        ("train_test/1.0.0 and prepare the data set again",),
        (prepared_again, lambda given: shutil.rmtree(location(given))),
    ),
    Case(
        "a class twice",
        then(
            TFDS,
            prepared(),
            setting(dataset=f"{DATA}:1.0.0"),
            in_folder("label.labels.txt", lambda p: p.write_text("a\nb\na\n")),
        ),
        ("are both called 'a'; give each its own name, remove ",),
        (prepared_again,),
    ),
)


@pytest.mark.parametrize(("case", "number"), parameters(CASES))
def test_advice_about_tfds_resolves_the_error(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    case: Case,
    number: int,
) -> None:
    monkeypatch.setattr(connectivity, "_answers", lambda url: False)
    check(case, number, Given(tmp_path, monkeypatch))
