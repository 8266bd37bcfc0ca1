"""Evaluation of a trained run on a labelled folder that it did not see."""

from __future__ import annotations

import csv
import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as sklearn_metrics

from tests.support.command import Said, arguments, command
from tests.support.photos import CLASSES
from tests.support.tiny import use_tiny_backbone
from trainer.data import check

Home = tuple[pathlib.Path, pathlib.Path]


@pytest.fixture
def home(trained: tuple[pathlib.Path, Any], photos: str) -> Home:
    """The workdir of a run, and the photos that it was trained on."""
    return trained[0], pathlib.Path(photos)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_backbone(monkeypatch)


def evaluate(
    home: Home, dataset: pathlib.Path, **values: Any
) -> tuple[Said, dict[str, Any]]:
    """Returns what `evaluate` says, and evaluation.json if it succeeds."""
    path = home[0] / "evaluation.json"
    path.unlink(missing_ok=True)
    flags = {"stage": "evaluate", "workdir": home[0], "dataset": dataset}
    said = command(*arguments({**flags, **values}))
    return said, json.loads(path.read_text()) if said.status == 0 else {}


def new_photos(folder: pathlib.Path, counts: dict[str, int]) -> None:
    """Writes PNG images, red, green and blue in turn, into CLASS folders."""
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            rng = np.random.default_rng([7, label, i])
            pixels = rng.integers(0, 100, (16, 16, 3)).astype(np.uint8)
            pixels[..., i % 3] += 120
            Image.fromarray(pixels).save(folder / name / f"{i}.png")


def predicted(home: Home, inputs: pathlib.Path) -> list[tuple[str, str]]:
    """Returns true and predicted class of each file, from `predict`."""
    output = inputs.parent / "predicted.csv"
    said = command(
        "--stage=predict",
        f"--workdir={home[0]}",
        f"--inputs={inputs}",
        f"--output={output}",
    )
    assert said.status == 0, said.err
    with open(output, encoding="utf-8", newline="") as stream:
        return [
            (pathlib.Path(row["file"]).parent.name, row["class_1"])
            for row in csv.DictReader(stream)
        ]


def test_a_folder_with_other_classes_is_evaluated_whole(
    home: Home, tmp_path: pathlib.Path
) -> None:
    """Metrics equal those of scikit-learn on what `predict` writes."""
    others = tmp_path / "others"
    new_photos(others / "train", {"apple pie": 6, "sushi": 4, "cake": 3})
    new_photos(others / "test", {"sushi": 5, "bun": 1})
    said, found = evaluate(home, others)
    assert said.status == 0, said.err
    assert (
        "data: 15 photos of 2 classes from others/test/, others/train/; no"
        " photos of борщ; 4 photos of 2 other classes left out: bun 1, cake 3\n"
    ) in said.out
    assert ", whole folder, 15 examples: loss" in said.out
    assert "warning" not in said.out
    assert "predictions.csv: not written, because these are not" in said.out
    rows = [x for x in predicted(home, others) if x[0] in CLASSES]
    true, guess = zip(*rows, strict=True)
    confusion = sklearn_metrics.confusion_matrix(
        true, guess, labels=sorted(CLASSES)
    )
    assert found["test_confusion"] == confusion.tolist()
    # Images of present classes are predicted as absent ones too.
    assert np.all(confusion.sum(axis=0) > 0)
    assert found["test_per_class_support"] == {
        "apple pie": 6,
        "sushi": 9,
        "борщ": 0,
    }
    # The absent class has no accuracy and no part in the mean.
    assert found["test_per_class_accuracy"]["борщ"] is None
    assert found["test_accuracy"] == pytest.approx(
        sklearn_metrics.accuracy_score(true, guess)
    )
    recalls = [confusion[0, 0] / 6, confusion[1, 1] / 9]
    assert found["test_balanced_accuracy"] == pytest.approx(sum(recalls) / 2)
    assert found["test_macro_f1"] == pytest.approx(
        sklearn_metrics.f1_score(true, guess, average="macro")
    )
    about = {
        "final_split": "whole_folder",
        "places": {"others/test/": 5, "others/train/": 10},
        "missing_classes": ["борщ"],
        "left_out_classes": {"bun": 1, "cake": 3},
        "training_images": 0,
    }
    assert {name: found[name] for name in about} == about


@pytest.mark.parametrize(
    ("counts", "said_of"),
    [
        pytest.param(
            {"apple pie": 1, "борщ": 1, "sushi": 1, "cake": 1},
            "also has cake, compared",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"apple pie": 1, "sushi": 1},
            "lacks борщ, compared",
            marks=pytest.mark.slow,
        ),
        (
            {"apple pie": 1, "sushi": 1, "cake": 1},
            "lacks борщ and also has cake, compared",
        ),
        ({"apple pie": 1, "борщ": 1, "sushi": 1}, ""),
    ],
)
def test_strict_classes_refuses_other_classes(
    home: Home,
    tmp_path: pathlib.Path,
    counts: dict[str, int],
    said_of: str,
) -> None:
    others = tmp_path / "others"
    new_photos(others, counts)
    said, _ = evaluate(home, others, strict_classes=True)
    if not said_of:
        assert said.status == 0, said.err
        return
    assert (said.status, said.err) == (
        1,
        # The test of a folder with other classes shows that the remedy works.
        f"error: --strict_classes: {others} {said_of} with the run; give the"
        " run's classes, or leave the flag out to evaluate those that both"
        " have\n",
    )


