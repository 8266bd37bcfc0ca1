"""Tests of the files that `--inputs` names, and of the CSV output."""

from __future__ import annotations

import csv
import io
import os
import pathlib
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from tests.results.conftest import PNGS, PX
from tests.support.classifiers import tiny_classifier
from tests.support.images import write_image
from trainer.data.folder import open_folder
from trainer.data.rendering import render
from trainer.data.walk import walk_images
from trainer.errors import TrainerError, UsageError
from trainer.model.classifier import Classifier
from trainer.results.input_files import find_inputs
from trainer.results.predict import (
    Prediction,
    Predictor,
    csv_row,
    write_csv,
)

CLASSES = ("=cmd()", "x\r", "sushi")


def predictions() -> Iterator[Prediction]:
    """Yields predictions with odd paths, and a bad file."""
    for label, path in enumerate(("-x.jpg", "a\rb.jpg", "\x1b[31m.jpg")):
        yield Prediction(path, np.eye(3, dtype=np.float32)[label], "")
    yield Prediction("bad.jpg", None, "an empty file")


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_csv_holds_the_names_as_documented() -> None:
    stream = io.StringIO(newline="")
    assert write_csv(predictions(), stream, CLASSES, 1) == 1
    rows = list(csv.reader(io.StringIO(stream.getvalue(), newline="")))
    assert rows == [
        ["file", "class_1", "probability_1", "error"],
        ["./-x.jpg", "'=cmd()", "1.000000", ""],
        ["a\rb.jpg", "x\r", "1.000000", ""],
        ["\x1b[31m.jpg", "sushi", "1.000000", ""],
        ["bad.jpg", "", "", "an empty file"],
    ]


def test_top_k_of_hand_worked_logits(tmp_path: pathlib.Path) -> None:
    """The logits are logarithms of 10 times the probabilities."""
    classifier = tiny_classifier(5)
    classifier.head.kernel.assign(np.zeros_like(classifier.head.kernel))
    classifier.head.bias.assign(np.log([2, 4, 1, 2, 1]))
    write_image(tmp_path / "x.png")
    (tmp_path / "bad.png").touch()
    predictor = Predictor(classifier, batch_size=2, xla=False)
    paths = [str(tmp_path / name) for name in ("x.png", "bad.png", "x.png")]
    stream = io.StringIO(newline="")
    assert write_csv(predictor.predict(paths), stream, "abcde", 3) == 1
    header, first, bad, last = csv.reader(io.StringIO(stream.getvalue()))
    assert header == [
        "file",
        *("class_1", "probability_1"),
        *("class_2", "probability_2"),
        *("class_3", "probability_3"),
        "error",
    ]
    # Ties are in the order of the classes.
    best = ["b", "0.400000", "a", "0.200000", "d", "0.200000"]
    assert first == last == [paths[0], *best, ""]
    assert bad[:-1] == [paths[1], *[""] * 6]
    assert bad[-1]


def test_a_terminal_gets_no_control_characters() -> None:
    stream = Terminal()
    write_csv(predictions(), stream, CLASSES, 1)
    assert stream.getvalue().replace("\n", "").isprintable()
    assert "a\\rb.jpg,x\\r,1.000000," in stream.getvalue()


def test_an_error_is_not_a_formula() -> None:
    row = csv_row(Prediction("x", None, "=1+1"), CLASSES, 1)
    assert row == ["x", "", "", "'=1+1"]


