"""The settings and initial weights of the five models."""

import pytest

from trainer.config import Config
from trainer.errors import UsageError
from trainer.study.models import MODELS, model_config, models_to_train


@pytest.mark.parametrize(
    ("asked", "trained"),
    [
        ("0,1,2,3,4", [0, 1, 2, 3, 4]),
        ("1,0", [0, 1]),
        ("3", [2, 3]),
        ("0, 4", [0, 2, 4]),
    ],
)
def test_base_models_are_trained_too(asked, trained):
    config = Config(stage="study", dataset="d", models=asked)
    found = models_to_train(config.model_numbers())
    assert [model.number for model in found] == trained


@pytest.mark.parametrize("asked", ["5", "a", "", "0,,1", "-1"])
def test_unknown_models_are_a_usage_error(asked):
    with pytest.raises(UsageError, match=r"--models=.*: must be numbers"):
        Config(stage="study", dataset="d", models=asked)


@pytest.mark.parametrize(
    ("number", "stage", "pct", "augment", "epochs", "rate", "init_from"),
    [
        (0, "feature_extract", 10.0, False, 4, 0.01, None),
        (1, "feature_extract", 1.0, True, 4, 0.01, None),
        (2, "feature_extract", 10.0, True, 4, 0.01, None),
        (3, "finetune", 10.0, True, 7, None, "w/seed3/model2"),
        (4, "finetune", 100.0, True, 7, None, "w/seed3/model2"),
    ],
)
def test_each_model_is_a_run_of_the_reference_experiment(
    number, stage, pct, augment, epochs, rate, init_from
):
    config = Config(
        stage="study",
        dataset="d",
        workdir="w",
        epochs=7,
        head_epochs=4,
        head_learning_rate=0.01,
        unfreeze="last:5",
    )
    run = model_config(config, MODELS[number], 3)
    assert run.stage == stage
    assert run.data_pct == pct
    assert run.augments is augment
    assert run.epochs == epochs
    assert run.learning_rate == rate
    assert run.init_from == init_from
    assert run.workdir == f"w/seed3/model{number}"
    assert run.seed == 3
    assert run.unfreeze == "last:5"
