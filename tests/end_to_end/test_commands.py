"""Whole runs on small images: what is written, resumed and refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.support.photos import CLASSES, make_photos
from tests.support.runs import (
    Stop,
    assert_same_arrays,
    lines,
    small,
    stopped_after,
    train,
    weights,
)
from trainer import interrupt
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.results.evaluate import Evaluator
from trainer.run.classifiers import new_classifier
from trainer.run.prepare import prepare
from trainer.run.use import evaluate
from trainer.train import loop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory):
    """A finetune that did its own feature_extract."""
    workdir = tmp_path_factory.mktemp("runs") / "finetune"
    return workdir, train(photos, workdir, epochs=2, head_epochs=2)


def test_result_json_has_the_promised_fields(finished):
    _, result = finished
    # 24 training images in batches of 8, two epochs in each stage.
    assert result["stage"] == "finetune"
    assert result["backbone"] == "MobileNetV2"
    assert result["classes"] == sorted(CLASSES)
    assert result["train_examples"] == 24
    assert result["test_examples"] == 15
    assert result["steps"] == 12
    assert result["best_step"] in (9, 12)
    assert result["total_params"] == 410_208 + 1280 * 3 + 3
    # Conv_1 (112x1280), Conv_1_bn, the 160x112 projection and its
    # statistics, a depthwise BatchNorm pair, and the head.
    assert 3843 < result["trainable_params"] < 410_208
    assert result["train_seconds"] > 0
    assert np.isfinite(result["test_loss"])
    assert np.trace(result["test_confusion"]) / 15 == pytest.approx(
        result["test_accuracy"]
    )
    audit = result["audit"]
    assert audit["frozen_unchanged"] is True
    assert audit["trainable_changed"] is True


def test_metrics_have_every_figure_once_at_absolute_steps(finished):
    workdir, _ = finished
    found = [
        (line["stage"], line["split"], line["span"], line["step"])
        for line in lines(workdir, "metrics.jsonl")
    ]
    expected = []
    for stage, start in (("feature_extract", 0), ("finetune", 6)):
        for epoch in (0, 1):
            begin = start + 3 * epoch
            expected += [
                (stage, "train", "steps", begin + i) for i in (1, 2, 3)
            ]
            expected += [
                (stage, "train", "epoch", begin + 3),
                (stage, "validation", "epoch", begin + 3),
            ]
        expected.append((stage, "test", "final", start + 6))
    assert found == expected


def test_files_of_a_workdir(finished):
    workdir, result = finished
    config = json.loads((workdir / "config.json").read_text())
    assert config["config"]["data_pct"] == 100.0
    assert config["environment"]["replicas"] == 1
    manifest = json.loads((workdir / "manifest.json").read_text())
    assert manifest["class_names"] == sorted(CLASSES)
    events = [line["event"] for line in lines(workdir, "events.jsonl")]
    assert events[0] == "start"
    assert events[-1] == "complete"
    assert events.count("save") == 4
    for stage in ("feature_extract", "finetune"):
        for kind in ("last", "best"):
            assert tf.train.latest_checkpoint(
                str(workdir / "checkpoints" / stage / kind)
            )
    earlier = result["earlier_stages"][0]
    assert (earlier["stage"], earlier["steps"]) == ("feature_extract", 6)


def test_tensorboard_has_charts_images_text_and_hparams(finished):
    workdir, _ = finished
    tags: dict[str, set[str]] = {}
    for split in ("train", "validation", "test"):
        (path,) = (workdir / "tensorboard" / split).iterdir()
        tags[split] = {
            value.tag
            for event in tf.compat.v1.train.summary_iterator(str(path))
            for value in event.summary.value
        }
    for split in tags:
        assert {"loss", "accuracy"} <= tags[split]
    assert {
        "learning_rate",
        "steps/images_per_second",
        "augmentation",
        "configuration",
    } <= tags["train"]
    assert "confusion_matrix" in tags["test"]
    assert any("hparams" in tag for tag in tags["test"])


def test_moving_statistics_are_bit_identical_after_finetune(
    photos, tmp_path, finished
):
    workdir, _ = finished
    setup = prepare(_config(photos, workdir))
    start = new_classifier(setup, len(CLASSES), load=True).variables
    after = weights(workdir, "finetune")
    statistics = [key for key in start if "moving_" in key]
    assert len(statistics) == 2 * 52
    moved = 0
    for key, variable in start.items():
        escaped = key.replace("/", ".S")
        value = after[f"model/{escaped}/.ATTRIBUTES/VARIABLE_VALUE"]
        if key in statistics:
            np.testing.assert_array_equal(value, variable.numpy())
        else:
            moved += not np.array_equal(value, variable.numpy())
    # The twelve layers at the end of MobileNetV2, and the head.
    assert moved > 2


def _config(photos, workdir) -> Config:
    return Config(**small(photos, workdir, epochs=2, head_epochs=2))


def test_frozen_variables_own_no_optimizer_slots(finished):
    workdir, _ = finished
    slots = [k for k in weights(workdir, "feature_extract") if "slots/" in k]
    # Adam: the iteration, and momentum and velocity of kernel and bias.
    assert len(slots) == 5
    assert sum("head" in name for name in slots) == 4


def test_a_complete_run_says_so_and_changes_nothing(photos, finished, capsys):
    workdir, result = finished
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*")
              if p.is_file()}  # fmt: skip
    assert train(photos, workdir, epochs=2, head_epochs=2) == result
    assert "this run is complete" in capsys.readouterr().out
    after = {p: p.stat().st_mtime_ns for p in workdir.rglob("*")
             if p.is_file()}  # fmt: skip
    assert after == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": 3}, "--seed was 0, is 3"),
        ({"batch_size": 4}, "--batch_size was 8, is 4"),
        ({"epochs": 1}, "--epochs was 2, is 1"),
        ({"unfreeze": "all"}, "--unfreeze was 'last:10', is 'all'"),
        (
            {"seed": 3, "noaugment": True},
            "--augment was True, is False; --seed was 0, is 3",
        ),
        ({"stage": "feature_extract"}, "holds a run of --stage=finetune"),
    ],
)
def test_another_configuration_is_refused(photos, finished, values, message):
    workdir, _ = finished
    if values.pop("noaugment", False):
        values["augment"] = False
    with pytest.raises(TrainerError) as error:
        train(photos, workdir, **{"epochs": 2, "head_epochs": 2, **values})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_other_photos_are_refused(finished, tmp_path):
    workdir, _ = finished
    other = make_photos(tmp_path / "photos", train=9)
    with pytest.raises(TrainerError) as error:
        train(other, workdir, epochs=2, head_epochs=2)
    assert "data_fingerprint was" in str(error.value)
    assert "--dataset was" in str(error.value)


def test_the_same_photos_elsewhere_are_the_same_run(finished, tmp_path, capsys):
    workdir, _ = finished
    elsewhere = make_photos(tmp_path / "moved")
    train(elsewhere, workdir, epochs=2, head_epochs=2)
    assert "this run is complete" in capsys.readouterr().out


@pytest.mark.parametrize("saves", [1, 2, 5, 6, 8])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    photos, finished, tmp_path, saves
):
    """Stopped right after the n-th save, then started again."""
    workdir, result = finished
    again = tmp_path / "again"
    values = {"epochs": 2, "head_epochs": 2, "checkpoint_every_steps": 2}
    with stopped_after(saves):
        train(photos, again, **values)
    resumed = train(photos, again, **values)
    for stage in ("feature_extract", "finetune"):
        assert_same_arrays(weights(workdir, stage), weights(again, stage))
    times = {"train_seconds", "earlier_stages"}
    assert {k: v for k, v in resumed.items() if k not in times} == {
        k: v for k, v in result.items() if k not in times
    }
    assert lines(again, "metrics.jsonl") == lines(workdir, "metrics.jsonl")


def test_more_epochs_go_on_from_the_end(photos, tmp_path):
    one = tmp_path / "one"
    train(photos, one, stage="feature_extract", epochs=1)
    result = train(photos, one, stage="feature_extract", epochs=2)
    assert result["steps"] == 6
    two = tmp_path / "two"
    train(photos, two, stage="feature_extract", epochs=2)
    assert_same_arrays(
        weights(one, "feature_extract"), weights(two, "feature_extract")
    )


def test_finetune_goes_on_from_a_feature_extract_in_the_workdir(
    photos, finished, tmp_path, capsys
):
    workdir, result = finished
    steps = tmp_path / "steps"
    train(photos, steps, stage="feature_extract", epochs=2)
    after = train(photos, steps, stage="finetune", epochs=2)
    assert after["steps"] == 12
    assert after["test_loss"] == result["test_loss"]
    assert_same_arrays(weights(workdir, "finetune"), weights(steps, "finetune"))
    kept = lines(steps, "metrics.jsonl")
    assert kept == lines(workdir, "metrics.jsonl")

    # Asking for the feature_extract again must not undo what came after it.
    capsys.readouterr()
    train(photos, steps, stage="feature_extract", epochs=2)
    assert "this run is complete" in capsys.readouterr().out
    assert lines(steps, "metrics.jsonl") == kept
    with pytest.raises(TrainerError, match=r"--epochs=3: .* has started from"):
        train(photos, steps, stage="feature_extract", epochs=3)


def test_finetune_refuses_another_runs_feature_extract(photos, tmp_path):
    workdir = tmp_path / "run"
    train(photos, workdir, stage="feature_extract")
    with pytest.raises(TrainerError, match=r"--data_pct was 100.0, is 50.0"):
        train(photos, workdir, stage="finetune", data_pct=50.0)


def test_warm_start_takes_the_weights_and_a_fresh_optimizer(
    photos, finished, tmp_path
):
    workdir, _ = finished
    warm = tmp_path / "warm"
    result = train(
        photos,
        warm,
        stage="feature_extract",
        init_from=str(workdir),
        learning_rate=1e-9,
        augment=False,
    )
    # Its own steps begin at 0, and nothing but the head can have moved.
    assert result["steps"] == 3
    mine, theirs = (
        weights(warm, "feature_extract"),
        weights(workdir, "finetune"),
    )
    for key, value in mine.items():
        if key.startswith("model/") and "head" not in key:
            np.testing.assert_array_equal(value, theirs[key], err_msg=key)
        elif key.startswith("model/"):
            np.testing.assert_allclose(value, theirs[key], atol=1e-7)


def test_a_stop_within_a_validation_saves_what_was_trained(
    photos, finished, tmp_path, monkeypatch
):
    workdir, result = finished
    evaluate_samples, count = Evaluator.evaluate, 0

    def signal_in_the_second(self, samples, *, again=False):
        nonlocal count
        count += 1
        if count == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate_samples(self, samples, again=again)

    again = tmp_path / "again"
    values = {"epochs": 2, "head_epochs": 2}
    monkeypatch.setattr(Evaluator, "evaluate", signal_in_the_second)
    with interrupt.watched(), pytest.raises(interrupt.Stopped):
        train(photos, again, **values)
    monkeypatch.undo()
    # Two epochs of three steps are trained, the second is not validated.
    found = lines(again, "events.jsonl")
    assert [e["step"] for e in found if e["event"] == "save"] == [3, 6]
    resumed = train(photos, again, **values)
    for stage in ("feature_extract", "finetune"):
        assert_same_arrays(weights(workdir, stage), weights(again, stage))
    assert lines(again, "metrics.jsonl") == lines(workdir, "metrics.jsonl")
    assert resumed["test_confusion"] == result["test_confusion"]


def test_finetune_may_have_another_batch_size_than_the_head(photos, tmp_path):
    workdir = tmp_path / "run"
    train(photos, workdir, stage="feature_extract")
    result = train(
        photos, workdir, stage="finetune", batch_size=4, validation_fraction=1.0
    )
    # Three steps of eight, then six of four.
    assert result["steps"] == 9
    assert result["validation_examples"] == 15


def test_finetune_refuses_a_head_that_is_half_way_to_more_epochs(
    photos, tmp_path, monkeypatch
):
    workdir = tmp_path / "run"
    train(photos, workdir, stage="feature_extract")
    end = loop.StageLoop._end_epoch

    def stop(self):
        end(self)
        raise Stop

    monkeypatch.setattr(loop.StageLoop, "_end_epoch", stop)
    with pytest.raises(Stop):
        train(photos, workdir, stage="feature_extract", epochs=3)
    monkeypatch.undo()
    with pytest.raises(TrainerError, match="feature_extract is not complete"):
        train(photos, workdir, stage="finetune")


def test_warm_start_with_other_classes_is_refused(finished, tmp_path):
    workdir, _ = finished
    other = make_photos(tmp_path / "p", classes=("a", "b"))
    with pytest.raises(TrainerError, match=r"--init_from='.*': its classes"):
        train(other, tmp_path / "run", init_from=str(workdir))


def test_evaluate_gives_the_figures_of_the_result(finished, capsys):
    workdir, result = finished
    config = Config(stage="evaluate", workdir=str(workdir), batch_size=4)
    evaluate(config, frozenset({"stage", "workdir", "batch_size"}))
    figures = json.loads((workdir / "evaluation.json").read_text())
    assert figures["step"] == 12
    assert figures["test_accuracy"] == result["test_accuracy"]
    assert figures["test_confusion"] == result["test_confusion"]
    assert figures["test_loss"] == pytest.approx(result["test_loss"], rel=1e-5)
    assert "finetune at step 12 (last), test split" in capsys.readouterr().out


def test_evaluate_without_a_checkpoint_is_an_error(tmp_path):
    config = Config(stage="evaluate", workdir=str(tmp_path))
    with pytest.raises(TrainerError, match="holds no checkpoint") as error:
        evaluate(config, frozenset({"stage", "workdir"}))
    assert error.value.exit_status == 1


ONE_REPLICA = {"strategy": "one_device", "logical_cpus": 1}
TWO_REPLICAS = {"strategy": "mirrored", "logical_cpus": 2}


def assert_close_to(photos, workdir, result, other, figures):
    """Same counts; weights apart by 1e-3 of the way that they travelled."""
    assert figures["test_confusion"] == result["test_confusion"]
    start = new_classifier(
        prepare(_config(photos, workdir)), len(CLASSES), load=True
    ).variables
    mine, theirs = weights(workdir, "finetune"), weights(other, "finetune")
    apart = way = 0.0
    for key, variable in start.items():
        name = f"model/{key.replace('/', '.S')}/.ATTRIBUTES/VARIABLE_VALUE"
        apart += float(np.sum(np.square(mine[name] - theirs[name])))
        way += float(np.sum(np.square(mine[name] - variable.numpy())))
    assert np.sqrt(apart) <= 1e-3 * np.sqrt(way)


def test_two_replicas_train_like_one(photos, finished, tmp_path):
    workdir, result = finished
    two = tmp_path / "two"
    figures = train(photos, two, epochs=2, head_epochs=2, **TWO_REPLICAS)
    assert_close_to(photos, workdir, result, two, figures)


@pytest.mark.parametrize(
    ("before", "after"),
    [(TWO_REPLICAS, ONE_REPLICA), (ONE_REPLICA, TWO_REPLICAS)],
    ids=["two_then_one", "one_then_two"],
)
def test_begun_on_some_replicas_it_goes_on_with_others(
    photos, finished, tmp_path, before, after
):
    workdir, result = finished
    again = tmp_path / "again"
    values = {"epochs": 2, "head_epochs": 2, "checkpoint_every_steps": 2}
    # In the middle of the second epoch of fine-tuning.
    with stopped_after(7):
        train(photos, again, **values, **before)
    figures = train(photos, again, **values, **after)
    assert_close_to(photos, workdir, result, again, figures)
    (warning,) = [
        line["text"]
        for line in lines(again, "events.jsonl")
        if line["event"] == "warning" and "last bits" in line["text"]
    ]
    told = f"logical_cpus was {before['logical_cpus']}"
    assert f"{told}, is {after['logical_cpus']}" in warning


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGKILL, -signal.SIGKILL),
        (signal.SIGTERM, 143),
        (signal.SIGINT, 130),
    ],
    ids=["SIGKILL", "SIGTERM", "SIGINT"],
)
def test_stopped_and_started_again_it_ends_as_if_it_never_was(
    photos, finished, tmp_path, number, status
):
    """A signal to a real process, some time after its second save."""
    workdir, result = finished
    killed = tmp_path / "killed"
    values = small(
        photos, killed, epochs=2, head_epochs=2, checkpoint_every_steps=1
    )
    command = [sys.executable, "main.py", "--stage=finetune"]
    command += [f"--{name}={value}" for name, value in values.items()]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    events = killed / "events.jsonl"
    deadline = time.monotonic() + 240
    while not (events.exists() and events.read_text().count('"save"') >= 2):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == status
    # A killed one leaves its lock's file, which does not block.
    assert (killed / "lock").exists() == (number == signal.SIGKILL)
    found = lines(killed, "events.jsonl")
    if number == signal.SIGKILL:
        assert said == ""
    else:
        name = signal.Signals(number).name
        assert said == (
            f"stopped by {name}; the same command resumes from the last"
            " checkpoint\n"
        )
        assert found[-1] == {"event": "stop", "reason": f"Stopped: {name}"}
    saved = max(e["step"] for e in found if e["event"] == "save")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    resumed = [
        e["step"]
        for e in lines(killed, "events.jsonl")
        if e["event"] == "resume"
    ]
    assert resumed[0] == saved >= 2
    for stage in ("feature_extract", "finetune"):
        assert_same_arrays(weights(workdir, stage), weights(killed, stage))
    assert lines(killed, "metrics.jsonl") == lines(workdir, "metrics.jsonl")
    again = json.loads((killed / "result.json").read_text())
    times = {"train_seconds", "earlier_stages"}
    assert {k: v for k, v in again.items() if k not in times} == {
        k: v for k, v in result.items() if k not in times
    }
