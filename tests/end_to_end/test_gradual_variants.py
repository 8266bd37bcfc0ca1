"""Runs in parts with replicas, folds, features, limits and signals."""

from __future__ import annotations

import json
import pathlib
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.end_to_end.test_resume import wait_for_saves
from tests.support.cached_runs import forget
from tests.support.command import arguments, command
from tests.support.jobs import Job, run_command
from tests.support.photos import make_photos
from tests.support.runs import (
    TINY,
    assert_same_runs,
    copied_after,
    lines,
    small,
    train,
    weights,
)
from trainer.config import Config
from trainer.config.recipes import BEFORE_RENDERING
from trainer.learning.inputs import Inputs
from trainer.run import folds

pytestmark = [pytest.mark.usefixtures("tiny"), pytest.mark.slow]

NAMES = ("finetune-1", "finetune-2")
TWO_PARTS = {**TINY, "unfreeze": "none@2,last:3@2"}
NO_HEAD = {"head_epochs": 0}
SAVING = {
    **TWO_PARTS,
    **NO_HEAD,
    "checkpoint_every_steps": 1,
    "steps_per_loop": 1,
}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of 24 images to train on and 12 to test on."""
    return make_photos(tmp_path_factory.mktemp("few"), train=8, test=4)


@pytest.fixture(autouse=True)
def without_rows() -> Iterator[None]:
    forget()
    yield
    forget()


def test_a_part_starts_from_the_best_of_the_part_before(few, tmp_path):
    """The second part does not train conv3, so it shows where it started."""
    values = {
        **TINY,
        "unfreeze": "last:3@4,none@1",
        "validation": "train:0.5",
        "monitor": "loss",
        # So high that a later epoch is worse.
        "learning_rate": 1.0,
    }
    whole, again = tmp_path / "whole", tmp_path / "again"
    # As of a kill after the last save of the first part.
    with copied_after(5, again):
        result = train(few, whole, **values)
    first = result["earlier_stages"][1]
    assert first["result_checkpoint"] == "best"
    assert first["result_step"] < first["steps"]
    # Steps are counted from the last epoch, also with the best weights: two in
    # each of the six epochs.
    assert (first["steps"], result["steps"]) == (10, 12)
    assert np.array_equal(
        conv3(whole, NAMES[1]), conv3(whole, NAMES[0], "best")
    )
    assert not np.array_equal(conv3(whole, NAMES[1]), conv3(whole, NAMES[0]))
    assert_same_runs((again, train(few, again, **values)), (whole, result))
    other = tmp_path / "other"
    train(few, other, **values, init_from_checkpoint="last")
    assert np.array_equal(conv3(other, NAMES[1]), conv3(whole, NAMES[0]))


def conv3(workdir: pathlib.Path, stage: str, which: str = "last") -> np.ndarray:
    """Returns the kernel of the tiny backbone's last convolution."""
    found = weights(workdir, stage, which)
    (key,) = (k for k in found if k.startswith("model/") and "conv3" in k)
    return found[key]


def test_each_part_has_its_own_cut_and_features(few, tmp_path, monkeypatch):
    """The first part reads cached features of the whole backbone."""
    computed: list[tuple[str, int]] = []
    real = Inputs._blocks

    def computing(self: Inputs, samples: Any, rows: Any, *args: Any) -> Any:
        computed.append((args[0], len(rows)))
        return real(self, samples, rows, *args)

    monkeypatch.setattr(Inputs, "_blocks", computing)
    values = {
        **TINY,
        "unfreeze": "none@2,last:3@1,all@1",
        "head_epochs": 0,
        "augment": False,
        "trunk_engine": "graph",
        "cache": "ram",
    }
    workdir, again = tmp_path / "run", tmp_path / "again"
    with copied_after(3, again):
        train(few, workdir, **values)
    trunks = json.loads((workdir / "config.json").read_text())["trunks"]
    cuts = {name: facts.get("cut") for name, facts in trunks.items()}
    assert cuts["finetune-1"] == ["pool"]
    assert cuts["finetune-2"] == ["relu2"]
    assert not cuts.get("finetune-3")
    features = [row for row in computed if row[0].startswith("features")]
    # Once for each cut, whatever the epochs: 24 to train on; of the 12 test
    # images some are validated on, and the rest is tested on.
    assert features.count(("features of train", 24)) == 2
    # The same run killed in the second part ends with the same bits.
    result = json.loads((workdir / "result.json").read_text())
    forget()
    assert_same_runs((again, train(few, again, **values)), (workdir, result))


