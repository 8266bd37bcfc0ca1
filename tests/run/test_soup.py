"""Soups of heads on one backbone, whose logits NumPy computes."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest

from tests.support.heads import STAGE, change_head, model_weights, scores
from tests.support.photos import make_photos
from tests.support.runs import TINY, StopError, small, train
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.errors import TrainerError, UsageError
from trainer.results.evaluate import Evaluator
from trainer.run import soup as soup_module
from trainer.run import training
from trainer.run.ingredients import read_ingredients
from trainer.run.soup import soup
from trainer.run.use import evaluate

RUN = {
    **TINY,
    "stage": STAGE,
    "epochs": 4,
    "learning_rate": 0.02,
    "keep_checkpoints": 1,
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Photos with a validation split, so test images choose nothing."""
    root = tmp_path_factory.mktemp("data")
    make_photos(root / "photos", train=8, test=5)
    make_photos(root / "more", train=6, test=0)
    (root / "more/train").rename(root / "photos/val")
    return root / "photos"


@pytest.fixture(scope="module")
def runs(photos, tmp_path_factory) -> pathlib.Path:
    """Four runs with one backbone.

    `left` always names the first class, and `right` never does, but their mean
    is `good`; `wrong` names the least probable class.
    """
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_backbone(patch)
        train(str(photos), folder / "good", **RUN)
    values = model_weights(folder / "good")
    kernel, bias = values["head/kernel"], values["head/bias"]
    first = np.float32([2, 0, 0])
    heads = {
        "left": (kernel, bias + first),
        "right": (kernel, bias - first),
        "wrong": (-3 * kernel, -3 * bias),
    }
    for name, head in heads.items():
        shutil.copytree(folder / "good", folder / name)
        change_head(folder / name, *head)
    return folder


def cook(
    runs: pathlib.Path, out: pathlib.Path, *names: str, **flags: str
) -> dict[str, Any]:
    config = Config(
        stage="soup",
        workdirs=",".join(str(runs / name) for name in names),
        workdir=str(out),
        **flags,
    )
    soup(config, frozenset({"stage", "workdir", "workdirs", *flags}))
    return json.loads((out / "result.json").read_text())


@dataclasses.dataclass(frozen=True)
class Cooked:
    """A soup, what it printed, and the numbers of images it predicted."""

    workdir: pathlib.Path
    result: dict[str, Any]
    said: str
    seen: list[int]


@pytest.fixture(scope="module")
def cooked(
    runs: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> Cooked:
    """The soup of `wrong`, `left` and `right`."""
    out = tmp_path_factory.mktemp("cooked") / "soup"
    seen: list[int] = []
    real = Evaluator.evaluate

    def noting(self: Evaluator, samples: Any, **options: Any) -> Any:
        seen.append(len(samples))
        return real(self, samples, **options)

    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()) as said,
    ):
        patch.setattr(Evaluator, "evaluate", noting)
        result = cook(runs, out, "wrong", "left", "right")
    return Cooked(out, result, said.getvalue(), seen)


@pytest.mark.slow
def test_a_soup_is_the_mean_of_what_helps(runs, photos, cooked, capsys):
    out, result, said = cooked.workdir, cooked.result, cooked.said
    trials = {
        pathlib.Path(trial["workdir"]).name: trial for trial in result["soup"]
    }
    for name, trial in trials.items():
        accuracy, loss = scores(photos, "val", model_weights(runs / name))
        assert trial["validation_accuracy"] == pytest.approx(accuracy)
        assert trial["validation_loss"] == pytest.approx(loss, rel=1e-4)
    assert trials["wrong"]["accepted"] is False
    assert list(trials)[-1] == "wrong"
    assert trials["left"]["accepted"] is True
    assert trials["right"]["accepted"] is True
    of_soup = model_weights(out)
    left, right = (model_weights(runs / name) for name in ("left", "right"))
    for key, value in left.items():
        mean = (value.astype(np.float64) + right[key]) / 2
        np.testing.assert_array_equal(of_soup[key], mean.astype(np.float32))
    accuracy, loss = scores(photos, "test", of_soup)
    assert result["test_accuracy"] == pytest.approx(accuracy)
    assert result["test_loss"] == pytest.approx(loss, rel=1e-4)
    assert result["validation_from_test"] is False
    assert said.count("left out") == 1
    assert "test images" not in said
    # 18 images are validated on, 15 tested on, once at the end.
    assert cooked.seen == [18] * (len(cooked.seen) - 1) + [15]
    assert len(cooked.seen) > 3
    # The workdir is one that evaluate accepts, as the run's own test.
    config = Config(stage="evaluate", workdir=str(out))
    before = (out / "predictions.csv").read_bytes()
    evaluate(config, frozenset({"stage", "workdir"}))
    again = json.loads((out / "evaluation.json").read_text())
    assert again["test_loss"] == pytest.approx(result["test_loss"], rel=1e-6)
    assert "not written" not in capsys.readouterr().out
    assert (out / "predictions.csv").read_bytes() == before


