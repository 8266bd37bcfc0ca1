"""What the audit calls unchanged, moved, stuck and silent."""

import pytest

from trainer.model.freeze import FreezePlan
from trainer.train.audit import audit

PLAN = FreezePlan(
    unfreeze="last:1",
    unfrozen_layers=("conv",),
    trainable=("conv/kernel", "conv/bias", "head/kernel"),
    frozen=("stem/kernel", "bn/moving_mean"),
    rows=(),
)
BEFORE = dict.fromkeys(PLAN.trainable + PLAN.frozen, "old")
SEEN = dict.fromkeys(PLAN.trainable, True)
MOVED = BEFORE | dict.fromkeys(PLAN.trainable, "new")


@pytest.mark.parametrize(
    ("after", "seen", "frozen_ok", "trained_ok", "problems", "warnings"),
    [
        pytest.param(MOVED, SEEN, True, True, (), (), id="as it should be"),
        pytest.param(
            MOVED | {"bn/moving_mean": "new"},
            SEEN,
            False,
            True,
            ("bn/moving_mean: frozen, and has changed",),
            (),
            id="statistics updated",
        ),
        pytest.param(
            MOVED | {"conv/bias": "old"},
            SEEN,
            True,
            False,
            ("conv/bias: had a gradient, and has not moved",),
            (),
            id="optimizer missed a variable",
        ),
        pytest.param(
            MOVED | {"conv/bias": "old"},
            SEEN | {"conv/bias": False},
            True,
            True,
            (),
            ("conv/bias: never had a gradient",),
            id="one variable without gradient",
        ),
        pytest.param(
            MOVED | {"conv/bias": "old", "conv/kernel": "old"},
            SEEN | {"conv/bias": False, "conv/kernel": False},
            True,
            False,
            ("conv: trainable, and never had a gradient",),
            (),
            id="a whole layer without gradient",
        ),
    ],
)
def test_audit(after, seen, frozen_ok, trained_ok, problems, warnings):
    found = audit(PLAN, BEFORE, after, seen)
    assert found.frozen_unchanged is frozen_ok
    assert found.trainable_changed is trained_ok
    assert found.problems == problems
    assert found.warnings == warnings
