"""The budget of a search, its resumption, and its files."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import re
from typing import Any

import pytest

from tests.search.fake import EXAMPLES, FREE_DEPTH, GIVEN, StopError, Trainer
from trainer.config import Config
from trainer.errors import TrainerError, UsageError
from trainer.results.statistics import wilson_interval
from trainer.search import halving, start
from trainer.workdir import Workdir


def by_epochs(config: Config) -> float:
    """A minute per epoch; a solved head has one."""
    return 60.0 * (config.epochs if config.stage == "finetune" else 1)


def by_rate(config: Config) -> float:
    """An accuracy that differs between the trials."""
    return 0.5 + 100 * (config.learning_rate or 0.0)


def outcome(row: dict[str, Any]) -> dict[str, Any]:
    """Returns a row without its time."""
    return {**row, "seconds": 0}


# The first rung takes 8 + 1 + 1 minutes. Until a shorter run is done, each is
# expected to take 8, so a draw needs 8 + 8 + 8 at first, and then 2 + 8 + 8,
# a half 8 + 8, the second half 4 + 8, and another quarter then 2 + 4 + 8.
@pytest.mark.parametrize(
    ("minutes", "runs", "cut"),
    [
        (0.1, 3, 6),
        (33.9, 3, 6),
        (34.0, 3 + 4 + 2 + 1, 2),
        (38.0, 3 + 6 + 2 + 1, 6),
    ],
)
def test_the_budget_decides_how_many_trials_run(
    trainer: Trainer, minutes: float, runs: int, cut: int
) -> None:
    trainer.seconds = by_epochs
    stored = trainer.search(budget=minutes)
    assert len(trainer.runs) == runs
    assert trainer.shows_data == [True] + [False] * (runs - 1)
    assert len(stored["cut_by_budget"]) == cut
    assert trainer.clock.now() <= max(minutes, 10.0) * 60


def test_a_trial_that_takes_too_long_is_stopped(
    trainer: Trainer, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It resumes with more time, and then all trials have run once."""
    monkeypatch.setattr(halving, "MAX_BRACKETS", 1)
    trainer.seconds = lambda config: (
        by_epochs(config) * (40 if config.unfreeze == "all" else 1)
    )
    stored = trainer.search(FREE_DEPTH, budget=60.0)
    states = [row["state"] for row in stored["rows"]]
    assert states.count("half-done") == 1
    assert trainer.clock.now() == 60.0 * 60
    key = trainer.stored()["rows"][states.index("half-done")]["key"]
    folders = (tmp_path / "run/trials").iterdir()
    assert [path.name for path in folders] == [key]
    half = trainer.runs[-1]
    trainer.search(FREE_DEPTH, budget=10_000.0)
    again = [run for run in trainer.runs if run.workdir == half.workdir]
    assert len(again) == 2
    row = next(r for r in trainer.stored()["rows"] if r["key"] == key)
    assert row["state"] == "done"
    # Both starts count.
    assert row["seconds"] == 2 * 60 * 40
    assert not list((tmp_path / "run/trials").iterdir())


@pytest.mark.parametrize("minutes", [0.5, 20.0, 34.0, 38.0])
def test_the_budget_that_is_asked_for_is_enough(
    trainer: Trainer, capsys: pytest.CaptureFixture[str], minutes: float
) -> None:
    trainer.seconds = by_epochs
    trainer.search(budget=minutes)
    count = len(trainer.runs)
    found = re.search(r"with --budget=(\d+) or more", capsys.readouterr().out)
    assert found is not None
    assert int(found[1]) <= minutes + 35
    trainer.search(budget=float(found[1]))
    assert len(trainer.runs) > count


