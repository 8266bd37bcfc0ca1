"""A whole run: what it writes, and that it trains only what it may."""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.support.pages import check_page
from tests.support.photos import CLASSES, make_photos
from tests.support.runs import FINISHED, lines, small, train, weights
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.run.classifiers import new_classifier
from trainer.run.prepare import prepare
from trainer.run.report_again import report
from trainer.run.use import evaluate

pytestmark = pytest.mark.usefixtures("tiny")
STATISTICS = {
    f"bn{i}/moving_{name}" for i in (1, 2, 3) for name in ("mean", "variance")
}
TRAINED = {"conv3/kernel", "bn3/gamma", "bn3/beta", "head/kernel", "head/bias"}


def test_result_json_has_the_promised_fields(finished):
    _, result = finished
    # 24 training images in batches of 8, two epochs in each stage.
    assert result["stage"] == "finetune"
    assert result["backbone"] == "MobileNetV2"
    assert result["classes"] == sorted(CLASSES)
    assert result["train_examples"] == 24
    assert result["test_examples"] == 15
    assert result["steps"] == 12
    # Both epochs have the same accuracy, and the second the lower loss.
    assert result["best_step"] == 12
    assert (result["result_checkpoint"], result["result_step"]) == ("last", 12)
    # 216 + 1152 + 2304 in convolutions, 4 * 40 in BatchNorms, and the head.
    assert result["total_params"] == 3832 + 16 * 3 + 3
    # conv3, gamma and beta of bn3, and the head.
    assert result["trainable_params"] == 2304 + 2 * 16 + 16 * 3 + 3
    assert result["train_seconds"] > 0
    assert np.isfinite(result["test_loss"])
    assert np.trace(result["test_confusion"]) / 15 == pytest.approx(
        result["test_accuracy"]
    )
    audit = result["audit"]
    assert audit["frozen_unchanged"] is True
    assert audit["trainable_changed"] is True


def test_the_best_step_is_that_of_the_best_validation(finished):
    workdir, result = finished
    validated = {
        line["step"]: (line["accuracy"], -line["loss"])
        for line in lines(workdir, "metrics.jsonl")
        if (line["stage"], line["split"]) == ("finetune", "validation")
    }
    assert list(validated) == [9, 12]
    # Of equal ones the first with the lowest loss.
    assert result["best_step"] == max(validated, key=validated.__getitem__)


def test_each_metric_is_written_once_at_its_absolute_step(finished):
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


def test_a_workdir_holds_the_promised_files(finished):
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


def test_the_report_shows_the_run(finished):
    workdir, result = finished
    page = (workdir / "report.html").read_text()
    check_page(page, svgs=9)
    assert f"{result['test_accuracy']:.4f}" in page
    assert "finetune: 2,387 of 3,883 parameters" in page
    assert "--unfreeze=last:3: the head and 3 layers" in page
    assert "finetune begins" in page
    assert "--stage=finetune --dataset=" in page
    assert page.count("could not be") == 0
    config = json.loads((workdir / "config.json").read_text())
    record = config["runs"]["finetune"]
    assert record["data_fingerprint"] in page
    (complete,) = [
        json.loads(line)
        for line in (workdir / "events.jsonl").read_text().splitlines()
        if '"complete"' in line
    ]
    assert complete["times"]["peak_memory_mib"]["process"] > 50


def test_stage_report_writes_the_report_again(finished, capsys):
    workdir, _ = finished
    before = times_of_files(workdir)
    (workdir / "report.html").unlink()
    config = Config(stage="report", workdir=str(workdir))
    report(config, frozenset({"stage", "workdir"}))
    out = capsys.readouterr().out
    assert f"report: {workdir}/report.html\n" in out
    check_page((workdir / "report.html").read_text(), svgs=9)
    after = times_of_files(workdir)
    changed = {path.name for path in after if after[path] != before[path]}
    assert changed == {"report.html"}


def test_stage_report_needs_a_finished_run(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "copy")
    (tmp_path / "copy/result.json").unlink()
    config = Config(stage="report", workdir=str(tmp_path / "copy"))
    with pytest.raises(TrainerError, match="its run is not finished; finish"):
        report(config, frozenset({"stage", "workdir"}))


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


