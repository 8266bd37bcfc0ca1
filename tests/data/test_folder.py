"""Folders of photos in the usual layouts."""

from __future__ import annotations

import os
import pathlib
import shutil
import unicodedata

import pytest

from tests.support.images import CLASSES, make_folder, write_image
from trainer.data.folder import open_folder
from trainer.data.samples import Source


def open_it(root: pathlib.Path | str, test_fraction: float = 0.2) -> Source:
    return open_folder(str(root), dataset="photos", test_fraction=test_fraction)


def sizes(source: Source) -> dict[str, int]:
    return {split: len(part) for split, part in source.splits().items()}


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ({"train": 3, "test": 2}, {"train": 9, "test": 6}),
        ({"train": 3, "val": 2}, {"train": 9, "validation": 6}),
        ({"train": 3, "valid": 2}, {"train": 9, "validation": 6}),
        ({"train": 3, "validation": 2}, {"train": 9, "validation": 6}),
        (
            {"train": 3, "val": 1, "test": 2},
            {"train": 9, "validation": 3, "test": 6},
        ),
        ({"Train": 3, "TEST": 2}, {"train": 9, "test": 6}),
        ({"train": 10}, {"train": 24, "test": 6}),
        ({"": 10}, {"train": 24, "test": 6}),
        ({"Training": 3, "Testing": 2}, {"train": 9, "test": 6}),
        ({"train": 3, "eval": 2}, {"train": 9, "test": 6}),
    ],
    ids=lambda value: "-".join(map(str, value)) or "flat",
)
def test_layouts_give_the_expected_splits(
    tmp_path: pathlib.Path, layout: dict[str, int], expected: dict[str, int]
) -> None:
    source = open_it(make_folder(tmp_path / "food3", layout))
    assert source.name == "food3"
    assert source.location == str(tmp_path / "food3")
    assert source.class_names == CLASSES
    assert sizes(source) == expected
    for part in source.splits().values():
        assert len(set(part.counts(3).tolist())) == 1
        assert list(part.ids) == sorted(part.ids)


def test_a_sample_has_id_label_and_path(tmp_path: pathlib.Path) -> None:
    train = open_it(make_folder(tmp_path)).train
    assert train.ids[12] == "борщ/000.jpg"
    assert train.labels[12] == 2
    assert train.paths[12] == str(tmp_path / "train/борщ/000.jpg")
    assert train.record_image_key is None


def test_nested_images_are_found_hidden_names_skipped(
    tmp_path: pathlib.Path,
) -> None:
    root = tmp_path / "photos"
    make_folder(root, {"train": 1, "test": 1}, classes=("a", "b"))
    for name in (
        "X.JPG",
        "x.Jpeg",
        "x.png",
        "x.BMP",
        "x.gif",
        "x.webp",
        "deep/er/x.jpg",
        "x.jfif",
        "x.JPE",
        # Images by content:
        "no_suffix",
        "x.heic",
        # Skipped:
        "notes.txt",
        ".hidden.jpg",
        "._x.jpg",
        ".thumbs/x.jpg",
        "__MACOSX/x.jpg",
        "@eaDir/x.jpg",
        "deep/lost+found/x.jpg",
        "deep/.x/x.jpg",
        "Thumbs.db",
        "desktop.ini",
    ):
        write_image(root / "train" / "a" / name)
    (root / "train" / "a" / "folder.jpg").mkdir()
    write_image(root / "train" / "a" / "x.tiff", format="TIFF")
    (root / "train" / "a" / "BMW").write_text("BM" + 40 * "W")
    write_image(root / "train" / ".cache" / "x.jpg")
    for system in ("__MACOSX", "$RECYCLE.BIN", "System Volume Information"):
        write_image(root / system / "train" / "x.jpg")
    write_image(root / "train" / "loose.jpg")
    source = open_it(root)
    assert source.class_names == ("a", "b")
    assert source.train.ids == (
        "a/000.jpg",
        "a/X.JPG",
        "a/deep/er/x.jpg",
        "a/no_suffix",
        "a/x.BMP",
        "a/x.JPE",
        "a/x.Jpeg",
        "a/x.gif",
        "a/x.heic",
        "a/x.jfif",
        "a/x.png",
        "a/x.webp",
        "b/000.jpg",
    )
    assert source.passed_over.counts == {
        "not an image": {".tiff": 1, ".txt": 1, "without a suffix": 1},
        "outside the class folders": {".jpg": 1},
    }


