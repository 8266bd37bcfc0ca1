"""The optimizers, against Keras's own and against values by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from trainer.learning.optimizers import (
    OptimizerSettings,
    make_optimizer,
    scale_rate,
)
from trainer.learning.schedules import Schedule

CONSTANT = Schedule(kind="constant", peak=0.1, steps=4)
LINEAR = Schedule(kind="linear", peak=0.1, steps=4)


def made(settings, schedule=CONSTANT, scales=()):
    """Returns a kernel, a bias and an optimizer of both."""
    rng = np.random.default_rng(0)
    variables = [
        keras.Variable(rng.normal(size=shape).astype("float32"), name=name)
        for shape, name in (((3, 2), "kernel"), ((2,), "bias"))
    ]
    return variables, make_optimizer(
        OptimizerSettings(**settings), schedule, variables, scales=scales
    )


def run(optimizer, variables, steps=4):
    """Applies some gradients; returns the values after each step."""
    rng = np.random.default_rng(1)
    seen = []
    for _ in range(steps):
        gradients = [
            keras.ops.convert_to_tensor(
                rng.normal(size=variable.shape).astype("float32")
            )
            for variable in variables
        ]
        optimizer.apply(gradients, variables)
        seen.append([variable.numpy() for variable in variables])
    return seen


def keras_cosine():
    return keras.optimizers.schedules.CosineDecay(0.1, 4)


@pytest.mark.parametrize(
    ("settings", "schedule", "reference"),
    [
        ({}, CONSTANT, lambda: keras.optimizers.Adam(0.1)),
        (
            {"name": "adamw", "weight_decay": 0.5},
            CONSTANT,
            lambda: keras.optimizers.AdamW(0.1, weight_decay=0.5),
        ),
        (
            {"name": "sgd", "momentum": 0.9},
            CONSTANT,
            lambda: keras.optimizers.SGD(0.1, momentum=0.9),
        ),
        (
            {"name": "lamb", "weight_decay": 0.5},
            CONSTANT,
            lambda: keras.optimizers.Lamb(0.1, weight_decay=0.5),
        ),
        (
            {"name": "sgd"},
            Schedule(kind="cosine", peak=0.1, steps=4),
            lambda: keras.optimizers.SGD(keras_cosine()),
        ),
    ],
    ids=["adam", "adamw", "sgd-momentum", "lamb-decay", "sgd-cosine"],
)
def test_updates_are_those_of_keras(settings, schedule, reference):
    variables, optimizer = made(settings, schedule)
    found = run(optimizer, variables)
    others, _ = made({})
    expected_optimizer = reference()
    expected_optimizer.exclude_from_weight_decay(var_names=["bias"])
    expected_optimizer.build(others)
    for ours, theirs in zip(
        found, run(expected_optimizer, others), strict=True
    ):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_decay_leaves_one_dimension_alone():
    variables, optimizer = made({"name": "adamw", "weight_decay": 0.5})
    before = [variable.numpy() for variable in variables]
    optimizer.apply([v * 0 for v in variables], variables)
    # 0.1 * 0.5 of each weight is subtracted.
    np.testing.assert_allclose(
        variables[0].numpy(), 0.95 * before[0], rtol=1e-6
    )
    np.testing.assert_array_equal(variables[1].numpy(), before[1])


def test_a_scale_multiplies_rate_and_decay():
    settings = {"name": "sgd", "weight_decay": 0.5}
    variables, optimizer = made(settings, scales=(0.25, 2.0))
    kernel, bias = (variable.numpy() for variable in variables)
    ones = [keras.ops.ones_like(variable) for variable in variables]
    optimizer.apply(ones, variables)
    np.testing.assert_allclose(
        variables[0].numpy(), kernel * (1 - 0.025 * 0.5) - 0.025, rtol=1e-6
    )
    np.testing.assert_allclose(variables[1].numpy(), bias - 0.2, rtol=1e-6)


@pytest.mark.parametrize("schedule", [CONSTANT, LINEAR], ids=lambda s: s.kind)
def test_a_rollback_factor_scales_the_schedule(schedule):
    variables, optimizer = made({"name": "sgd"}, schedule)
    before = variables[1].numpy()
    scale_rate(optimizer, schedule.peak, 0.5)
    ones = [keras.ops.ones_like(variable) for variable in variables]
    optimizer.apply(ones, variables)
    optimizer.apply(ones, variables)
    moved = 0.5 * (schedule.rate(0) + schedule.rate(1))
    np.testing.assert_allclose(variables[1].numpy(), before - moved, rtol=1e-5)