@pytest.mark.slow
def test_training_images_are_warned_of(
    home: Home, tmp_path: pathlib.Path
) -> None:
    """Images are compared by content, under another name."""
    others = tmp_path / "others"
    new_photos(others / "old", {"sushi": 3})
    new_photos(others / "new", {"apple pie": 2})
    for i in range(2):
        shutil.copy(
            home[1] / f"train/sushi/00{i}.jpg",
            others / f"old/sushi/copy{i}.jpg",
        )
    # A test image is none that the run was trained on.
    shutil.copy(home[1] / "test/sushi/000.jpg", others / "old/sushi/t.jpg")
    said, found = evaluate(home, others)
    assert (
        "warning: the run was trained on 2 of these 8 photos, such as"
        " old/sushi/copy0.jpg, so the accuracy is too high; remove them, or"
        " name the folder to evaluate with --test_split=NAME\n"
    ) in said.out + said.err
    assert (found["test_examples"], found["training_images"]) == (8, 2)
    # The remedy works.
    said, found = evaluate(home, others, test_split="new")
    assert "trained on" not in said.out + said.err
    assert (found["test_examples"], found["training_images"]) == (2, 0)


@pytest.mark.parametrize(
    "place", [pytest.param("same", marks=pytest.mark.slow), "copy"]
)
def test_the_run_s_own_folder_keeps_its_test_split(
    home: Home, tmp_path: pathlib.Path, place: str
) -> None:
    photos = home[1]
    if place == "copy":
        photos = pathlib.Path(shutil.copytree(photos, tmp_path / "moved"))
    said, found = evaluate(home, photos)
    result = json.loads((home[0] / "result.json").read_text())
    assert ", test split, 15 examples: loss" in said.out
    assert found["final_split"] == "test"
    assert found["test_confusion"] == result["test_confusion"]
    assert "places" not in found
    assert "predictions: " in said.out


@pytest.mark.slow
def test_the_folder_of_the_test_split_gives_the_run_s_result(
    home: Home,
) -> None:
    said, found = evaluate(home, home[1] / "test")
    result = json.loads((home[0] / "result.json").read_text())
    assert "data: 15 photos of 3 classes from test/\n" in said.out
    for name in ("test_confusion", "test_accuracy", "test_macro_f1"):
        assert found[name] == result[name], name
    assert found["test_loss"] == pytest.approx(result["test_loss"], rel=1e-6)
    assert found["training_images"] == 0


@pytest.mark.slow
def test_replicas_agree_on_a_whole_folder(
    home: Home, tmp_path: pathlib.Path
) -> None:
    """15 images in batches of 8 are padded. The replicas alone use XLA."""
    others = tmp_path / "others"
    new_photos(others, {"apple pie": 8, "sushi": 7, "cake": 1})
    _, one = evaluate(home, others)
    said, several = evaluate(
        home, others, strategy="mirrored", logical_cpus=2, xla="on"
    )
    assert said.status == 0, said.err
    assert several["test_confusion"] == one["test_confusion"]
    assert several["test_examples"] == 15
    assert several["test_loss"] == pytest.approx(one["test_loss"], rel=1e-5)


@pytest.mark.slow
def test_an_unreadable_image_stops_or_is_left_out(
    home: Home, tmp_path: pathlib.Path
) -> None:
    others = tmp_path / "others"
    new_photos(others, {"sushi": 2})
    (others / "sushi" / "bad.jpg").write_bytes(b"<html>")
    said, _ = evaluate(home, others)
    assert said.status == 1
    assert "bad.jpg: looks like HTML" in said.err
    said, found = evaluate(home, others, on_bad_image="skip")
    assert "1 unreadable photo left out" in said.out
    assert found["test_examples"] == 2


@pytest.mark.slow
def test_a_rule_of_groups_plays_no_part(
    home: Home, tmp_path: pathlib.Path
) -> None:
    new_photos(tmp_path / "others", {"sushi": 1})
    said, _ = evaluate(home, tmp_path / "others", group_by="parent")
    assert (said.status, said.err) == (
        2,
        "error: --group_by='parent': not used when a whole folder is"
        " evaluated; leave it out\n",
    )


@pytest.mark.slow
def test_images_of_a_folder_are_checked_once(
    home: Home, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = tmp_path / "others"
    new_photos(others, {"apple pie": 3, "sushi": 3})
    read: list[int] = []
    real = check.read_encoded_image

    def reading(samples: Any, row: int) -> bytes | None:
        read.append(row)
        return real(samples, row)

    monkeypatch.setattr(check, "read_encoded_image", reading)
    cache = {"cache_dir": tmp_path / "cache"}
    evaluate(home, others, **cache)
    assert len(read) == 6
    # Of these files, only the changed one is read again.
    image = others / "sushi" / "0.png"
    Image.new("RGB", (9, 9), (3, 2, 1)).save(image)
    evaluate(home, others, **cache)
    assert len(read) == 7