@pytest.mark.slow
def test_a_killed_soup_is_no_run_and_starts_again(
    runs, photos, tmp_path, monkeypatch, capsys
):
    whole = cook(runs, tmp_path / "whole", "good", "left")
    out = tmp_path / "killed"

    def stop(*arguments: Any) -> None:
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(soup_module, "_write_weights", stop)
        with pytest.raises(StopError):
            cook(runs, out, "good", "left")
    assert not (out / "result.json").exists()
    with pytest.raises(TrainerError, match="holds no checkpoint"):
        evaluate(
            Config(stage="evaluate", workdir=str(out)),
            frozenset({"stage", "workdir"}),
        )
    assert cook(runs, out, "good", "left") == whole
    capsys.readouterr()
    assert cook(runs, out, "good", "left") == whole
    assert "averaged already" in capsys.readouterr().out
    with pytest.raises(TrainerError, match="holds a soup of other runs"):
        cook(runs, out, "good", "wrong")
    # A run that was trained again, in the same folder.
    path = runs / "left/result.json"
    stored = path.read_text()
    path.write_text(stored.replace('"train_seconds": ', '"train_seconds": 1'))
    with pytest.raises(TrainerError, match="holds a soup of other runs"):
        cook(runs, out, "good", "left")
    path.write_text(stored)
    with pytest.raises(TrainerError, match="give the folder as --init_from"):
        training.train(Config(**small(str(photos), out, **RUN)))


def edit(workdir: pathlib.Path, name: str, change: Any) -> None:
    path = workdir / name
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


