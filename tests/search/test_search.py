"""Whole searches of a tiny backbone, in this process and in others."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest
from absl import flags as absl_flags

from tests.support.clock import ManualClock
from tests.support.determinism import undone
from tests.support.photos import make_photos
from tests.support.tiny import use_tiny_backbone
from trainer.command import flags
from trainer.config import Config
from trainer.errors import UsageError
from trainer.run import apart
from trainer.run.resolve import resolve
from trainer.search import halving
from trainer.search.run import search
from trainer.search.serve import TrialRun, train_trial
from trainer.search.space import config_of
from trainer.search.start import plan_search

FAST = {"epochs": 1, "head_epochs": 1, "batch_size": 12, "image_size": 32}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("search") / "photos"
    folder.mkdir()
    make_photos(folder, train=10, test=3)
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """Runs trials of the tiny backbone in this process, one bracket.

    Returns:
      A clock on which each trial takes a minute.
    """
    use_tiny_backbone(monkeypatch)
    clock = ManualClock()

    def ask(module: str, run: TrialRun, **_: Any) -> Mapping[str, Any]:
        clock.advance(60.0)
        with undone():
            return train_trial(run)

    monkeypatch.setattr(apart, "ask", ask)
    monkeypatch.setattr(halving, "MAX_BRACKETS", 1)
    return clock


def searched(
    photos: pathlib.Path,
    workdir: pathlib.Path,
    clock: ManualClock,
    **values: Any,
) -> dict[str, Any]:
    """Searches, and returns search.json."""
    fields = {
        "dataset": str(photos),
        "workdir": str(workdir),
        "backbone": "MobileNetV2",
        "weights": "none",
        "cache": "ram",
        "budget": 3.0,
        **FAST,
        **values,
    }
    given = frozenset({*fields, "stage"})
    plan = plan_search(Config(stage="search", **fields), given)
    search(plan, clock=clock)
    return json.loads((workdir / "search.json").read_text())


def parsed(command: str) -> Config:
    """Returns the configuration of a command line as a shell passes it on."""
    words = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {command.removeprefix('python ')}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    values = absl_flags.FlagValues()
    flags.define(values)
    flags.parse(words, values)
    return flags.config_from_flags(values)[0]


def untimed(stored: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the rows without their times and without the flags."""
    return [{**row, "seconds": 0, "flags": {}} for row in stored["rows"]]


