"""Tests that 1, 2 and 4 replicas and two processes compute the same steps."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.jobs import Job
from tests.support.topologies import CLIP, EPOCH_ROWS, ROWS, WAYS, measure

pytestmark = pytest.mark.slow

TOPOLOGIES = ("1x2", "1x4", "2x1")
# All combinations except the reference: one replica, one part.
OTHERS = (
    ("1x1", CLIP, 2),
    *((topology, *way) for topology in TOPOLOGIES for way in WAYS),
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The results of each topology, by PROCESSESxREPLICAS."""
    folder = tmp_path_factory.mktemp("measured")
    # A process cannot change its number of devices, so the jobs measure others.
    jobs = [
        Job(count, folder / f"{count}", measure, folder, (replicas,))
        for count, replicas in ((1, 4), (2, 1))
    ]
    measure(folder, (1, 2))
    for job in jobs:
        left = job.wait()
        assert not any(p.status for p in left), left
    return {p.stem: dict(np.load(p)) for p in folder.glob("*.npz")}


def of(values: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    found = {k: v for k, v in values.items() if k.startswith(f"{name} ")}
    assert len(found) == 9
    # By the variable's key alone.
    return {k.rpartition(" ")[2]: v for k, v in found.items()}


def norm(arrays) -> float:
    squares = (np.sum(np.square(a, dtype=np.float64)) for a in arrays)
    return float(np.sqrt(sum(squares)))


def apart(one: dict, other: dict) -> float:
    """Returns the norm of the difference, relative to the norm of `one`."""
    assert one.keys() == other.keys()
    return norm(one[k] - other[k] for k in one) / norm(one.values())


def test_each_topology_has_its_replicas(measured):
    found = {name: int(v["replicas"]) for name, v in measured.items()}
    assert found == {"1x1": 1, "1x2": 2, "1x4": 4, "2x1": 2}


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(("topology", "clip", "parts"), OTHERS)
def test_gradients_equal_those_of_one_replica(
    measured, topology, clip, parts, rows
):
    one = of(measured["1x1"], f"gradient {clip} 1 {rows}")
    other = of(measured[topology], f"gradient {clip} {parts} {rows}")
    assert apart(one, other) <= 1e-5
    if clip:
        # The norm of the whole batch is clipped, not that of each part.
        assert norm(other.values()) == pytest.approx(clip, rel=1e-5)
    else:
        assert norm(other.values()) > 1.5 * CLIP


@pytest.mark.parametrize(("topology", "clip", "parts"), OTHERS)
def test_twenty_adam_steps_equal_those_of_one_replica(
    measured, topology, clip, parts
):
    one = of(measured["1x1"], f"adam {clip} 1")
    other = of(measured[topology], f"adam {clip} {parts}")
    assert apart(one, other) <= 1e-3
    # Every variable has changed; Adam moves an entry by about 1e-3 per step.
    assert all(np.abs(v).max() > 2e-3 for v in one.values())


@pytest.mark.parametrize(("topology", "clip", "parts"), OTHERS)
def test_training_counts_equal_those_of_one_replica(
    measured, topology, clip, parts
):
    sums = {
        name: [
            measured["1x1"][f"sums {clip} 1 {name}"],
            measured[topology][f"sums {clip} {parts} {name}"],
        ]
        for name in ("count", "correct", "loss", "gradient_norm")
    }
    rows = [EPOCH_ROWS[step % 3] for step in range(20)]
    np.testing.assert_array_equal(sums["count"], [rows, rows])
    np.testing.assert_array_equal(*sums["correct"])
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose(*sums[name], rtol=1e-4)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_evaluation_counts_equal_those_of_one_replica(measured, topology):
    one, other = measured["1x1"], measured[topology]
    for name in ("confusion", "count", "top5"):
        key = f"evaluation {name}"
        np.testing.assert_array_equal(one[key], other[key])
    assert one["evaluation count"] == sum(ROWS)
    key = "evaluation loss"
    np.testing.assert_allclose(one[key], other[key], rtol=1e-5)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_logits_are_in_the_order_of_the_batch(measured, topology):
    """Their rows differ from each other more than the topologies do."""
    key = "evaluation logits"
    one, other = measured["1x1"][key], measured[topology][key]
    assert one.shape == (3 * 8, 3)
    assert one.dtype == np.float32
    bound = 1e-3 * np.ptp(one)
    np.testing.assert_allclose(one, other, rtol=0, atol=bound)
    real = np.arange(8)[None] < np.array(ROWS)[:, None]
    rows = one[real.ravel()]
    apart_by = np.abs(rows[:, None] - rows[None]).max(axis=2)
    assert apart_by[~np.eye(len(rows), dtype=bool)].min() > bound
