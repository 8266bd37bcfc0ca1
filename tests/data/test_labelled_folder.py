"""Labelled folders in any layout, read as a whole."""

from __future__ import annotations

import os
import pathlib

import pytest
import tensorflow as tf

from tests.support.trees import expanded
from trainer.config.split_names import SplitNames
from trainer.data.labelled_folder import LabelledFolder, open_labelled_folder
from trainer.errors import TrainerError, UsageError

RUN = ("pie", "ramen", "sushi")


def make(root: pathlib.Path, *patterns: str) -> pathlib.Path:
    """Creates empty files; images are known by their suffix."""
    folder = root / "photos"
    for path in expanded(*patterns):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return folder


def open_it(
    folder: pathlib.Path, classes: tuple[str, ...] = RUN, **names: str
) -> LabelledFolder:
    return open_labelled_folder(
        str(folder),
        dataset="photos",
        class_names=classes,
        names=SplitNames(**names),
    )


ALL = "{pie,ramen,sushi}"


@pytest.mark.parametrize(
    ("patterns", "names", "counts", "places"),
    [
        pytest.param(
            [f"{ALL}/{{1,2}}.jpg"], {}, [2, 2, 2], {"photos/": 6}, id="flat"
        ),
        pytest.param(
            [f"{{train,test}}/{ALL}/1.jpg", "train/pie/2.jpg"],
            {},
            [3, 2, 2],
            {"photos/test/": 3, "photos/train/": 4},
            id="splits",
        ),
        pytest.param(
            [f"test/{ALL}/1.jpg"],
            {},
            [1, 1, 1],
            {"photos/test/": 3},
            id="test_only",
        ),
        pytest.param(
            ["{north,south}/pie/1.jpg"],
            {},
            [2, 0, 0],
            {"photos/north/": 1, "photos/south/": 1},
            id="unknown_names",
        ),
        pytest.param(
            [f"{ALL}/{{train,test}}/1.jpg"],
            {},
            [2, 2, 2],
            {"photos/": 6},
            id="class_first",
        ),
        pytest.param(
            [f"food/train/{ALL}/1.jpg"],
            {},
            [1, 1, 1],
            {"photos/food/train/": 3},
            id="wrapped",
        ),
        pytest.param(
            ["sushi/1.jpg"], {}, [0, 0, 1], {"photos/": 1}, id="one_photo"
        ),
        pytest.param(
            [f"{{train,test}}/{ALL}/1.jpg", "test/pie/2.jpg"],
            {"test": "test"},
            [2, 1, 1],
            {"photos/test/": 4},
            id="split_flag",
        ),
        pytest.param(
            [f"{ALL}/{{train,test}}/1.jpg", "pie/test/2.jpg"],
            {"test": "*/test", "validation": "none"},
            [2, 1, 1],
            {"photos/*/test/": 4},
            id="class_first_flag",
        ),
    ],
)
def test_every_image_of_the_run_s_classes_is_found(
    tmp_path: pathlib.Path,
    patterns: list[str],
    names: dict[str, str],
    counts: list[int],
    places: dict[str, int],
) -> None:
    folder = make(tmp_path, *patterns)
    found = open_it(folder, **names)
    assert found.samples.counts(3).tolist() == counts
    assert found.places == places
    assert found.location == str(folder)
    for sample_id, path, label in zip(
        found.samples.ids,
        found.samples.paths,
        found.samples.labels,
        strict=True,
    ):
        assert path == f"{folder}/{sample_id}"
        assert RUN[label] in path.split(os.sep)
    assert found.left_out == {}
    zero = [name for name, n in zip(RUN, counts, strict=True) if not n]
    assert found.missing == tuple(zero)