@pytest.mark.slow
def test_a_search_reads_no_test_image(
    photos: pathlib.Path,
    tmp_path: pathlib.Path,
    here: ManualClock,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Other labels of test images change nothing.

    Without a test split, the validation split is kept for the test.
    """
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    first = searched(folder, tmp_path / "one", here)
    out = capsys.readouterr().out
    assert out.count("\ndata: 3 classes; train: 27 of 30 photos from ") == 1
    names = sorted(path.name for path in (folder / "test").iterdir())
    (folder / "val").mkdir()
    # Every test image gets the label of the next class.
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        (folder / "test" / name).rename(folder / "val" / other)
    (folder / "test").rmdir()
    second = searched(folder, tmp_path / "two", here)
    assert untimed(first) == untimed(second)
    assert without(first["data"], "fingerprint") == (
        without(second["data"], "fingerprint")
    )
    assert first["command"] == second["command"]
    # A tenth of 10 images in each of 3 classes.
    assert first["data"]["examples"] == 3
    assert first["data"]["validation_source"] == "train"
    assert [row["name"] for row in first["rows"]] == [
        *("default", "head", "head, 5 views"),
    ]
    for row in first["rows"]:
        correct = row["accuracy"] * 3
        assert correct == pytest.approx(round(correct))
    assert (tmp_path / "one/search.png").read_bytes().startswith(b"\x89PNG")
    assert not list((tmp_path / "one/trials").iterdir())
    with pytest.raises(UsageError, match="is tested on its validation split"):
        searched(folder, tmp_path / "split", here, validation="split")


def without(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


@pytest.mark.slow
def test_the_validation_split_serves_if_there_is_one(
    photos: pathlib.Path, tmp_path: pathlib.Path, here: ManualClock
) -> None:
    """Unreadable test images change nothing."""
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    shutil.copytree(folder / "test", folder / "val")
    for path in (folder / "test").glob("sushi/*"):
        path.write_bytes(b"not an image")
    values = {"budget": 1.0, "augment": "off"}
    stored = searched(folder, tmp_path / "own", here, **values)
    assert stored["data"]["validation_source"] == "split"
    assert stored["data"]["examples"] == 9


@pytest.mark.slow
def test_a_trial_is_the_run_of_its_command_line(
    photos: pathlib.Path,
    tmp_path: pathlib.Path,
    here: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pasted command validates as the trial did."""
    from trainer.run import training

    rungs = ((Fraction(1, 2), 1), (Fraction(1), 1))
    monkeypatch.setattr(halving, "RUNGS", rungs)
    values = {
        "budget": 100.0,
        "epochs": 2,
        "augment": "mild",
        # Without a cache there are no views, so there is one head.
        "cache": "off",
        "head_solver": "lbfgs",
    }
    stored = searched(photos, tmp_path / "s", here, **values)
    assert len(stored["rows"]) == 2 + 1 + 1
    # The first trial, and the last, which halving has drawn and promoted.
    for row in (stored["rows"][0], stored["rows"][-1]):
        assert row["length"] == "1"
        config = config_of({**row["flags"], "workdir": None})
        workdir = tmp_path / row["key"]
        with undone():
            training.train(
                Config(**{**config.to_json(), "workdir": str(workdir)})
            )
        result = json.loads((workdir / "result.json").read_text())
        assert result["best_validation_accuracy"] == row["accuracy"]
        assert result["best_validation_loss"] == row["loss"]
        assert result["final_split"] == "test"


@pytest.mark.parametrize(
    ("recipe", "values"),
    [
        ("tutorial", {}),
        ("tutorial", {"head_solver": "lbfgs", "head_views": 3}),
        ("tutorial", {"head_solver": "adam", "head_epochs": 2}),
        ("best", {}),
        ("best", {"weight_decay": 0.02, "clip_global_norm": 1.0}),
        ("best", {"scale_lr": True, "patience": 2, "ema": 0.9, "warmup": 9.0}),
    ],
)
def test_a_pasted_command_is_the_trial(
    tmp_path: pathlib.Path, recipe: str, values: dict[str, Any]
) -> None:
    """Also with names that a shell would split or expand."""
    names = absl_flags.FlagValues()
    flags.define(names)
    folder = tmp_path / "my $HOME 'photos'"
    given = {"dataset": folder, "budget": 9, "recipe": recipe, **values}
    argv = [f"--{name}={value}" for name, value in given.items()]
    flags.parse(["main.py", "--stage=search", *argv], names)
    config, chosen = flags.config_from_flags(names)
    plan = plan_search(config, chosen)
    for job in (*plan.halving.first, *plan.halving.drawn()):
        assert parsed_job(job) == job.config()
        resolved = resolve(job.config(), 64)
        assert resolved.stages()[-1].stage == job.trial.stage


def parsed_job(job: Any) -> Config:
    """Returns the configuration of a job's command line."""
    from trainer.results.commands import command_line

    return parsed(command_line(job.flags))


@pytest.mark.slow
def test_a_killed_search_continues_with_the_half_done_trial(
    photos: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """A search killed in its second trial has the rows of one without a kill.

    The second trial is the same run in a process that is not killed.
    """
    values = _values(photos)
    given = frozenset({*values, "stage", "workdir"})
    plan = plan_search(
        Config(stage="search", workdir=str(tmp_path / "s"), **values), given
    )
    default, head = plan.halving.first
    run = TrialRun(
        config=dataclasses.replace(
            head.config(), workdir=str(tmp_path / "once")
        )
    )
    once = apart.ask("trainer.search.serve", run)
    killed = tmp_path / "killed"
    process = subprocess.Popen(_command(killed, values))
    # The first trial is finished and removed, and the second has saved.
    while not (
        (killed / "search.json").exists()
        and _rows(killed)[0]["state"] == "done"
        and len(list(killed.glob("trials/*"))) == 1
        and list(killed.glob("trials/*/checkpoints/feature_extract/last/*"))
    ):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    assert list(killed.glob("trials/*/checkpoints"))
    (first,) = _rows(killed)
    subprocess.run(_command(killed, values), check=True)
    rows = _rows(killed)
    assert rows[0] == first
    assert [(row["name"], row["key"]) for row in rows] == [
        ("default", default.key),
        ("head", head.key),
    ]
    assert rows[1]["state"] == "done"
    assert {name: rows[1][name] for name in ("accuracy", "loss")} == {
        name: once[name] for name in ("accuracy", "loss")
    }
    assert not list((killed / "trials").iterdir())


def _rows(workdir: pathlib.Path) -> list[dict[str, Any]]:
    return json.loads((workdir / "search.json").read_text())["rows"]


def _values(photos: pathlib.Path) -> dict[str, Any]:
    """Returns the flags of a search of two trials."""
    return {
        "dataset": str(photos),
        "backbone": "MobileNetV2",
        "backbone_args": "alpha=0.35",
        "weights": "none",
        "image_size": 32,
        "unfreeze": "last:3",
        "augment": "off",
        "head_solver": "adam",
        "head_epochs": 2,
        "epochs": 3,
        "budget": 0.01,
        "cache": "ram",
    }


def _command(workdir: pathlib.Path, values: Mapping[str, Any]) -> list[str]:
    return [
        *(sys.executable, "main.py", "--stage=search"),
        *(f"--{k}={v}" for k, v in {**values, "workdir": workdir}.items()),
    ]


def test_a_refusal_and_a_dry_run_need_no_tensorflow(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "probe.json").write_text("{}")
    text = """
        import sys
        from tests.support.command import command
        for status, words in (
            (2, []),
            (2, ["--budget=0"]),
            (2, ["--budget=1", "--validation=test"]),
            (2, ["--budget=1", "--models=0"]),
            (2, ["--budget=1", f"--workdir={sys.argv[1]}"]),
            (0, ["--budget=1", "--dry_run"]),
        ):
            said = command("--stage=search", "--dataset=photos", *words)
            assert said.status == status, said.err
        assert "tensorflow" not in sys.modules
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text), str(tmp_path)],
        check=True,
    )
