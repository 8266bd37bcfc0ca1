"""The manifest: the role of each sample, bad images and JSON."""

from __future__ import annotations

import os
import pathlib
import shutil

import pytest

from tests.support.images import CLASSES, make_folder
from tests.support.manifests import build, stored
from trainer.errors import TrainerError


@pytest.fixture
def photos(tmp_path: pathlib.Path) -> pathlib.Path:
    """Three classes with six images in train and four in test each."""
    return pathlib.Path(make_folder(tmp_path / "photos"))


def test_a_manifest_assigns_samples_to_roles(photos: pathlib.Path) -> None:
    manifest = build(photos)
    assert manifest.name == "photos"
    assert manifest.class_names == CLASSES
    assert manifest.train.counts(3).tolist() == [3, 3, 3]
    assert manifest.train_total == 18
    # Twelve test images are three batches of four; half of them is one.
    assert manifest.validation.counts(3).sum() == 4
    assert manifest.validation.counts(3).min() == 1
    assert manifest.validation_from_test
    assert set(manifest.validation.ids) <= set(manifest.final.ids)
    assert manifest.final_split == "test"
    assert manifest.final.counts(3).tolist() == [4, 4, 4]
    assert manifest.skipped == ()
    assert manifest.shared_content == ()


@pytest.mark.parametrize(
    ("layout", "final_split", "final", "validation"),
    [
        pytest.param(
            {"train": 2, "val": 3}, "validation", 9, 9, id="validation_only"
        ),
        pytest.param(
            {"train": 2, "val": 3, "test": 4}, "test", 12, 9, id="both"
        ),
    ],
)
def test_a_validation_split_is_used_as_a_whole(
    tmp_path: pathlib.Path,
    layout: dict[str, int],
    final_split: str,
    final: int,
    validation: int,
) -> None:
    manifest = build(make_folder(tmp_path, layout))
    assert not manifest.validation_from_test
    assert manifest.final_split == final_split
    assert len(manifest.final) == final
    assert len(manifest.validation) == validation


def test_subsets_of_a_manifest_nest(photos: pathlib.Path) -> None:
    one, half, whole = (
        set(build(photos, data_pct=pct).train.ids) for pct in (1, 50, 100)
    )
    assert (len(one), len(half), len(whole)) == (3, 9, 18)
    assert one < half < whole


def test_validation_does_not_depend_on_the_seed(photos: pathlib.Path) -> None:
    mine, theirs = build(photos, seed=0), build(photos, seed=1)
    assert mine.validation.ids == theirs.validation.ids
    assert mine.train.ids != theirs.train.ids


def test_json_holds_ids_and_checked_files(photos: pathlib.Path) -> None:
    manifest = build(photos)
    values = stored(manifest)
    assert values["class_names"] == list(CLASSES)
    assert values["fingerprint"] == manifest.fingerprint
    assert values["train_ids"] == list(manifest.train.ids)
    assert values["validation_ids"] == list(manifest.validation.ids)
    assert values["final_split"] == "test"
    train = values["splits"]["train"]
    assert {len(column) for column in train.values()} == {18}
    path = photos / "train" / train["ids"][0]
    assert train["labels"][0] == 0
    assert train["sizes"][0] == path.stat().st_size
    assert train["mtimes_ns"][0] == path.stat().st_mtime_ns
    assert set(values["splits"]) == {"train", "test"}


def test_bad_images_fail_or_are_skipped(photos: pathlib.Path) -> None:
    path = photos / "train" / "sushi" / "002.jpg"
    path.write_bytes(path.read_bytes()[:200])
    (photos / "test" / "sushi" / "001.jpg").write_bytes(b"")
    with pytest.raises(TrainerError) as error:
        build(photos)
    assert str(error.value) == (
        f"{path}: a broken, truncated or unsupported JPEG (and 1 more); fix"
        " or remove it, or --on_bad_image=skip trains on the rest"
    )
    manifest = build(photos, on_bad_image="skip")
    assert manifest.train_total == 17
    # Half of five is two.
    assert manifest.train.counts(3).tolist() == [3, 2, 3]
    assert manifest.final.counts(3).tolist() == [4, 3, 4]
    assert [bad.id for bad in manifest.skipped] == [
        "sushi/002.jpg",
        "sushi/001.jpg",
    ]
    assert stored(manifest)["skipped"][1] == {
        "split": "test",
        "id": "sushi/001.jpg",
        "path": str(photos / "test" / "sushi" / "001.jpg"),
        "reason": "an empty file",
    }
    again = build(photos, earlier=stored(manifest), on_bad_image="skip")
    assert again.to_json() == manifest.to_json()


def test_a_class_without_readable_image_is_an_error(
    photos: pathlib.Path,
) -> None:
    for path in (photos / "test" / "sushi").iterdir():
        path.write_bytes(b"")
    with pytest.raises(TrainerError) as error:
        build(photos, on_bad_image="skip")
    assert str(error.value) == (
        "class 'sushi': no readable image in the test split"
        f" ({photos}/test/sushi/000.jpg: an empty file); replace the"
        " unreadable images, or remove every folder of the class"
    )


def test_images_in_both_train_and_test_are_found(photos: pathlib.Path) -> None:
    train = photos / "train" / "sushi"
    shutil.copy(train / "001.jpg", train / "copy.jpg")
    shutil.copy(train / "001.jpg", photos / "test" / "sushi" / "same.jpg")
    manifest = build(photos, data_pct=100)
    assert manifest.shared_content == (("sushi/001.jpg", "sushi/same.jpg"),)


def test_a_manifest_of_real_photos(real_data: str) -> None:
    manifest = build(
        os.path.join(real_data, "food3"), data_pct=10, batch_size=32
    )
    assert manifest.class_names == ("pizza", "steak", "sushi")
    assert manifest.train_total == 447
    assert len(manifest.final) == 150
    assert len(manifest.validation) == 64
    assert manifest.shared_content == ()


def test_origins_and_files_left_out_are_recorded(
    photos: pathlib.Path,
) -> None:
    (photos / "train" / "sushi" / "x.heic").write_bytes(b"\0\0\0\x18ftypheic")
    manifest = build(photos)
    found = stored(manifest)
    assert found["origins"] == {
        "train": "photos/train/",
        "test": "photos/test/",
    }
    assert found["passed_over"] == {"not an image": {".heic": 1}}
    assert build(photos, earlier=found).to_json() == manifest.to_json()


def test_a_run_of_an_earlier_version_keeps_its_splits(
    photos: pathlib.Path,
) -> None:
    before = build(photos)
    earlier = stored(before)
    # As earlier versions wrote it.
    del earlier["origins"], earlier["passed_over"]
    make_folder(photos, {"extra": 2})
    with pytest.raises(TrainerError, match="extra/ beside them would not be"):
        build(photos)
    for _ in range(2):
        again = build(photos, earlier=earlier)
        assert again.fingerprint == before.fingerprint
        earlier = stored(again)
        assert "origins" not in earlier
