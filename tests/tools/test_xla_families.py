"""The whole step compiled by XLA on the CPU against the plain step."""

from __future__ import annotations

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.tiny import use_tiny_backbone
from tools import xla_families
from tools.xla_families import FAMILIES, GRADIENT_BOUND, LOSS_BOUND
from tools.xla_step import (
    apart,
    compare,
    evaluation_step,
    gradients,
    live_classifier,
    loss,
    training_step,
)
from trainer.data.augment import warp
from trainer.learning import steps
from trainer.model import lite
from trainer.model.backbones import backbone_names
from trainer.model.freeze import freeze_plan


def module_of(name: str) -> str:
    if name in lite.SCALES:
        return lite.__name__
    return sys.modules[getattr(keras.applications, name).__module__].__name__


def test_each_family_is_listed_once():
    families = [module_of(name) for name in FAMILIES]
    assert len(set(families)) == len(families)
    assert set(families) == {module_of(name) for name in backbone_names()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "unfreeze"),
    [
        ("EfficientNetLite0", "last:10"),
        ("MobileNetV2", "all"),
    ],
)
def test_a_family_trains_the_same_compiled(name, unfreeze):
    classifier = live_classifier(name, 32)
    plan = freeze_plan(classifier, unfreeze)
    step, arguments = training_step(classifier, plan)

    def all_parts(output):
        assert len(gradients(output)) == len(plan.trainable)
        return gradients(output)

    trained = compare(step, arguments, part=all_parts)
    assert 0 < trained.difference <= GRADIENT_BOUND
    if unfreeze == "last:10":
        judge, judged = evaluation_step(classifier, plan)
        evaluated = compare(judge, judged, part=loss)
        assert evaluated.difference <= LOSS_BOUND


@pytest.mark.slow
def test_the_command_prints_a_line_per_family(monkeypatch, capsys):
    use_tiny_backbone(monkeypatch)
    assert xla_families.main(["--only=MobileNetV2"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert "--unfreeze=all" in head
    assert line.startswith("MobileNetV2 ")
    assert "  ok  gradient " in line


@pytest.mark.slow
def test_compile_only_runs_nothing(monkeypatch, capsys):
    use_tiny_backbone(monkeypatch)
    assert xla_families.main(["--only=MobileNetV2", "--compile_only"]) == 0
    assert "ok, not run" in capsys.readouterr().out


@pytest.mark.slow
def test_an_unsupported_operation_is_named(monkeypatch, capsys):
    use_tiny_backbone(monkeypatch)

    def projective(images, matrices, *, kernel):
        return warp(images, matrices, kernel="projective")

    monkeypatch.setattr(steps, "warp", projective)
    assert xla_families.main(["--only=MobileNetV2", "--compile_only"]) == 1
    said = capsys.readouterr().out
    assert "refused: ImageProjectiveTransformV3 " in said


@pytest.mark.slow
def test_a_different_step_is_detected(monkeypatch, capsys):
    use_tiny_backbone(monkeypatch)

    def off(images, matrices, *, kernel):
        # The second trace, which is the plain one, differs.
        scale = 1.05 if calls else 1.0
        calls.append(kernel)
        return warp(images, matrices, kernel=kernel) * scale

    calls: list[str] = []
    monkeypatch.setattr(steps, "warp", off)
    assert xla_families.main(["--only=MobileNetV2"]) == 1
    assert "  APART  gradient " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("function", "low", "high"),
    [
        # Half of the pixels, give or take what is chance, come out above 1.
        (lambda images: tf.cast(images > 1, tf.float32) + 1, 0.3, 1),
        (lambda images: 2 * images, 1e-9, 1e-6),
    ],
    ids=["leaps", "smooth"],
)
def test_rounding_of_pixels_is_measured(function, low, high):
    batch = {"images": tf.ones((10, 10))}
    found = compare(
        lambda given: [function(given["images"])],
        [[batch]],
        part=lambda output: output,
        rounds=True,
    )
    assert found.difference == 0
    assert low < found.rounding < high


def test_relative_differences():
    ones = [np.ones(3), np.ones(1)]
    assert apart(ones, ones) == 0
    # (0.1, 0, 0), (0): 0.1 of a norm of 2.
    near = [np.array([1.1, 1, 1]), np.ones(1)]
    assert apart(near, ones) == pytest.approx(0.05)
    assert apart([np.full(3, np.nan), np.ones(1)], ones) == np.inf


def test_an_unknown_name_is_a_usage_error(capsys):
    assert xla_families.main(["--only=ResNet51"]) == 2
    assert "error: --backbone='ResNet51'" in capsys.readouterr().err
    assert tf.executing_eagerly()