def test_classes_are_in_code_point_order(tmp_path: pathlib.Path) -> None:
    names = ("a", "b b", "Ünter", "Z", "寿司", "ärgo", "10", "9")
    root = make_folder(tmp_path, {"": 2}, classes=names)
    expected = ("10", "9", "Z", "a", "b b", "Ünter", "ärgo", "寿司")
    assert open_it(root).class_names == expected


@pytest.mark.parametrize(
    "forms",
    [{"train": "NFD", "test": "NFC"}, {"train": "NFC", "test": "NFD"}],
    ids=lambda forms: forms["train"],
)
def test_labels_follow_the_class_names_in_any_unicode_form(
    tmp_path: pathlib.Path, forms: dict[str, str]
) -> None:
    # By code points "é" (U+00E9) comes after "z", but its decomposed form,
    # "e" and U+0301, before "f": sorted by the names on disk, labels would
    # refer to other classes.
    expected = ("fig", "zander", "éclair", "îles flottantes")
    for split, form in forms.items():
        for name in expected:
            folder = unicodedata.normalize(form, name)
            # One class stays composed beside the decomposed ones.
            folder = name if name.startswith("î") else folder
            for number in range(2):
                write_image(tmp_path / split / folder / f"{number}.jpg")
    source = open_it(tmp_path)
    assert source.class_names == expected
    for split, part in source.splits().items():
        assert len(part) == 8
        for path, sample_id, label in zip(
            part.paths, part.ids, part.labels, strict=True
        ):
            folder = pathlib.Path(path).relative_to(tmp_path / split).parts[0]
            shown = unicodedata.normalize("NFC", folder)
            assert expected[label] == shown
            assert sample_id.startswith(f"{shown}/")


def test_ids_are_in_nfc_and_paths_as_on_disk(tmp_path: pathlib.Path) -> None:
    name = unicodedata.normalize("NFD", "crème brûlée")
    path = write_image(tmp_path / "train" / name / f"{name}.jpg")
    make_folder(tmp_path, {"train": 1, "test": 1}, classes=("pie",))
    write_image(
        tmp_path / "test" / unicodedata.normalize("NFC", name) / "x.jpg"
    )
    source = open_it(tmp_path)
    assert source.class_names == (unicodedata.normalize("NFC", name), "pie")
    nfc = unicodedata.normalize("NFC", f"{name}/{name}.jpg")
    assert source.train.ids[0] == nfc
    assert source.train.paths[0] == str(path)


def test_a_file_name_in_other_bytes_has_a_printable_id(
    tmp_path: pathlib.Path,
) -> None:
    root = make_folder(tmp_path, {"train": 1, "test": 1})
    folder = os.fsencode(tmp_path / "train" / "sushi")
    try:
        os.rename(folder + b"/000.jpg", folder + b"/\xff.jpg")
    except OSError:
        pytest.skip("the file system takes names in UTF-8 only")
    train = open_it(root).train
    assert train.ids[1] == "sushi/\\xff.jpg"
    assert os.path.exists(train.paths[1])
    train.id_hashes()


def test_circular_links_end(tmp_path: pathlib.Path) -> None:
    root = make_folder(tmp_path, {"train": 2, "test": 1}, classes=("a", "b"))
    folder = tmp_path / "train" / "a"
    (folder / "again").symlink_to(folder)
    (folder / "up").symlink_to(tmp_path / "train" / "b")
    (tmp_path / "train" / "b" / "down").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    train = open_it(root).train
    assert [i for i in train.ids if i.startswith("a/")] == [
        "a/000.jpg",
        "a/001.jpg",
        "a/up/000.jpg",
        "a/up/001.jpg",
    ]


def test_flat_split_does_not_depend_on_other_classes(
    tmp_path: pathlib.Path,
) -> None:
    three = open_it(make_folder(tmp_path / "three", {"": 10}))
    shutil.copytree(tmp_path / "three", tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "борщ")
    two = open_it(tmp_path / "two")
    assert two.test is not None
    assert three.test is not None
    assert set(two.test.ids) < set(three.test.ids)
    assert not set(three.test.ids) & set(three.train.ids)


def test_train_may_be_the_name_of_a_class(tmp_path: pathlib.Path) -> None:
    root = make_folder(tmp_path, {"": 3}, classes=("bus", "car", "train"))
    assert open_it(root).class_names == ("bus", "car", "train")
