"""When a stage ends before its last epoch."""

from __future__ import annotations

import pytest

from tests.support.clock import ManualClock
from tests.support.photos import make_photos
from tests.support.runs import (
    TINY,
    assert_same_arrays,
    assert_same_runs,
    lines,
    stopped_after,
    train,
    weights,
)
from tests.support.scripted import one_minute_per_call, script_validation
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.learning.state import StageState, no_sums
from trainer.learning.stopping import (
    PATIENCE,
    TIME_LIMIT,
    StopPolicy,
    Stopwatch,
    early_stop,
    stop_text,
)

HEAD, FINETUNE = "feature_extract", "finetune"
# 24 images in batches of 8: three steps an epoch.
EPOCH_STEPS = 3
RUN = {**TINY, "stage": HEAD}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_photos(tmp_path_factory.mktemp("photos")))


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_backbone(monkeypatch)


def state_at(step: int, best: int, stopped: str = "") -> StageState:
    """A stage that began at step 10."""
    return StageState(
        stage=HEAD,
        start_step=10,
        step=step,
        epoch_sums=no_sums(),
        window_sums=no_sums(),
        best={"step": best, "loss": 1.0, "accuracy": 0.5},
        digests={},
        gradient_max={},
        metrics_position=0,
        seconds=0.0,
        stopped=stopped,
    )


class Others:
    """Processes whose chief answers by itself."""

    def __init__(self, answer: float | None = None) -> None:
        self.answer, self.asked = answer, 0

    def chief_value(self, value: float) -> float:
        self.asked += 1
        return value if self.answer is None else self.answer


@pytest.mark.parametrize(
    ("patience", "step", "best", "stopped"),
    [
        pytest.param(None, 100, 15, "", id="no patience"),
        pytest.param(3, 25, 15, "", id="two epochs"),
        pytest.param(3, 30, 15, PATIENCE, id="three epochs"),
        pytest.param(3, 30, 20, "", id="better since"),
        pytest.param(1, 20, 20, "", id="better now"),
        pytest.param(1, 20, 15, PATIENCE, id="one epoch"),
    ],
)
def test_patience_counts_epochs_since_the_best(patience, step, best, stopped):
    config = Config(dataset="photos", patience=patience)
    state = state_at(step, best)
    policy = StopPolicy(config, Stopwatch(ManualClock()), Others())
    policy.after_validation(state, 5)
    assert state.stopped == stopped


def test_the_time_limit_is_over_when_the_chief_says_so():
    clock = ManualClock()
    config = Config(dataset="photos", time_limit=1.5)
    for answer, expected in ((0.0, ""), (1.0, TIME_LIMIT)):
        state, others = state_at(12, 10), Others(answer)
        policy = StopPolicy(config, Stopwatch(clock), others)
        # This process's own clock is ahead of the limit in the first case.
        clock.advance(100.0 if not answer else 0.0)
        assert policy.after_call(state) is bool(expected)
        assert (state.stopped, others.asked) == (expected, 1)
    others = Others()
    policy = StopPolicy(Config(dataset="p"), Stopwatch(clock), others)
    # Without a limit, processes exchange nothing.
    assert policy.after_call(state_at(12, 10)) is False
    assert others.asked == 0


def test_time_adds_up_over_starts():
    clock = ManualClock()
    clock.advance(1000.0)
    config = Config(dataset="photos", time_limit=1.0)
    state = state_at(12, 10)
    policy = StopPolicy(config, Stopwatch(clock), Others())
    clock.advance(40.0)
    policy.note_time(state)
    assert state.run_seconds == 40.0
    later = ManualClock()
    policy = StopPolicy(config, Stopwatch(later), Others())
    policy.resume(state)
    later.advance(19.0)
    assert policy.after_call(state) is False
    later.advance(1.0)
    assert policy.after_call(state) is True


@pytest.mark.parametrize(
    ("step", "stopped", "text"),
    [
        (30, PATIENCE, "stopped after epoch 4 of 20: no better validation for"
         " 3 epochs"),
        (30, TIME_LIMIT, "stopped after epoch 4 of 20: the time limit of 1.5"
         " minutes"),
        (31, TIME_LIMIT, "stopped in epoch 5 of 20: the time limit of 1.5"
         " minutes"),
        (110, PATIENCE, None),
        (30, "", None),
    ],
)  # fmt: skip
def test_the_text_of_an_early_stop(step, stopped, text):
    config = Config(dataset="photos", patience=3, time_limit=1.5)
    found = early_stop(
        state_at(step, 15, stopped), config, epochs=20, epoch_steps=5
    )
    assert (found and stop_text(vars(found))) == text


