"""Tests that the audit detects sabotaged runs."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.photos import make_photos
from tests.support.runs import assert_same_arrays, lines, train, weights
from tests.support.tiny import use_tiny_backbone
from trainer.errors import TrainerError
from trainer.learning import optimizers, updates
from trainer.learning.graph_loops import make_train_function
from trainer.learning.optimizers import SummedAdam
from trainer.model.freeze import FreezePlan

Patch = Callable[[pytest.MonkeyPatch], None]
# The last ten layers are all of the tiny backbone; these are conv3, bn3 and
# relu3.
LAST = "last:3"


@pytest.fixture
def photos(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    use_tiny_backbone(monkeypatch)
    return make_photos(tmp_path / "photos", train=4, test=3)


def _train(photos: str, workdir: pathlib.Path, **values: Any) -> dict[str, Any]:
    options = {
        "stage": "finetune",
        "unfreeze": LAST,
        "head_epochs": 0,
        "epochs": 1,
        "batch_size": 4,
        "backbone_args": "",
        "weights": "none",
        "augment": False,
        # All of the classifier inside the step, as sabotage needs it.
        "trunk_engine": "step",
        "fold_batch_norm": False,
        **values,
    }
    return train(photos, workdir, **options)


def _training_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """BatchNorm's moving statistics change, as they do in training mode."""

    def make(
        strategy: tf.distribute.Strategy,
        classifier: Any,
        *arguments: Any,
        **options: Any,
    ) -> Callable[..., Any]:
        step = make_train_function(strategy, classifier, *arguments, **options)

        def call(*arguments: Any) -> Any:
            done = step(*arguments)
            for name in ("moving_mean", "moving_variance"):
                variable = classifier.variables[f"bn3/{name}"]
                variable.assign(variable * 0.9 + 0.2)
            return done

        return call

    monkeypatch.setattr(updates, "make_train_function", make)


def _with_plan(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[FreezePlan], FreezePlan]
) -> None:
    """Trains by another plan than the one that is audited."""

    def make(
        strategy: tf.distribute.Strategy,
        classifier: Any,
        plan: FreezePlan,
        optimizer: keras.Optimizer,
        **options: Any,
    ) -> Callable[..., Any]:
        other = change(plan)
        optimizer = keras.optimizers.Adam(1e-3)
        optimizer.build([classifier.variables[k] for k in other.trainable])
        step = make_train_function(
            strategy, classifier, other, optimizer, **options
        )

        def call(*arguments: Any) -> Any:
            done = step(*arguments)
            # As many as the loop expects, in its order.
            largest = dict(zip(other.trainable, done.gradient_max, strict=True))
            return done._replace(
                gradient_max=np.array([largest[k] for k in plan.trainable])
            )

        return call

    monkeypatch.setattr(updates, "make_train_function", make)


def _thawed_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """conv1, which is to be frozen, is trained."""

    def thaw(plan: FreezePlan) -> FreezePlan:
        assert "conv1/kernel" in plan.frozen
        return dataclasses.replace(
            plan,
            trainable=("conv1/kernel", *plan.trainable),
            frozen=tuple(k for k in plan.frozen if k != "conv1/kernel"),
        )

    _with_plan(monkeypatch, thaw)


class _Forgetful(SummedAdam):
    """Leaves conv3/kernel out."""

    def apply(
        self,
        grads: Sequence[tf.Tensor],
        trainable_variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        assert trainable_variables is not None
        pairs = [
            (gradient, variable)
            for gradient, variable in zip(
                grads, trainable_variables, strict=True
            )
            if variable.path != "conv3/kernel"
        ]
        assert len(pairs) == len(grads) - 1
        super().apply(*map(list, zip(*pairs, strict=True)))


def _forgetful_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizers, "SummedAdam", _Forgetful)


