"""The study's table, from results made by hand."""

import pytest

from trainer.config import Config
from trainer.data.tfds_names import FOOD10_CLASSES
from trainer.run.resolve import resolve
from trainer.study.models import MODELS
from trainer.study.table import markdown, study_record


def _result(accuracy, classes=("a", "b"), seconds=2.0):
    return {
        "dataset": "photos",
        "classes": list(classes),
        "train_examples": 30,
        "epochs": 4,
        "test_examples": 1000,
        "test_accuracy": accuracy,
        "test_loss": 0.5,
        "trainable_params": 12_810,
        "total_params": 4_062_381,
        "train_seconds": seconds,
        "test_per_class_accuracy": dict.fromkeys(classes, accuracy),
        "test_confusion": [[1, 0], [0, 1]],
        "final_split": "test",
    }


def _record(seeds, results, **values):
    config = resolve(Config(stage="study", dataset="photos", **values), 224)
    models = [MODELS[number] for number in results]
    return study_record(config, models, seeds, results)


def test_one_seed():
    record = _record([0], {0: [_result(0.5)], 2: [_result(0.75)]})
    assert markdown(record).splitlines() == [
        "EfficientNetB0 on photos, 2 classes, 1,000 test examples; seed 0;"
        " models 3 and 4 start from model 2's last weights and unfreeze"
        " last:10",
        "",
        "| model | what | test accuracy | 95 % interval | training examples |"
        " trained parameters | seconds in steps | images/s |",
        "|---|---|---|---|---|---|---|---|",
        "| 0 | feature_extract, 10 % of the data, no augmentation | 50.0 % |"
        " 46.9 to 53.1 | 30 | 12,810 | 2 | 60 |",
        "| 2 | feature_extract, 10 % of the data | 75.0 % | 72.2 to 77.6 | 30 |"
        " 12,810 | 2 | 60 |",
    ]
    (interval,) = record["models"][0]["test_accuracy_interval"]
    assert interval == pytest.approx([0.469070, 0.530930], abs=1e-6)


def test_several_seeds_give_mean_and_standard_deviation():
    results = {2: [_result(0.7), _result(0.8), _result(0.9)]}
    record = _record([5, 6, 7], results)
    row = record["models"][0]
    assert row["test_accuracy_mean"] == pytest.approx(0.8)
    # Squares of -0.1, 0 and 0.1, divided by n - 1 = 2.
    assert row["test_accuracy_sd"] == pytest.approx(0.1)
    assert len(row["test_accuracy_interval"]) == 3
    text = markdown(record)
    # The interval of 800 of 1,000: seeds do not narrow it.
    assert "80.0 % ± 10.0 | 77.4 to 82.4 |" in text
    assert "mean and standard deviation over seeds 5 to 7" in text


@pytest.mark.parametrize(
    ("classes", "dataset", "shown"),
    [
        (FOOD10_CLASSES, "food10", True),
        (FOOD10_CLASSES, "demo", False),
        (("a", "b"), "food10", False),
    ],
)
def test_published_accuracies_are_shown_for_food101_only(
    classes, dataset, shown
):
    result = {**_result(0.5, classes), "dataset": dataset}
    record = _record([0], {0: [result]})
    assert ("| 85.7 % |" in markdown(record)) is shown