REFUSED = {
    "backbone": (
        "config.json",
        lambda c: c["config"].update(backbone="ResNet50"),
        r"'.*bad' has --backbone=ResNet50, '.*good' has MobileNetV2",
    ),
    "backbone_args": (
        "config.json",
        lambda c: c["config"].update(backbone_args="alpha=0.5"),
        r"has --backbone_args=alpha=0.5",
    ),
    "image size": (
        "config.json",
        lambda c: c["config"].update(image_size=48),
        r"has --image_size=48, '.*good' has 32",
    ),
    "form of the backbone": (
        "backbone.json",
        lambda b: b.update(architecture=b["architecture"] + " "),
        r"has another form of the backbone",
    ),
    "classes": (
        "manifest.json",
        lambda m: m.update(class_names=["a", "b", "c"]),
        r"has the classes \['a', 'b', 'c'\]",
    ),
    "other validation samples": (
        "manifest.json",
        lambda m: m["validation_ids"].pop(),
        r"on 17 samples, of which 17 are among the 18",
    ),
    "changed validation image": (
        "manifest.json",
        lambda m: m["splits"]["validation"]["digests"].__setitem__(0, "0"),
        r"on 18 samples, of which 17 are among the 18",
    ),
    "changed test image": (
        "manifest.json",
        lambda m: m["splits"]["test"]["digests"].__setitem__(0, "0"),
        r"was not tested on the samples of",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_runs_that_differ_are_refused_by_name(runs, tmp_path, name):
    file, change, message = REFUSED[name]
    shutil.copytree(runs / "good", tmp_path / "bad")
    edit(tmp_path / "bad", file, change)
    with pytest.raises(TrainerError, match=message):
        cook(runs, tmp_path / "out", "good", str(tmp_path / "bad"))
    assert not (tmp_path / "out").exists()


def test_an_unfinished_run_a_study_and_a_used_folder_are_refused(
    runs, tmp_path
):
    shutil.copytree(runs / "good", tmp_path / "bad")
    (tmp_path / "bad/result.json").unlink()
    with pytest.raises(TrainerError, match="its run is not finished"):
        cook(runs, tmp_path / "out", "good", str(tmp_path / "bad"))
    (tmp_path / "study/seed0/model0").mkdir(parents=True)
    with pytest.raises(UsageError, match="is the workdir of a study"):
        cook(runs, tmp_path / "out", "good", str(tmp_path / "study"))
    with pytest.raises(UsageError, match="is also one of --workdirs"):
        cook(runs, runs / "good", "good", "left")
    with pytest.raises(TrainerError, match="holds a run; give a new folder"):
        cook(runs, runs / "wrong", "good", "left")
    (tmp_path / "search").mkdir()
    (tmp_path / "search/search.json").write_text("{}")
    with pytest.raises(TrainerError, match=r"holds .search\.json., but soup"):
        cook(runs, tmp_path / "search", "good", "left")
    with pytest.raises(UsageError, match="two or more workdirs"):
        cook(runs, tmp_path / "out", "good")


def held_out(manifest: dict[str, Any]) -> None:
    """Changes a manifest to that of a run with --validation=train:0.2."""
    ids = manifest["splits"]["train"]["ids"]
    manifest.update(validation_source="train", validation_ids=ids[::5])


def from_test(manifest: dict[str, Any]) -> None:
    """Changes a manifest to that of an earlier version, of a default run."""
    ids = manifest["splits"]["test"]["ids"]
    del manifest["validation_source"]
    manifest.update(validation_from_test=True, validation_ids=ids[:8])


@pytest.mark.parametrize(
    ("change", "split"), [(held_out, "train"), (from_test, "test")]
)
def test_validation_samples_are_those_of_their_split(
    runs, tmp_path, change, split
):
    """Each split has its own digests, so a mistaken one shows."""
    for name in ("one", "two"):
        shutil.copytree(runs / "good", tmp_path / name)
        edit(tmp_path / name, "manifest.json", change)
    paths = [str(tmp_path / name) for name in ("one", "two")]
    manifest = json.loads((tmp_path / "one/manifest.json").read_text())
    columns = manifest["splits"][split]
    digests = dict(zip(columns["ids"], columns["digests"], strict=True))
    for found in read_ingredients(paths):
        assert [*found.validation] == manifest["validation_ids"]
        for sample_id, sample in found.validation.items():
            assert sample.digest == digests[sample_id]


@pytest.mark.slow
def test_held_out_images_validate_a_soup_of_moved_photos(
    photos, tmp_path, monkeypatch
):
    """--dataset does not drop the runs' rule of validation."""
    use_tiny_backbone(monkeypatch)
    shutil.copytree(photos, tmp_path / "photos")
    values = {**RUN, "validation": "train:0.25"}
    train(str(tmp_path / "photos"), tmp_path / "a", **values)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "photos").rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="give --dataset=FOLDER"):
        cook(tmp_path, tmp_path / "out", "a", "b")
    place = {"dataset": str(tmp_path / "moved")}
    result = cook(tmp_path, tmp_path / "out", "a", "b", **place)
    assert result["validation_source"] == "train"
    alone = {
        pathlib.Path(trial["workdir"]).name: trial["validation_accuracy"]
        for trial in result["soup"]
    }
    for name, accuracy in alone.items():
        of_run = json.loads((tmp_path / name / "result.json").read_text())
        assert accuracy == of_run["best_validation_accuracy"]


@pytest.mark.slow
def test_a_run_starts_from_a_soup(cooked, photos, tmp_path, monkeypatch):
    """A rate that moves no weight shows where the head has begun."""
    use_tiny_backbone(monkeypatch)
    values = {**RUN, "epochs": 1, "learning_rate": 1e-7}
    source = str(cooked.workdir)
    train(str(photos), tmp_path / "next", **values, init_from=source)
    of_soup, after = (
        model_weights(cooked.workdir),
        model_weights(tmp_path / "next"),
    )
    assert of_soup.keys() == after.keys()
    for key, value in of_soup.items():
        np.testing.assert_allclose(after[key], value, atol=1e-6)