def test_folds_train_in_parts(few, tmp_path):
    workdir = tmp_path / "folds"
    values = {**TWO_PARTS, **NO_HEAD, "validation": "kfold:2"}
    for _ in range(2):
        folds.train(Config(**small(few, workdir, **values)))
        record = json.loads((workdir / "folds.json").read_text())
        assert record["stage"] == "finetune"
        assert len(record["runs"]) == 2
        rows = (workdir / "out_of_fold.csv").read_text().splitlines()
        assert len(rows) == 1 + 24
    for fold in (1, 2):
        own = workdir / f"fold-{fold}"
        result = json.loads((own / "result.json").read_text())
        assert result["stage"] == NAMES[-1]
        assert (own / "checkpoints" / NAMES[0] / "result.json").exists()


def test_patience_counts_in_each_part(few, tmp_path):
    values = {
        **TINY,
        **NO_HEAD,
        "unfreeze": "last:3@9,none@9",
        "monitor": "loss",
        "patience": 1,
        # So high that the loss rises in each part.
        "learning_rate": 1.0,
    }
    result = train(few, tmp_path / "run", **values)
    stops = [
        row["stopped_early"] for row in (*result["earlier_stages"], result)
    ]
    assert [stop["reason"] for stop in stops] == ["patience"] * 2
    assert all(1 < stop["epoch"] < 9 for stop in stops)
    # More epochs of the last part do not continue it.
    longer = {**values, "unfreeze": "last:3@9,none@12"}
    assert train(few, tmp_path / "run", **longer) == result


def test_a_time_limit_covers_all_parts(few, tmp_path):
    """Each stage trains one call of one step, as after a head today."""
    values = {**TWO_PARTS, "time_limit": 1e-6, "steps_per_loop": 1}
    result = train(few, tmp_path / "run", **values)
    rows = (*result["earlier_stages"], result)
    assert [row["steps"] for row in rows] == [1, 2, 3]
    assert {row["stopped_early"]["reason"] for row in rows} == {"time_limit"}


def test_the_best_recipe_warms_up_in_each_part(few, tmp_path):
    workdir = tmp_path / "run"
    values = small(
        few,
        workdir,
        **TINY,
        stage="finetune",
        recipe="best",
        unfreeze="none@4,all@4",
        min_steps=0,
        warmup=3,
        **BEFORE_RENDERING,
    )
    for name in ("epochs", "head_epochs"):
        del values[name]
    said = command(*arguments(values))
    assert (said.status, said.err) == (0, "")
    rates: dict[str, list[float]] = {}
    for row in lines(workdir, "metrics.jsonl"):
        trained = (row["span"], row["split"]) == ("epoch", "train")
        if trained and row["stage"] in NAMES:
            rates.setdefault(row["stage"], []).append(row["learning_rate"])
    # Twelve steps, three of them warm-up: at the end of an epoch, t = 2, 5, 8
    # and 11 of the cosine over the nine steps from t = 3.
    cosine = [
        3e-4 * (1 if t < 3 else (1 + np.cos(np.pi * (t - 3) / 9)) / 2)
        for t in (2, 5, 8, 11)
    ]
    for name in NAMES:
        np.testing.assert_allclose(rates[name], cosine, rtol=1e-5)
        assert any("averaged" in key for key in weights(workdir, name))


def test_two_processes_resume_in_a_part(few, tmp_path):
    """Both know which parts are complete, and end like one process."""
    whole = tmp_path / "whole"
    expected = train(few, whole, **SAVING)
    workdir = tmp_path / "stopped"
    flags = small(few, workdir, stage="finetune", **SAVING)
    del flags["epochs"]
    job = Job(2, tmp_path, run_command, arguments(flags))
    # Six of the first part, one of the second.
    wait_for_saves(workdir, 7, job)
    job.kill(1, signal.SIGTERM)
    assert all(left.status == 143 for left in job.wait())
    left = Job(2, tmp_path, run_command, arguments(flags)).wait()
    assert [(one.status, one.err) for one in left] == [(0, "")] * 2
    result = json.loads((workdir / "result.json").read_text())
    assert result["steps"] == expected["steps"]
    assert result["test_confusion"] == expected["test_confusion"]
    for name in NAMES:
        one, two = weights(whole, name), weights(workdir, name)
        assert one.keys() == two.keys()
        for key in one:
            np.testing.assert_allclose(
                one[key], two[key], atol=2e-5, rtol=1e-3, err_msg=key
            )
