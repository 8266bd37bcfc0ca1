"""The audit of a stage: unchanged, moved, stuck and silent variables."""

import keras
import numpy as np
import pytest

from trainer.learning.audit import audit, digests
from trainer.learning.steps import UNCONNECTED
from trainer.model.freeze import FreezePlan

PLAN = FreezePlan(
    unfreeze="last:1",
    unfrozen_layers=("conv",),
    trainable=("conv/kernel", "conv/bias", "head/kernel"),
    frozen=("stem/kernel", "bn/moving_mean"),
    rows=(),
)
KEYS = PLAN.trainable + PLAN.frozen
SEEN = dict.fromkeys(PLAN.trainable, 0.5)


def adam_move(key, largest):
    """Adam at rate 1e-3 with epsilon 1e-7."""
    del key
    return 1e-3 * largest / (largest + 1e-7)


@pytest.mark.parametrize("key", PLAN.frozen)
def test_every_frozen_variable_that_moves_is_named(key):
    variables = {
        name: keras.Variable(np.ones(3), dtype="float32") for name in KEYS
    }
    before = digests(variables)
    for moved in (*PLAN.trainable, key):
        variables[moved].assign([1, 1, 2])
    found = audit(PLAN, before, variables, SEEN, move=adam_move)
    assert not found.frozen_unchanged
    assert found.problems == (f"{key}: frozen, but has changed",)


@pytest.mark.parametrize(
    ("moved", "gradients", "frozen_ok", "trained_ok", "problems", "warnings"),
    [
        pytest.param(
            PLAN.trainable, SEEN, True, True, (), (), id="as it should be"
        ),
        pytest.param(
            (*PLAN.trainable, "bn/moving_mean"),
            SEEN,
            False,
            True,
            ("bn/moving_mean: frozen, but has changed",),
            (),
            id="statistics updated",
        ),
        pytest.param(
            ("conv/kernel", "head/kernel"),
            SEEN,
            True,
            False,
            ("conv/bias: had a gradient, but has not changed",),
            (),
            id="optimizer missed a variable",
        ),
        pytest.param(
            ("conv/kernel", "head/kernel"),
            SEEN | {"conv/bias": 0.0},
            True,
            True,
            (),
            ("conv/bias: its gradient was 0 in every step",),
            id="one variable without gradient",
        ),
        pytest.param(
            ("head/kernel",),
            SEEN | {"conv/bias": 0.0, "conv/kernel": 0.0},
            True,
            True,
            (),
            (
                "conv/kernel: its gradient was 0 in every step",
                "conv/bias: its gradient was 0 in every step",
            ),
            id="a whole layer behind a dead ReLU",
        ),
        pytest.param(
            ("conv/kernel", "head/kernel"),
            SEEN | {"conv/bias": UNCONNECTED},
            True,
            True,
            (),
            ("conv/bias: never had a gradient",),
            id="one variable apart",
        ),
        pytest.param(
            ("head/kernel",),
            SEEN | {"conv/bias": UNCONNECTED, "conv/kernel": UNCONNECTED},
            True,
            False,
            ("conv: trainable, but the loss does not depend on it",),
            (),
            id="a whole layer apart",
        ),
        pytest.param(
            (),
            dict.fromkeys(SEEN, 0.0),
            True,
            False,
            ("every gradient was 0, so nothing was trained",),
            tuple(f"{k}: its gradient was 0 in every step" for k in SEEN),
            id="no gradient at all",
        ),
        # The values are 1, whose float32 spacing is 1.2e-7. Adam moves by
        # about 1e-3 * g / (g + 1e-7): 1e-10 makes that 1e-6, 1e-11 1e-7.
        pytest.param(
            ("conv/kernel", "head/kernel"),
            SEEN | {"conv/bias": 1e-10},
            True,
            False,
            ("conv/bias: had a gradient, but has not changed",),
            (),
            id="a small gradient that moves",
        ),
        pytest.param(
            ("conv/kernel", "head/kernel"),
            SEEN | {"conv/bias": 1e-11},
            True,
            True,
            (),
            (
                "conv/bias: has not changed, because its gradients (at most"
                " 1e-11) are too small",
            ),
            id="a gradient lost in rounding",
        ),
    ],
)
def test_audit_names_problems_and_warnings(
    moved, gradients, frozen_ok, trained_ok, problems, warnings
):
    variables = {
        key: keras.Variable(np.ones(3), dtype="float32") for key in KEYS
    }
    before = digests(variables)
    for key in moved:
        variables[key].assign([1, 1, 2])
    found = audit(PLAN, before, variables, gradients, move=adam_move)
    assert found.frozen_unchanged is frozen_ok
    assert found.trainable_changed is trained_ok
    assert found.problems == problems
    assert found.warnings == warnings