SCRIPTS = [
    pytest.param(
        {"monitor": "accuracy"},
        {"accuracy": [0.2, 0.8, 0.8, 0.8], "loss": [4.0, 3.0, 2.0, 2.0]},
        4, 3, 0.8, id="tie, lower loss", marks=pytest.mark.slow,
    ),
    pytest.param(
        {"monitor": "loss", "patience": 2},
        {"accuracy": [0.1, 0.2, 0.3, 0.4], "loss": [2.0, 3.0, 2.0, 1.0]},
        3, 1, 2.0, id="loss, patience",
    ),
    pytest.param(
        {"monitor": "macro_f1", "patience": 2},
        {"accuracy": [0.9, 0.8, 0.7, 0.6], "macro_f1": [0.1, 0.3, 0.2, 0.1]},
        4, 2, 0.3, id="macro F1", marks=pytest.mark.slow,
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "script", "epochs", "best", "value"), SCRIPTS
)
def test_a_scripted_stage_ends_where_it_should(
    photos, tmp_path, monkeypatch, capsys, flags, script, epochs, best, value
):
    left = script_validation(monkeypatch, **script)
    asked = max(6, epochs) if "patience" in flags else epochs
    result = train(photos, tmp_path / "run", **RUN, **flags, epochs=asked)
    monitor = flags.get("monitor", "accuracy")
    assert result["steps"] == epochs * EPOCH_STEPS
    assert result["best_step"] == best * EPOCH_STEPS
    assert (result["monitor"], result["best_monitor_value"]) == (monitor, value)
    validated = [
        line
        for line in lines(tmp_path / "run", "metrics.jsonl")
        if line["split"] == "validation"
    ]
    assert [line[monitor] for line in validated] == script[monitor][:epochs]
    assert len(left) == len(next(iter(script.values()))) - epochs
    out = capsys.readouterr().out
    said = f"{HEAD}: stopped after epoch {epochs} of {asked}: no better"
    assert out.count(said) == (2 if "patience" in flags else 0)
    assert result.get("stopped_early", {}).get("reason") == (
        PATIENCE if "patience" in flags else None
    )
    assert f"at step {best * EPOCH_STEPS} (on" in out
    assert "the table shows the last step" in out


@pytest.mark.slow
def test_an_early_stop_is_complete_also_with_more_epochs(
    photos, tmp_path, monkeypatch, capsys
):
    """Patience that is over in the last epoch ends longer runs, too."""
    # The loss is 0.5 each time, so an equal accuracy is no better.
    script_validation(monkeypatch, accuracy=[0.5, 0.4, 0.6, 0.6, 0.6])
    flags = {**RUN, "patience": 2}
    first = train(photos, tmp_path / "run", **flags, epochs=5)
    assert "stopped_early" not in first
    assert first["best_step"] == 3 * EPOCH_STEPS
    # A run of seven epochs would have ended there too.
    result = train(photos, tmp_path / "run", **flags, epochs=7)
    assert result["steps"] == first["steps"]
    assert result["stopped_early"]["epoch"] == 5
    before = weights(tmp_path / "run", HEAD)
    capsys.readouterr()
    # Nothing is validated: the script has ended.
    assert train(photos, tmp_path / "run", **flags, epochs=9) == result
    assert_same_arrays(weights(tmp_path / "run", HEAD), before)
    out = capsys.readouterr().out
    assert "this run is complete" in out
    assert (
        "stopped after epoch 5 of 7: no better validation for 2 epochs" in out
    )


@pytest.mark.slow
def test_a_resume_keeps_the_count_of_patience(photos, tmp_path, monkeypatch):
    values = {**RUN, "patience": 2, "epochs": 9, "checkpoint_every_steps": 2}
    accuracies = [0.3, 0.5, 0.4, 0.5]
    script_validation(monkeypatch, accuracy=accuracies)
    straight = train(photos, tmp_path / "one", **values)
    assert straight["steps"] == 4 * EPOCH_STEPS
    monkeypatch.undo()
    use_tiny_backbone(monkeypatch)
    script_validation(monkeypatch, accuracy=accuracies)
    with stopped_after(4):
        train(photos, tmp_path / "two", **values)
    resumed = train(photos, tmp_path / "two", **values)
    assert_same_runs((tmp_path / "two", resumed), (tmp_path / "one", straight))


LIMIT = {**RUN, "steps_per_loop": 1, "epochs": 3}


@pytest.mark.slow
def test_a_time_limit_ends_a_run_within_an_epoch(
    photos, tmp_path, monkeypatch, capsys
):
    """Also if the run is stopped and resumed before its end, or at its end."""
    values = {**LIMIT, "time_limit": 4, "checkpoint_every_steps": 1}
    one_minute_per_call(monkeypatch)
    result = train(photos, tmp_path / "run", **values)
    assert result["steps"] == 4
    assert result["stopped_early"] == {
        "reason": TIME_LIMIT,
        "epoch": 2,
        "mid_epoch": True,
        "epochs": 3,
        "limit": 4.0,
    }
    epochs = [
        (line["split"], line["step"], line["epoch"])
        for line in lines(tmp_path / "run", "metrics.jsonl")
        if line["span"] == "epoch"
    ]
    assert epochs == [
        ("train", 3, 1),
        ("validation", 3, 1),
        ("train", 4, 2),
        ("validation", 4, 2),
    ]
    assert "stopped in epoch 2 of 3: the time limit of 4 minutes" in (
        capsys.readouterr().out
    )
    # It is complete, and a longer limit is another run.
    train(photos, tmp_path / "run", **values)
    assert "this run is complete" in capsys.readouterr().out
    for saves, minutes in (
        # Stopped at step 2; the two minutes count.
        (2, 1.0),
        # Stopped when the end is saved, not validated; a fast machine follows.
        (4, 0.0),
    ):
        again = tmp_path / f"stopped after {saves}"
        with monkeypatch.context() as patch:
            one_minute_per_call(patch)
            with stopped_after(saves):
                train(photos, again, **values)
        with monkeypatch.context() as patch:
            one_minute_per_call(patch, minutes=minutes)
            resumed = train(photos, again, **values)
        assert resumed["steps"] == 4
        assert_same_runs((again, resumed), (tmp_path / "run", result))


@pytest.mark.slow
def test_the_stages_share_one_time_limit(photos, tmp_path, monkeypatch):
    """The head ends early, and finetune has its first call."""
    one_minute_per_call(monkeypatch)
    values = {**LIMIT, "stage": FINETUNE, "head_epochs": 1}
    result = train(photos, tmp_path / "run", **values, time_limit=2)
    (before,) = result["earlier_stages"]
    assert (before["steps"], result["steps"]) == (2, 3)
    assert "stopped_early" in before
    assert result["stopped_early"]["epoch"] == 1
