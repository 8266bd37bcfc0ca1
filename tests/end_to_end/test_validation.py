"""Runs with --validation: no test image decides anything; folds are runs."""

from __future__ import annotations

import csv
import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest

from tests.support.command import Said, arguments, command
from tests.support.photos import CLASSES, make_photos
from tests.support.runs import (
    TINY,
    assert_same_arrays,
    assert_same_runs,
    lines,
    stopped_after,
    train,
    weights,
)

HEAD = "feature_extract"
FLAGS: dict[str, Any] = {**TINY, "stage": HEAD, "augment": False}
pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(scope="module")
def relabelled(photos: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same photos, but with other classes for the test images."""
    # The same name, which result.json repeats.
    folder = tmp_path_factory.mktemp("relabelled") / pathlib.Path(photos).name
    shutil.copytree(photos, folder)
    test = folder / "test"
    for name in CLASSES:
        (test / name).rename(test / f"{name}.old")
    for name, source in zip(CLASSES, (*CLASSES[1:], CLASSES[0]), strict=True):
        (test / f"{source}.old").rename(test / name)
    return str(folder)


def results(
    photos: tuple[str, str], root: pathlib.Path, **values: Any
) -> list[dict[str, Any]]:
    """Trains on both folders; returns both results, in `root`/0 and 1."""
    values = {**FLAGS, "epochs": 2, **values}
    return [
        train(folder, root / str(n), **values)
        for n, folder in enumerate(photos)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [{"learning_rate": 0.3}, {"head_solver": "lbfgs", "epochs": 1}],
    ids=["adam", "solved"],
)
def test_labels_of_test_images_choose_nothing(
    photos: str, relabelled: str, tmp_path: pathlib.Path, values: dict[str, Any]
) -> None:
    one, two = results(
        (photos, relabelled), tmp_path, validation="train:0.25", **values
    )
    # The labels do differ.
    assert one["test_confusion"] != two["test_confusion"]
    for name in ("best_step", "best_validation_accuracy", "steps"):
        assert one[name] == two[name]
    for kind in ("last", "best"):
        assert_same_arrays(
            weights(tmp_path / "0", HEAD, kind),
            weights(tmp_path / "1", HEAD, kind),
        )
    mine, theirs = (
        [
            x
            for x in lines(tmp_path / n, "metrics.jsonl")
            if x["span"] != "final"
        ]
        for n in "01"
    )
    assert mine == theirs
    if "head_solver" in values:
        paths = [
            json.loads((tmp_path / n / "head_path.json").read_text())
            for n in "01"
        ]
        assert paths[0] == paths[1]
    # 24 images, of which a quarter of each class is held out.
    assert (one["train_examples"], one["validation_examples"]) == (18, 6)
    assert one["validation_source"] == "train"
    assert not one["validation_from_test"]


@pytest.mark.slow
def test_validation_on_test_images_sees_their_labels(
    photos: str, relabelled: str, tmp_path: pathlib.Path
) -> None:
    """The labels of the test split decide the result of --validation=test.

    They also do if --validation is unset.
    """
    values = {"epochs": 2, "learning_rate": 0.3}
    tested, _ = results(
        (photos, relabelled), tmp_path, validation="test", **values
    )
    unset = train(photos, tmp_path / "unset", **FLAGS, **values)
    assert_same_runs((tmp_path / "unset", unset), (tmp_path / "0", tested))
    assert unset["validation_source"] == "test"
    first, second = (
        [
            line["loss"]
            for line in lines(tmp_path / n, "metrics.jsonl")
            if line["split"] == "validation"
        ]
        for n in "01"
    )
    assert first != second


def asked(photos: str, workdir: pathlib.Path, **values: Any) -> list[str]:
    """Returns the arguments of a run of the head, in two folds."""
    fields = {
        "stage": HEAD,
        "dataset": photos,
        "workdir": workdir,
        "backbone": "MobileNetV2",
        "weights": "none",
        "image_size": 32,
        "batch_size": 8,
        "epochs": 1,
        "validation": "kfold:2",
        "augment": False,
        "seed": 3,
        **values,
    }
    return arguments({k: v for k, v in fields.items() if v is not None})


@pytest.fixture(scope="module")
def folds(
    tiny: None, photos: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, Said]:
    """The workdir of a finished run in two folds, and what it printed."""
    workdir = tmp_path_factory.mktemp("folds") / "kfold"
    said = command(*asked(photos, workdir))
    assert said.status == 0, said.err
    return workdir, said


def rows_of(workdir: pathlib.Path) -> list[dict[str, str]]:
    with open(workdir / "out_of_fold.csv", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_each_training_image_is_predicted_once(
    folds: tuple[pathlib.Path, Said], photos: str
) -> None:
    workdir, _ = folds
    rows = rows_of(workdir)
    train_folder = pathlib.Path(photos) / "train"
    assert [row["id"] for row in rows] == sorted(
        f"{path.parent.name}/{path.name}" for path in train_folder.glob("*/*")
    )
    for fold in (1, 2):
        manifest = json.loads(
            (workdir / f"fold-{fold}" / "manifest.json").read_text()
        )
        mine = [row["id"] for row in rows if row["fold"] == str(fold)]
        assert mine == manifest["validation_ids"]
        assert not set(mine) & set(manifest["train_ids"])
        assert len(mine) == len(manifest["train_ids"]) == 12
    for row in rows:
        assert row["true"] == row["id"].split("/")[0]
        assert 1 / 3 < float(row["probability"]) <= 1
        same = row["predicted"] == row["true"]
        assert (row["probability"] == row["true_probability"]) == same


@pytest.mark.slow
def test_the_summary_repeats_the_folds(
    folds: tuple[pathlib.Path, Said],
) -> None:
    workdir, said = folds
    record = json.loads((workdir / "folds.json").read_text())
    assert (record["folds"], record["train_examples"]) == (2, 24)
    metrics = []
    for number, run in enumerate(record["runs"], 1):
        folder = workdir / f"fold-{number}"
        result = json.loads((folder / "result.json").read_text())
        assert result["validation_source"] == f"fold {number} of 2"
        # The loop's own validation, after the only epoch.
        (validated,) = (
            line["accuracy"]
            for line in lines(folder, "metrics.jsonl")
            if line["split"] == "validation"
        )
        assert run["validation_accuracy"] == pytest.approx(validated)
        assert run["test_accuracy"] == result["test_accuracy"]
        metrics.append((validated, result["test_accuracy"]))
    for column, name in enumerate(("validation_accuracy", "test_accuracy")):
        values = np.array(metrics)[:, column]
        assert record[name] == {
            "mean": pytest.approx(values.mean()),
            "standard_deviation": pytest.approx(values.std(ddof=1)),
        }
        assert f"{values.mean():.4f}" in said.out
    assert "\n== fold 2 of 2\n" in said.out
    assert "(on fold 2 of 2 of the training subset)" in said.out


def contents(workdir: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(workdir)): path.read_bytes()
        for path in sorted(workdir.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_a_finished_run_prints_its_results(
    folds: tuple[pathlib.Path, Said], photos: str
) -> None:
    workdir, first = folds
    before = contents(workdir)
    said = command(*asked(photos, workdir))
    assert said.status == 0
    assert said.out.count("this run is complete; its results:") == 2
    assert said.out.partition("\nfold ")[2] == first.out.partition("\nfold ")[2]
    assert contents(workdir) == before


@pytest.mark.slow
@pytest.mark.parametrize("which", ["train", "init_from", "evaluate"])
def test_the_workdir_of_folds_is_not_that_of_a_run(
    folds: tuple[pathlib.Path, Said], photos: str, which: str
) -> None:
    workdir, _ = folds
    flag = "init_from" if which == "init_from" else "workdir"
    said = command(
        *{
            "train": asked(photos, workdir, validation=None),
            "init_from": asked(
                photos,
                workdir.parent / "other",
                validation="auto",
                init_from=workdir,
            ),
            "evaluate": [f"--workdir={workdir}", "--stage=evaluate"],
        }[which]
    )
    assert said.status == 2
    assert said.err == (
        f"error: --{flag}='{workdir}': holds the folds of a k-fold run, each a"
        f" workdir of its own; give one of them, '{workdir}/fold-1' to"
        f" '{workdir}/fold-2'\n"
    )


@pytest.mark.slow
def test_a_fold_can_be_used_as_any_run(
    folds: tuple[pathlib.Path, Said], photos: str
) -> None:
    workdir, _ = folds
    fold = workdir / "fold-1"
    result = json.loads((fold / "result.json").read_text())
    said = command(f"--workdir={fold}", "--stage=evaluate")
    assert said.status == 0, said.err
    assert f"accuracy {result['test_accuracy']:.4f}" in said.out
    # A rule of validation need not fit other data.
    small = make_photos(workdir.parent / "small", train=1, test=2)
    said = command(
        f"--workdir={fold}", "--stage=evaluate", f"--dataset={small}"
    )
    assert said.status == 0, said.err


def test_folds_need_a_workdir_of_their_own(
    finished: tuple[pathlib.Path, dict[str, Any]], photos: str
) -> None:
    before = contents(finished[0])
    said = command(*asked(photos, finished[0]))
    assert said.status == 2
    assert said.err == (
        f"error: --workdir='{finished[0]}': holds a single run, not folds;"
        " give another --workdir\n"
    )
    assert contents(finished[0]) == before


def test_the_plan_of_folds_writes_nothing(
    photos: str, tmp_path: pathlib.Path
) -> None:
    workdir = tmp_path / "plan"
    said = command(*asked(photos, workdir, validation="kfold:5", dry_run=True))
    assert said.status == 0, said.err
    # Eight images of each of three classes; class c begins with fold c.
    assert said.out.endswith(
        "\nfold 1: 20 samples to train, 4 to validate\n"
        "fold 2: 19 samples to train, 5 to validate\n"
        "fold 3: 18 samples to train, 6 to validate\n"
        "fold 4: 19 samples to train, 5 to validate\n"
        "fold 5: 20 samples to train, 4 to validate\n"
    )
    assert not workdir.exists()


@pytest.mark.slow
def test_warm_start_warns_of_seen_validation_images(
    folds: tuple[pathlib.Path, Said], photos: str, tmp_path: pathlib.Path
) -> None:
    source = folds[0] / "fold-1"
    values = {**FLAGS, "init_from": str(source), "seed": 3}
    for fold, seen in ((1, 0), (2, 12)):
        workdir = tmp_path / f"warm{fold}"
        with stopped_after(1):
            train(photos, workdir, validation=f"fold:{fold}/2", **values)
        texts = [
            line["text"]
            for line in lines(workdir, "events.jsonl")
            if line["event"] == "warning"
        ]
        expected = f"has trained on {seen} of the 12 validation images"
        assert [expected in text for text in texts] == [True] * bool(seen)
