"""Whole checks of a small folder with planted faults."""

from __future__ import annotations

import csv
import json
import pathlib
import re
import shutil
import unicodedata
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.command import command
from tests.support.photos import make_photos
from trainer.config.table_columns import parse_columns
from trainer.data.table import open_table
from trainer.doctor.labels import held_out_probabilities, largest_axes

_NO_LABELS: dict[str, Any] = {
    "stage": "check_data",
    "weights": "none",
    "image_size": 32,
}


@pytest.fixture
def photos(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder in which nothing is found."""
    return pathlib.Path(make_photos(tmp_path / "photos", train=6, test=3))


def check(
    photos: pathlib.Path, **flags: Any
) -> tuple[int, dict[str, Any], str]:
    """Runs the command; returns its status, check.json and check.html."""
    out = photos.parent / "checked"
    values = {**_NO_LABELS, "dataset": photos, "workdir": out, **flags}
    values.setdefault("cache_dir", photos.parent / "cache")
    said = command(*(f"--{name}={value}" for name, value in values.items()))
    assert said.status in (0, 3), said.err
    record = json.loads((out / "check.json").read_text())
    return said.status, record, (out / "check.html").read_text()


def found(record: dict[str, Any]) -> dict[str, list[str]]:
    """Returns the ids of each kind of finding, without empty kinds."""
    return {
        kind: sorted(finding["id"] for finding in findings)
        for kind, findings in record["findings"].items()
        if findings
    }


def test_clean_data_end_with_status_0(photos: pathlib.Path) -> None:
    status, record, _ = check(photos)
    assert found(record) == {}
    assert status == 0
    assert record["images"] == 27
    assert record["classes"]["sushi"] == {"train": 6, "test": 3}
    assert record["width"] == {"min": 40, "median": 40, "max": 40}


def test_each_planted_fault_is_found(photos: pathlib.Path) -> None:
    train, test = photos / "train", photos / "test"
    (train / "sushi/000.jpg").write_bytes(b"not an image")
    shutil.copy(train / "sushi/001.jpg", test / "sushi/copy.jpg")
    shutil.copy(train / "sushi/002.jpg", train / "apple pie/other.jpg")
    image = Image.open(train / "sushi/003.jpg")
    image.resize((80, 80)).save(test / "sushi/large.png")
    # Its pixels are stored lying on a side, with a tag that turns them back.
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.open(train / "sushi/004.jpg").rotate(90, expand=True)
    turned.save(train / "sushi/turned.jpg", quality=90, exif=exif)
    Image.new("RGB", (40, 40), (9, 9, 9)).save(train / "sushi/blank.png")
    listed = photos.parent / "list.csv"
    status, record, html = check(photos, write_list=listed)
    assert status == 3
    assert found(record) == {
        "unreadable": ["sushi/000.jpg"],
        "blank": ["train/sushi/blank.png"],
        "exact_across_splits": ["train/sushi/001.jpg"],
        "contradiction": [
            "train/apple pie/other.jpg",
            "train/sushi/002.jpg",
        ],
        "near_across_splits": ["train/sushi/003.jpg"],
        "near_within_split": ["train/sushi/turned.jpg"],
    }
    # Each finding of a readable image, and what it is a copy of.
    assert html.count("<img ") == 11
    assert not re.search(r"(src|href)=\"(?!data:)", html)
    with open(listed, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    # 31 readable images without the six that have findings.
    assert len(rows) == 31 - 6
    kept = {(row["path"], row["label"], row["split"]) for row in rows}
    assert (str(test / "sushi/copy.jpg"), "sushi", "test") in kept
    assert (str(train / "борщ/005.jpg"), "борщ", "train") in kept
    assert not any(row["path"].endswith("turned.jpg") for row in rows)


def test_a_warm_check_reports_the_same(
    photos: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(photos / "train/sushi/001.jpg", photos / "test/sushi/copy.jpg")
    first = check(photos)
    monkeypatch.setattr(
        "trainer.doctor.looks._look_at_row",
        lambda *_: pytest.fail("an image was decoded again"),
    )
    assert check(photos) == first
    monkeypatch.undo()
    assert check(photos, cache="off") == first


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"data_pct": 10}, "--data_pct: not read by --stage=check_data"),
        ({"write_list": ""}, "--write_list=''"),
        ({"dataset": "/nowhere/at/all"}, "no such folder"),
    ],
)
def test_misuse_ends_with_status_2(
    photos: pathlib.Path, flags: dict[str, Any], said: str
) -> None:
    values = {**_NO_LABELS, "dataset": photos, **flags}
    heard = command(*(f"--{name}={value}" for name, value in values.items()))
    assert heard.status == 2
    assert said in heard.err


def test_held_out_probabilities_find_a_flipped_label() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    features = rng.normal(0, 1, (40, 6)).astype(np.float32)
    features[:, 0] += 8 * labels
    given = labels.copy()
    given[[4, 11]] = 1 - given[[4, 11]]
    folds = np.arange(40) % 5
    folds[39] = -1
    found = held_out_probabilities(largest_axes(features), given, 2, folds)
    assert found[:39].sum(1) == pytest.approx(1)
    assert found[39].tolist() == [0, 0]
    assert (found[:39].argmax(1) == labels[:39]).all()


def test_a_table_is_checked_with_its_columns(photos: pathlib.Path) -> None:
    rows = ["file,dish,split,who,weight"]
    for number, image in enumerate(sorted(photos.glob("*/*/*.jpg"))):
        split, label, name = image.parts[-3:]
        who = f"{split} {number // 2}"
        rows.append(f"{split}/{label}/{name},{label},{split},{who},{number}")
    path = photos / "d.csv"
    path.write_text("\n".join([*rows, "no cells", ""]), encoding="utf-8")
    written = photos.parent / "clean.csv"
    flags = {"dataset": path, "write_list": written}
    flags["columns"] = "path=file,label=dish,group=who"
    status, record, _ = check(photos, **flags)
    assert status == 3
    assert [bad["id"] for bad in record["findings"]["unreadable"]] == [
        f"line {len(rows) + 1}"
    ]
    assert record["images"] == len(rows) - 1 == 27
    one, two = (
        open_table(
            str(table),
            dataset="",
            columns=parse_columns(columns),
            test_fraction=0.2,
            on_bad_row="skip",
        )
        for table, columns in ((path, flags["columns"]), (written, None))
    )
    for split, part in one.splits().items():
        other = two.splits()[split]
        assert part.groups == other.groups
        assert part.weights is not None
        assert other.weights is not None
        assert part.weights.tolist() == other.weights.tolist()
        assert part.labels.tolist() == other.labels.tolist()


HOSTILE = (
    "a,b.jpg",
    'quo"te.jpg',
    "'single'.jpg",
    "line\nfeed.jpg",
    "carriage\rreturn.jpg",
    "crlf\r\nin.jpg",
    "tab\tin.jpg",
    "=SUM(A1).jpg",
    "semi;colon.jpg",
    "#hash %20 ünï.jpg",
    "\N{BYTE ORDER MARK}bom.jpg",
)


def test_a_list_of_hostile_names_is_read_back(photos: pathlib.Path) -> None:
    for name, image in zip(
        HOSTILE, sorted(photos.glob("train/*/*.jpg")), strict=False
    ):
        image.rename(image.with_name(name))
    odd = photos / "train" / 'so "called", dish'
    (photos / "train" / "sushi").rename(odd)
    (photos / "test" / "sushi").rename(photos / "test" / odd.name)
    written = photos.parent / "clean.csv"
    status, record, _ = check(photos, write_list=written)
    assert status == 0
    source = open_table(
        str(written),
        dataset=str(written),
        columns=parse_columns(None),
        test_fraction=0.2,
        on_bad_row="fail",
    )
    assert list(source.class_names) == sorted(record["classes"])
    for split, part in source.splits().items():
        images = {str(p) for p in photos.glob(f"{split}/*/*.jpg")}
        assert set(part.paths) == images
        for path, label in zip(part.paths, part.labels.tolist(), strict=True):
            name = pathlib.Path(path).parent.name
            assert (
                unicodedata.normalize("NFC", name)
                == (source.class_names[label])
            )


def test_names_that_a_table_would_strip_are_refused(
    photos: pathlib.Path,
) -> None:
    image = min(photos.glob("train/*/*.jpg"))
    image.rename(image.with_name("end.jpg "))
    values = {
        **_NO_LABELS,
        "dataset": photos,
        "workdir": photos.parent / "checked",
        "write_list": photos.parent / "clean.csv",
    }
    heard = command(*(f"--{name}={value}" for name, value in values.items()))
    assert heard.status == 1
    assert "end.jpg ' begins or ends with a space, which tables" in heard.err