@pytest.mark.parametrize("stop", range(13))
def test_a_search_killed_at_any_trial_ends_the_same(
    trainer: Trainer, tmp_path: pathlib.Path, stop: int
) -> None:
    """No trial is run twice: a half-done one is continued."""
    trainer.seconds, trainer.accuracy = by_epochs, by_rate
    trainer.stops = stop
    if stop < 12:
        with pytest.raises(StopError):
            trainer.search(budget=38.0)
    stored = trainer.search(budget=38.0)
    assert len(trainer.runs) == 12 + (stop < 12)
    assert len({run.workdir for run in trainer.runs}) == 12
    # The time of the killed start counts.
    assert stored["seconds"] == 38 * 60
    assert all(row["state"] == "done" for row in stored["rows"])
    assert [row["key"] for row in stored["rows"]] == [
        *dict.fromkeys(pathlib.Path(run.workdir).name for run in trainer.runs)
    ]


def test_more_budget_continues_to_the_same_end(
    trainer: Trainer, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials that the budget has left out are made up for."""
    monkeypatch.setattr(halving, "MAX_BRACKETS", 2)
    trainer.seconds, trainer.accuracy = by_epochs, by_rate
    for minutes in (10.0, 34.0, 36.0, 50.0, 500.0):
        stored = trainer.search(budget=minutes)
    count = len(trainer.runs)
    assert count == len({run.workdir for run in trainer.runs})
    trainer.search(budget=500.0)
    assert len(trainer.runs) == count
    once = trainer.search(budget=500.0, workdir=str(tmp_path / "once"))
    for name in ("best", "recommended", "command"):
        assert stored[name] == once[name]
    # A promotion that a better trial has made unnecessary may be one more.
    kept = [outcome(row) for row in stored["rows"]]
    assert all(outcome(row) in kept for row in once["rows"])


def test_a_full_disk_does_not_hide_why_a_search_stops(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Workdir, name: str, values: dict[str, Any]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    monkeypatch.setattr(Workdir, "write_json", full)
    trainer.stops = 0
    with pytest.raises(StopError):
        trainer.search()
    trainer.stops = -1
    with pytest.raises(OSError, match="No space left on device"):
        trainer.search()


def test_the_rows_have_flags_interval_and_time(trainer: Trainer) -> None:
    trainer.seconds, trainer.accuracy = by_epochs, lambda config: 0.75
    stored = trainer.search(budget=5.0)
    assert not stored["test_split_used"]
    assert stored["data"]["examples"] == EXAMPLES
    default, head, views = stored["rows"]
    assert default["values"] == {}
    assert default["flags"]["validation"] == "auto"
    assert head["values"] == {"head_solver": "lbfgs"}
    assert views["values"]["head_views"] == 5
    for row, seconds in ((default, 480), (head, 60), (views, 60)):
        assert row["interval"] == list(wilson_interval(0.75, EXAMPLES))
        assert row["seconds"] == seconds
        assert row["length"] == "1"


def test_flags_of_another_search_are_refused(trainer: Trainer) -> None:
    trainer.search(budget=1.0)
    for values, words in (
        ({"epochs": 4}, "--epochs was 8, is 4"),
        ({"seed": 4}, "--seed was 3, is 4"),
        ({"validation": "train:0.2"}, "--validation was 'auto'"),
        (
            {"augment": "tutorial"},
            r"fixed flags were \['unfreeze'\], are \['aug",
        ),
    ):
        with pytest.raises(TrainerError, match=words):
            trainer.search(budget=1.0, **values)
    # The budget and the flags that change no result may differ.
    trainer.search(budget=2.0, cache="ram")
    assert len(trainer.runs) == 3


def test_changed_data_is_refused(trainer: Trainer) -> None:
    trainer.seconds = by_epochs
    trainer.search(budget=1.0)
    trainer.fingerprint = "two"
    with pytest.raises(TrainerError, match="has changed since the search"):
        trainer.search(budget=60.0)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"format": 1}',
        '{"format": 1, "flags": {}, "fixed": [], "data": {}, "seconds": 0,'
        ' "rows": [{"key": "x"}]}',
    ],
)
def test_a_damaged_record_is_one_line(
    trainer: Trainer, tmp_path: pathlib.Path, text: str
) -> None:
    trainer.search(budget=1.0)
    (tmp_path / "run/search.json").write_text(text)
    with pytest.raises(TrainerError, match="restore it, or"):
        trainer.search(budget=1.0)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("rows", 0, "length"), "1/0"),
        (("rows", 0, "length"), "-1"),
        (("rows", 0, "state"), "odd"),
        (("rows", 0, "accuracy"), 7),
        (("rows", 0, "seconds"), None),
        (("data",), {}),
        (("seconds",), "long"),
    ],
)
def test_a_changed_record_is_one_line(
    trainer: Trainer, tmp_path: pathlib.Path, place: tuple, value: Any
) -> None:
    stored = trainer.search(budget=1.0)
    *path, last = place
    inner: Any = stored
    for name in path:
        inner = inner[name]
    inner[last] = value
    (tmp_path / "run/search.json").write_text(json.dumps(stored))
    with pytest.raises(TrainerError, match="restore it, or") as error:
        trainer.search(budget=1.0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("config.json", "a run"),
        ("probe.json", "a probe"),
        ("seed0", "a study"),
        ("study.json", "a study"),
        ("fold-1", "the folds of a run"),
    ],
)
def test_a_workdir_of_another_stage_is_refused(
    trainer: Trainer, tmp_path: pathlib.Path, name: str, what: str
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("{}")
    with pytest.raises(UsageError, match=f"holds {what}, not a search"):
        trainer.search()


def test_given_flags_are_not_searched(
    trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer.seconds = by_epochs
    trainer.search(unfreeze="last:3", augment="mild")
    said = capsys.readouterr().out
    assert "fixed by your flags: --augment, --unfreeze" in said
    assert "searched: --unfreeze" not in said
    tunes = [run for run in trainer.runs if run.stage == "finetune"]
    assert {(run.unfreeze, run.augment) for run in tunes} == {
        ("last:3", "mild")
    }
    assert len({run.learning_rate for run in tunes}) > 6


def test_a_search_of_nothing_is_refused(trainer: Trainer) -> None:
    with pytest.raises(UsageError, match="nothing is left to search"):
        trainer.plan(
            learning_rate=1e-3,
            unfreeze="all",
            augment="off",
            label_smoothing=0.0,
        )


def test_a_head_without_augmentation_mixes_no_images(trainer: Trainer) -> None:
    plan = trainer.plan(mix="mixup:0.2", augment="off", head_solver="adam")
    (default, head) = plan.halving.first
    assert default.config().mix == "mixup:0.2"
    assert head.config().mix == "off"


def test_a_trial_that_would_fail_is_refused_at_the_start(
    trainer: Trainer,
) -> None:
    with pytest.raises(UsageError, match="mixes the images of a batch, but"):
        trainer.plan(mix="mixup:0.2", batch_size=1)


def test_the_seed_decides_the_design(trainer: Trainer) -> None:
    def flags(seed: int) -> list[dict[str, Any]]:
        plan = trainer.plan(seed=seed)
        return [dict(job.trial.values) for job in plan.halving.drawn()]

    assert flags(3) == flags(3)
    assert flags(3) != flags(4)
    low, high = 1e-4 / 8, 1e-4 * 8
    for values in flags(3):
        assert 0.99 * low <= values["learning_rate"] <= 1.01 * high


def test_a_dry_run_writes_nothing_and_needs_no_tensorflow(
    trainer: Trainer, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer.plan(GIVEN | {"dry_run"}, dry_run=True)
    said = capsys.readouterr().out
    assert "default (finetune): the unchanged recipe" in said
    assert said.count("(finetune, 1/4 of the epochs)") == 6
    assert not (tmp_path / "run").exists()
    assert start.SEARCH_JSON == "search.json"
