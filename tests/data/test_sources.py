"""Values of `--dataset`."""

from __future__ import annotations

import os
import pathlib

import pytest

from tests.support.images import CLASSES, make_folder
from trainer.config.split_names import SplitNames
from trainer.data.sources import Source, open_source
from trainer.errors import TrainerError, UsageError

_LAYOUTS = "give a folder of photos (train/CLASS/*.jpg or CLASS/*.jpg)"


def open_it(dataset: str, tfds_data_dir: str | None = None) -> Source:
    return open_source(dataset, tfds_data_dir=tfds_data_dir, test_fraction=0.2)


@pytest.mark.parametrize("given", ["food3", "./food3", "food3/", "~/food3"])
def test_a_folder_is_found_by_any_form_of_its_path(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    make_folder(tmp_path / "food3")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    source = open_it(given)
    assert source.name == "food3"
    assert source.location == str(tmp_path / "food3")
    assert source.class_names == CLASSES


def test_a_local_folder_takes_precedence_over_tfds(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path / "food101")
    monkeypatch.chdir(tmp_path)
    assert open_it("food101").class_names == CLASSES


def test_the_working_folder_gives_the_name(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path / "food3")
    monkeypatch.chdir(tmp_path / "food3")
    assert open_it(".").name == "food3"


@pytest.mark.parametrize(
    ("dataset", "text"),
    [
        pytest.param(
            "",
            f"--dataset: not given; {_LAYOUTS}, demo, or a TFDS name, such as"
            " tf_flowers",
            id="none",
        ),
        pytest.param(
            "/no/such",
            f"--dataset='/no/such': no such folder; {_LAYOUTS} or a TFDS name",
            id="absolute",
        ),
        pytest.param(
            "photos/food",
            "--dataset='photos/food': no such folder;"
            f" {_LAYOUTS} or a TFDS name",
            id="relative",
        ),
        pytest.param(
            "~/food",
            f"--dataset='~/food': no such folder; {_LAYOUTS} or a TFDS name",
            id="home",
        ),
        pytest.param(
            ".food",
            f"--dataset='.food': no such folder; {_LAYOUTS} or a TFDS name",
            id="dot",
        ),
        pytest.param(
            "photo.jpg",
            f"--dataset='photo.jpg': a file; {_LAYOUTS}, or a table (.csv,"
            " .tsv, .jsonl)",
            id="file",
        ),
        pytest.param(
            "photos.tar.gz",
            "--dataset='photos.tar.gz': an archive; unpack it and give the"
            " folder that it holds",
            id="archive",
        ),
        pytest.param(
            "gone",
            f"--dataset='gone': not a folder; {_LAYOUTS}, or a table (.csv,"
            " .tsv, .jsonl)",
            id="link_to_nowhere",
        ),
        pytest.param(
            "rows.csv",
            f"--dataset='rows.csv': no such file; {_LAYOUTS} or a TFDS name",
            id="table",
        ),
        pytest.param(
            "tf_flower",
            "--dataset='tf_flower': neither a folder nor a TFDS name; did you"
            " mean tf_flowers",
            id="tfds_name_misspelt",
        ),
        pytest.param(
            "demos",
            "--dataset='demos': neither a folder nor a TFDS name; did you"
            " mean demo",
            id="demo_misspelt",
        ),
        pytest.param(
            "qqqq",
            "--dataset='qqqq': neither a folder nor a TFDS name; give a folder"
            " of photos, demo, food10 or a name from the TFDS catalogue",
            id="tfds_name_far_off",
        ),
        pytest.param(
            "my photos",
            "--dataset='my photos': neither a folder nor a TFDS name",
            id="not_a_tfds_name",
        ),
        pytest.param(
            "food101:9.9.9",
            "--dataset='food101:9.9.9': ",
            id="tfds_version",
        ),
        pytest.param(
            "mnist/large", "--dataset='mnist/large': ", id="tfds_config"
        ),
    ],
)
def test_a_wrong_value_is_a_usage_error(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    dataset: str,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "photos.tar.gz").touch()
    os.symlink("nowhere", "gone")
    with pytest.raises(UsageError) as error:
        open_it(dataset, str(tmp_path / "tfds"))
    assert str(error.value).startswith(text)
    assert "\n" not in str(error.value)
    assert error.value.exit_status == 2


def test_an_empty_folder_is_not_a_usage_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(TrainerError, match="no class folders") as error:
        open_it(str(tmp_path))
    assert error.value.exit_status == 1


def test_splits_of_a_tfds_data_set_have_no_folders() -> None:
    with pytest.raises(UsageError) as error:
        open_source(
            "mnist",
            tfds_data_dir=None,
            test_fraction=0.2,
            split_names=SplitNames(test="holdout"),
        )
    assert str(error.value) == (
        "--test_split='holdout': only folders of photos have such a split, and"
        " --dataset=mnist is not one; leave it out"
    )