def test_many_batches_keep_the_order_of_the_files(
    tmp_path: pathlib.Path, classifier: Classifier
) -> None:
    contents = [*PNGS, b"no image", *PNGS[::-1]]
    paths = [str(tmp_path / f"{i}") for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        pathlib.Path(path).write_bytes(content)
    found = list(Predictor(classifier, batch_size=2, xla=False).predict(paths))
    assert [prediction.path for prediction in found] == paths
    bad = [row for row, x in enumerate(found) if x.probabilities is None]
    assert bad == [5]
    del found[5]
    images = tf.stack([render(png, PX) for png in (*PNGS, *PNGS[::-1])])
    # In pairs and as a graph, both of which may change the last bits.
    compute = tf.function(classifier.probabilities, autograph=False)
    own = [compute(pair).numpy() for pair in tf.split(images, 5)]
    np.testing.assert_allclose(
        [x.probabilities for x in found], np.concatenate(own), atol=1e-6
    )


def test_a_folder_is_walked_as_in_training(tmp_path: pathlib.Path) -> None:
    """Tests links, cycles, hidden names, case, folders named like images."""
    root = tmp_path / "photos"
    for name in ("a.jpg", "b.PNG", "sub/c.jpg", "notes.txt"):
        write_image(root / name, format="JPEG")
    for name in (".h.jpg", ".h/d.jpg", "__MACOSX/e.jpg", "sub/.x/f.jpg"):
        write_image(root / name)
    (root / "folder.jpg").mkdir()
    write_image(tmp_path / "elsewhere" / "g.jpg")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "sub" / "up").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    (root / "nowhere.jpg").symlink_to(tmp_path / "no")
    expected = [
        "a.jpg",
        "b.PNG",
        "linked/g.jpg",
        "nowhere.jpg",
        "sub/c.jpg",
    ]
    below = [path.removeprefix(f"{root}/") for path in walk_images(str(root))]
    assert below == expected
    found = find_inputs(str(root))
    assert [path.removeprefix(f"{root}/") for path in found] == expected
    # A data set finds the same files.
    write_image(tmp_path / "data" / "other" / "1.jpg")
    write_image(tmp_path / "data" / "other" / "2.jpg")
    (tmp_path / "data" / "class").symlink_to(root)
    source = open_folder(str(tmp_path / "data"), dataset="d", test_fraction=0.5)
    assert source.test is not None
    ids = {*source.train.ids, *source.test.ids}
    in_class = {i for i in ids if i.startswith("class/")}
    assert in_class == {f"class/{name}" for name in expected}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("a.jpg\nb.jpg\n", ["a.jpg", "b.jpg"]),
        ("a.jpg\r\nb.jpg\r\n", ["a.jpg", "b.jpg"]),
        ("a.jpg\n\n \r\n\nb.jpg", ["a.jpg", "b.jpg"]),
        ("no such.jpg\r\n", ["no such.jpg"]),
        # Files with and without the carriage return exist: strip it.
        ("both.jpg\r\n", ["both.jpg"]),
        ("only return.jpg\r\n", ["only return.jpg\r"]),
        (" spaces .jpg \n", [" spaces .jpg "]),
        ("a\rb.jpg\n", ["a\rb.jpg"]),
        ("gs://bucket/a.jpg\r\n", ["gs://bucket/a.jpg"]),
        ("nosuch://x/a.jpg\r\n", ["nosuch://x/a.jpg"]),
    ],
)
def test_paths_on_standard_input(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    lines: str,
    expected: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("both.jpg", "both.jpg\r", "only return.jpg\r"):
        (tmp_path / name).touch()
    binary = io.BytesIO(lines.encode())
    assert find_inputs("-", io.TextIOWrapper(binary)) == expected
    assert find_inputs("-", io.StringIO(lines, newline="\n")) == expected


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ("empty", "holds no image (.jpg, .jpeg, .png, .bmp, .gif, .webp);"),
        ("empt*", "holds no image (.jpg, .jpeg, .png, .bmp, .gif, .webp);"),
        ("texts", "holds no image (.jpg, .jpeg, .png, .bmp, .gif, .webp);"),
        ("nope", "no such file; give an image, a folder of images, a glob"),
        ("nope*.jpg", "no such file; give an image, a folder of images"),
        ("-", "no path on standard input; give one per line"),
    ],
)
def test_inputs_without_files_are_a_usage_error(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    inputs: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").touch()
    with pytest.raises(UsageError) as error:
        find_inputs(inputs, io.StringIO("\n\r\n"))
    assert str(error.value).startswith(f"--inputs={inputs!r}: {said}")


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("sub"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(TrainerError) as error:
        find_inputs(str(tmp_path))
    assert str(error.value) == (
        f"--inputs={str(tmp_path)!r}: {tmp_path}/sub: cannot be listed"
        " (Permission denied); give a folder that can be read"
    )