def _cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """No gradient comes past relu3."""
    call = keras.layers.ReLU.call

    def stop(layer: keras.layers.ReLU, inputs: tf.Tensor) -> tf.Tensor:
        outputs = call(layer, inputs)
        return tf.stop_gradient(outputs) if layer.name == "relu3" else outputs

    monkeypatch.setattr(keras.layers.ReLU, "call", stop)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sabotage", "problem"),
    [
        (
            _training_mode,
            "bn3/moving_mean: frozen, but has changed; bn3/moving_variance:"
            " frozen, but has changed",
        ),
        (_thawed_layer, "conv1/kernel: frozen, but has changed"),
        (
            _forgetful_optimizer,
            "conv3/kernel: had a gradient, but has not changed",
        ),
        (
            _cut_off,
            "conv3: trainable, but the loss does not depend on it; bn3:"
            " trainable, but the loss does not depend on it",
        ),
    ],
)
def test_a_failed_audit_names_variables_and_saves_weights(
    photos: str,
    tmp_path: pathlib.Path,
    sabotage: Patch,
    problem: str,
) -> None:
    workdir = tmp_path / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        sabotage(monkeypatch)
        with pytest.raises(TrainerError) as error:
            _train(photos, workdir)
    expected = (
        f"{workdir}: the audit of finetune failed: {problem}; the weights are"
        " saved, but do not trust them"
    )
    assert str(error.value) == expected
    assert error.value.exit_status == 1
    assert not (workdir / "result.json").exists()
    saved = weights(workdir, "finetune")
    assert {k for k in saved if k.startswith("model/head.Skernel/")}
    validated = [
        line["step"]
        for line in lines(workdir, "metrics.jsonl")
        if line["split"] == "validation"
    ]
    assert validated == [3]
    # Without the sabotage the last checkpoint is restored, whole; what went
    # wrong is not forgotten.
    with pytest.raises(TrainerError) as error:
        _train(photos, workdir)
    assert str(error.value) == expected
    assert lines(workdir, "events.jsonl")[-2]["event"] == "resume"
    assert_same_arrays(weights(workdir, "finetune"), saved)


@pytest.mark.slow
def test_a_layer_updated_in_inference_ends_the_run(
    photos: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its new statistics are dropped, so that the variables do not tell."""
    norm = keras.layers.BatchNormalization
    call = norm.call

    def training(
        layer: norm, inputs: tf.Tensor, training: Any = None, mask: Any = None
    ) -> tf.Tensor:
        return call(layer, inputs, training=layer.name == "bn3", mask=mask)

    monkeypatch.setattr(norm, "call", training)
    with pytest.raises(
        TrainerError, match=r"^bn3/moving_mean: changed by a forward pass"
    ):
        _train(photos, tmp_path / "run")
    assert not (tmp_path / "run/result.json").exists()


@pytest.mark.slow
def test_a_dead_relu_is_a_warning(
    photos: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The gradients of conv3 and bn3 are rightly 0: nothing passes relu3."""
    call = keras.layers.ReLU.call

    def dead(layer: keras.layers.ReLU, inputs: tf.Tensor) -> tf.Tensor:
        return call(layer, inputs - 1e9 if layer.name == "relu3" else inputs)

    monkeypatch.setattr(keras.layers.ReLU, "call", dead)
    result = _train(photos, tmp_path / "run")
    silent = (
        "conv3/kernel",
        "bn3/gamma",
        "bn3/beta",
        # The features are 0, and so is what the head's kernel gets.
        "head/kernel",
    )
    warnings = [f"{key}: its gradient was 0 in every step" for key in silent]
    assert result["audit"] == {
        "frozen_unchanged": True,
        "trainable_changed": True,
        "problems": [],
        "warnings": warnings,
    }
    out = capsys.readouterr().out
    said = [
        line["text"]
        for line in lines(tmp_path / "run", "events.jsonl")
        if line["event"] == "warning"
    ]
    assert said == [f"finetune: {text}" for text in warnings]
    for text in said:
        assert f"warning: {text}\n" in out
