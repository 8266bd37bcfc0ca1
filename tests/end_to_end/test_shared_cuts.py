"""Two stages that share features, and what a run traces."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.cached_runs import (
    STAGES,
    TINY,
    forget,
    tiny_runs_without_rows,
)
from tests.support.photos import make_photos
from tests.support.replicas import counted_calls
from tests.support.runs import (
    assert_same_runs,
    stopped_after,
    train,
    weights,
)
from trainer.learning.inputs import Inputs
from trainer.model.trunk.partition import Partition
from trainer.run.fast_paths import StageWork

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_photos(tmp_path_factory.mktemp("photos"), train=7, test=4)


@pytest.fixture(autouse=True)
def tiny_runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with tiny_runs_without_rows(monkeypatch):
        yield


@pytest.mark.parametrize(
    ("engine", "augment", "values"),
    [
        (
            "step",
            True,
            {"xla": "on", "accumulate_steps": 2, "steps_per_loop": 2},
        ),
        ("graph", False, {"accumulate_steps": 2}),
    ],
)
def test_later_epochs_trace_nothing(
    photos: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    augment: bool,
    values: dict[str, Any],
) -> None:
    """Padded last batches, saves during an epoch and validations or not."""
    one = tf.distribute.OneDeviceStrategy
    with (
        counted_calls(monkeypatch, Partition, "logits_and_updates") as calls,
        counted_calls(monkeypatch, one, "run") as loops,
    ):
        train(
            photos,
            tmp_path / "run",
            **{
                **TINY,
                "stage": "feature_extract",
                "trunk_engine": engine,
                "augment": augment,
                "epochs": 4,
                "checkpoint_every_steps": 2,
                **values,
            },
        )
    # Each is traced in the first epoch only: the step of training, and that of
    # validation and test; and the loop around each, with another one for the
    # final evaluation, which keeps the logits.
    assert (calls[0], loops[0]) == (2, 3)


def test_stages_that_share_a_cut_compute_features_once(
    photos: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The features are computed once, and the results differ by rounding."""
    fields = {**TINY, "trunk_engine": "graph", "cache": "ram", "augment": False}
    computed: list[tuple[str, int]] = []
    real = Inputs._blocks

    def computing(self: Inputs, samples: Any, rows: Any, *args: Any) -> Any:
        computed.append((args[0], len(rows)))
        return real(self, samples, rows, *args)

    monkeypatch.setattr(Inputs, "_blocks", computing)
    found = {}
    for shares in (False, True):
        forget()
        computed.clear()
        monkeypatch.setattr(StageWork, "shares", lambda *args, s=shares: s)
        workdir = tmp_path / str(shares)
        result = train(photos, workdir, **fields)
        trunks = json.loads((workdir / "config.json").read_text())["trunks"]
        features = [row for row in computed if row[0].startswith("features")]
        found[shares] = workdir, result, trunks, features
    apart, shared = found[False], found[True]
    assert [apart[2][stage]["cut"] for stage in STAGES] == [["pool"], ["relu2"]]
    assert [shared[2][stage]["cut"] for stage in STAGES] == [["relu2"]] * 2
    assert {stage["engine"] for stage in shared[2].values()} == {"graph"}
    assert {stage["block"] for stage in shared[2].values()} == {32}
    # 21 to train on; 8 of 12 to validate on, which are to test on, too.
    once = [
        ("features of train", 21),
        ("features of evaluation", 8),
        ("features of evaluation", 4),
    ]
    assert shared[3] == once
    assert apart[3] == once * 2
    for stage in STAGES:
        one, two = (weights(f[0], stage) for f in (apart, shared))
        for name, value in one.items():
            np.testing.assert_allclose(value, two[name], atol=2e-4)
    assert shared[1]["test_loss"] == pytest.approx(apart[1]["test_loss"], 1e-3)
    # Stopped after the first stage, when one stage is left: the same bits.
    forget()
    again = tmp_path / "again"
    with stopped_after(2):
        train(photos, again, **fields)
    forget()
    assert_same_runs((again, train(photos, again, **fields)), shared[:2])