def test_frozen_variables_are_bit_identical_after_finetune(photos, finished):
    workdir, _ = finished
    setup = prepare(Config(**small(photos, workdir, **FINISHED)))
    start = new_classifier(setup, len(CLASSES), load=True).variables
    assert start.keys() >= STATISTICS | TRAINED
    assert len(start) == 3 * 5 + 2
    after = weights(workdir, "finetune")
    for key, variable in start.items():
        escaped = key.replace("/", ".S")
        value = after[f"model/{escaped}/.ATTRIBUTES/VARIABLE_VALUE"]
        if key in TRAINED:
            assert not np.array_equal(value, variable.numpy()), key
        else:
            np.testing.assert_array_equal(value, variable.numpy(), key)


def test_frozen_variables_own_no_optimizer_slots(finished):
    workdir, _ = finished
    slots = [k for k in weights(workdir, "feature_extract") if "slots/" in k]
    # Adam: the iteration, and momentum and velocity of kernel and bias.
    assert len(slots) == 5
    assert sum("head" in name for name in slots) == 4


def times_of_files(workdir: pathlib.Path) -> dict[pathlib.Path, int]:
    """Returns when each file was last changed."""
    found = [path for path in workdir.rglob("*") if path.is_file()]
    return {path: path.stat().st_mtime_ns for path in found}


def test_a_complete_run_started_again_changes_nothing(photos, finished, capsys):
    workdir, result = finished
    before = times_of_files(workdir)
    assert train(photos, workdir, **FINISHED) == result
    assert "this run is complete" in capsys.readouterr().out
    assert times_of_files(workdir) == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": 3}, "--seed was 0, is 3"),
        ({"batch_size": 4}, "--batch_size was 8, is 4"),
        ({"epochs": 1}, "--epochs was 2, is 1"),
        ({"unfreeze": "all"}, "--unfreeze was 'last:3', is 'all'"),
        (
            {"seed": 3, "augment": False},
            "--augment was 'tutorial', is 'off'; --seed was 0, is 3",
        ),
        ({"stage": "feature_extract"}, "holds a run of --stage=finetune"),
    ],
)
def test_another_configuration_is_refused(photos, finished, values, message):
    workdir, _ = finished
    with pytest.raises(TrainerError) as error:
        train(photos, workdir, **{**FINISHED, **values})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_other_photos_are_refused(finished, tmp_path):
    workdir, _ = finished
    other = make_photos(tmp_path / "photos", train=9)
    with pytest.raises(TrainerError) as error:
        train(other, workdir, **FINISHED)
    assert "data_fingerprint was" in str(error.value)
    assert "--dataset was" in str(error.value)


def test_the_same_photos_elsewhere_are_the_same_run(finished, tmp_path, capsys):
    workdir, _ = finished
    elsewhere = make_photos(tmp_path / "moved")
    train(elsewhere, workdir, **FINISHED)
    assert "this run is complete" in capsys.readouterr().out


def test_evaluate_gives_the_metrics_of_the_result(finished, capsys):
    workdir, result = finished
    written = (workdir / "predictions.csv").read_bytes()
    (workdir / "predictions.csv").write_text("damaged")
    config = Config(stage="evaluate", workdir=str(workdir), batch_size=4)
    evaluate(config, frozenset({"stage", "workdir", "batch_size"}))
    metrics = json.loads((workdir / "evaluation.json").read_text())
    assert metrics["step"] == 12
    assert metrics["test_accuracy"] == result["test_accuracy"]
    assert metrics["test_confusion"] == result["test_confusion"]
    assert metrics["test_loss"] == pytest.approx(result["test_loss"], rel=1e-5)
    assert "finetune at step 12 (last), test split" in capsys.readouterr().out
    # Written again, as the samples are the run's own.
    assert (workdir / "predictions.csv").read_bytes() == written


def test_evaluate_without_a_checkpoint_is_an_error(tmp_path):
    config = Config(stage="evaluate", workdir=str(tmp_path))
    with pytest.raises(TrainerError, match="holds no checkpoint") as error:
        evaluate(config, frozenset({"stage", "workdir"}))
    assert error.value.exit_status == 1