def test_other_classes_are_left_out_and_counted(
    tmp_path: pathlib.Path,
) -> None:
    folder = make(
        tmp_path,
        "{train,test}/{pie,cake}/{1,2}.jpg",
        "test/bun/1.png",
        "test/loose.jpg",
        "test/pie/notes.txt",
        "maps/x/{1,2}.jpg",
    )
    (folder / "train/sushi").mkdir()
    found = open_it(folder)
    assert found.left_out == {"bun": 1, "cake": 4}
    assert found.missing == ("ramen", "sushi")
    assert found.samples.counts(3).tolist() == [4, 0, 0]
    assert list(found.passed_over.lines()) == [
        "2 files skipped, in folders that are not used: 2 .jpg",
        "1 file skipped: 1 .txt",
        "1 file skipped, outside the class folders: 1 .jpg",
    ]


def test_a_class_named_like_a_split(tmp_path: pathlib.Path) -> None:
    """Photos of trains are a class; a folder of class folders is a split."""
    flat = make(tmp_path / "a", "{train,plane}/{1,2}.jpg")
    classes = ("plane", "train")
    assert open_it(flat, classes).samples.counts(2).tolist() == [2, 2]
    split = make(tmp_path / "b", "{train,test}/{train,plane}/1.jpg")
    assert open_it(split, classes).samples.counts(2).tolist() == [2, 2]


def test_names_in_two_unicode_forms_are_one_class(
    tmp_path: pathlib.Path,
) -> None:
    folder = make(tmp_path, "cre\u0301me/1.jpg", "cr\u00e9me/2.jpg")
    found = open_it(folder, ("cr\u00e9me", "pie"))
    assert found.samples.counts(2).tolist() == [2, 0]


def test_circular_links_end(tmp_path: pathlib.Path) -> None:
    folder = make(tmp_path, "test/pie/1.jpg", "other/1.jpg")
    (folder / "test/pie/loop").symlink_to(folder / "test/pie")
    (folder / "other/loop").symlink_to(folder)
    assert open_it(folder).samples.ids == ("test/pie/1.jpg",)


def test_a_folder_at_a_url_is_read() -> None:
    root = "ram://labelled/photos"
    for path in ("train/pie/1.jpg", "test/sushi/2.jpg", "test/cake/3.jpg"):
        tf.io.gfile.makedirs(os.path.dirname(f"{root}/{path}"))
        tf.io.write_file(f"{root}/{path}", b"image")
    found = open_labelled_folder(root, dataset=root, class_names=RUN)
    assert found.samples.paths == (
        f"{root}/test/sushi/2.jpg",
        f"{root}/train/pie/1.jpg",
    )
    assert found.samples.labels.tolist() == [2, 0]
    assert found.left_out == {"cake": 1}


@pytest.mark.parametrize(
    ("patterns", "names", "error", "text"),
    [
        (
            ["{cake,bun}/1.jpg"],
            {},
            TrainerError,
            "--dataset='photos': no image in a folder with the name of a class"
            " of the run, such as 'pie'; give a folder whose class folders are"
            " named like the run's classes: 'pie', 'ramen', 'sushi'",
        ),
        (
            ["pie/notes.txt"],
            {},
            TrainerError,
            "--dataset='photos': no image in a folder with the name of a class"
            " of the run, such as 'pie'; give a folder whose class folders are"
            " named like the run's classes: 'pie', 'ramen', 'sushi'",
        ),
        (
            ["test/pie/1.jpg"],
            {"test": "tests"},
            UsageError,
            "--test_split='tests': no such folder in {folder}; give one of its"
            " folders, or leave the flag out to evaluate all of them",
        ),
        (
            ["pie/test/1.jpg"],
            {"test": "*/exam"},
            UsageError,
            "--test_split='*/exam': no such folder in {folder}; give one of"
            " its folders, or leave the flag out to evaluate all of them",
        ),
    ],
)
def test_folders_without_the_run_s_classes_are_rejected(
    tmp_path: pathlib.Path,
    patterns: list[str],
    names: dict[str, str],
    error: type[Exception],
    text: str,
) -> None:
    folder = make(tmp_path, *patterns)
    with pytest.raises(error) as caught:
        open_it(folder, **names)
    assert str(caught.value) == text.format(folder=folder)
