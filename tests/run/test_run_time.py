"""The time of a run, estimated from earlier runs on the same machine."""

from __future__ import annotations

import dataclasses
import pathlib
import types
from typing import Any

import pytest

from tests.support.clock import ManualClock
from tests.support.stage import METRICS
from trainer.cache import CacheFolder, FileCache
from trainer.config import Config, StageSpec
from trainer.config.fields import FIELDS
from trainer.distribute.processes import Processes
from trainer.distribute.topology import Topology
from trainer.learning.start import stage_marker
from trainer.results.progress import ConsoleProgress
from trainer.run import run_time
from trainer.run.resolve import resolve
from trainer.run.run_time import RunTime, Speed, read_speeds, write_speed
from trainer.workdir import Workdir

HEAD, FINETUNE = "feature_extract", "finetune"
SPEED = Speed(fixed=1, image=2, validated=3, row=None, data="d")


class _Samples:
    """The columns of a split that are read here."""

    def __init__(self, digests: tuple[str, ...]) -> None:
        self.digests = digests

    def __len__(self) -> int:
        return len(self.digests)


class Machine:
    """Trains runs whose times a test knows."""

    def __init__(
        self, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = {"processor": "one"}
        self.cache = FileCache(CacheFolder(str(folder), disk_bytes=2**20))
        self.clock = ManualClock()
        monkeypatch.setattr(run_time, "run_facts", lambda *_: self.facts)

    def run(
        self,
        *,
        train: int = 100,
        first: int = 0,
        processes: Processes | None = None,
        **flags: Any,
    ) -> tuple[RunTime, tuple[StageSpec, ...], ConsoleProgress]:
        """Returns a run of some images, its stages, and its progress."""
        flags = {"stage": HEAD, "workdir": str(self.folder / "run"), **flags}
        config = resolve(Config(dataset="d", **flags), 8)
        manifest: Any = types.SimpleNamespace(
            train=_Samples(tuple(map(str, range(first, first + train)))),
            validation=_Samples(tuple(f"v{n}" for n in range(20))),
            final=_Samples(tuple(f"f{n}" for n in range(30))),
            location="/d",
        )
        setup: Any = types.SimpleNamespace(config=config, tests=True)
        options: Any = types.SimpleNamespace(files=self.cache)
        workdir = Workdir(config.workdir, *([processes] if processes else []))
        progress = ConsoleProgress(train, clock=self.clock)
        time = RunTime(setup, workdir, manifest, options, progress)
        return time, config.stages(), progress

    def line(self, **changes: Any) -> str:
        time, stages, _ = self.run(**changes)
        return time.line(stages)

    def train(self, **changes: Any) -> None:
        """Trains each stage for two epochs of 100 images, in 45 s.

        4 s are of 40 rows of the cache, 5 s of 50 images trained, 2 s of each
        validation of 20 images. 45 - 4 - 200 * 0.1 - 2 * 2 = 17 s are left.
        """
        time, stages, progress = self.run(**changes)
        for number, spec in enumerate(stages):
            later = stages[number + 1] if number + 1 < len(stages) else None
            time.begin(spec, later)
            for seconds, done in ((2, 10), (4, 50)):
                self.clock.advance(seconds)
                progress.rows("features", done, 50)
            for epoch, calls in ((1, (10, 5)), (2, (5, 5))):
                progress.epoch(spec.stage, epoch, 2, 0)
                for seconds in calls:
                    self.clock.advance(seconds)
                    progress.steps(50, 0.5, 0.5)
                self.clock.advance(2)
                progress.end_epoch("")
            self.clock.advance(10)
            time.end()


@pytest.fixture
def machine(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def about(time: str) -> str:
    return f"time: {time}, from earlier runs on this machine"


def test_a_stage_is_timed_in_parts(machine: Machine) -> None:
    machine.train()
    (found,) = read_speeds(machine.cache).values()
    numbers = (found.fixed, found.image, found.validated, found.row)
    assert numbers == pytest.approx((17, 0.1, 0.1, 0.1))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        # 17 + 2 * 10 + 2 * 2
        pytest.param({"epochs": 2}, about("under a minute"), id="the same"),
        # 17 + 30 * 10 + 30 * 2
        pytest.param({"epochs": 30}, about("about 6 min"), id="epochs"),
        # 30 * 20 in place of 30 * 10; 250 rows of 0.1 s.
        pytest.param(
            {"epochs": 30, "train": 200}, about("about 12 min"), id="images"
        ),
        # 70 epochs for 280 steps of 32 images, validated every 5 epochs.
        # 17 + 70 * 10 + 14 * 2
        pytest.param(
            {"min_steps": 280}, about("about 12 min"), id="fewer validations"
        ),
        pytest.param(
            {"epochs": 30, "patience": 3}, about("up to 6 min"), id="patience"
        ),
        # 3 * 60 + 17, which is less than 17 + 30 * 12.
        pytest.param(
            {"epochs": 30, "time_limit": 3.0},
            about("up to 3 min"),
            id="time limit",
        ),
        pytest.param(
            {"epochs": 30, "time_limit": 60.0},
            about("up to 6 min"),
            id="distant time limit",
        ),
        pytest.param(
            {"epochs": 30, "learning_rate": 0.1, "seed": 1},
            about("about 6 min"),
            id="same speed",
        ),
        pytest.param({"batch_size": 8}, "", id="another batch size"),
        pytest.param({"augment": "off"}, "", id="another augmentation"),
        pytest.param({"stage": FINETUNE}, "", id="a stage more"),
    ],
)
def test_line_by_run(
    machine: Machine, changes: dict[str, Any], line: str
) -> None:
    assert machine.line(**changes) == ""
    machine.train()
    if "min_steps" in changes:
        time, stages, _ = machine.run(**changes)
        (spec,) = (each.at_least(280, 4) for each in stages)
        assert (spec.epochs, spec.validate_every) == (70, 5)
        assert time.line([spec]) == line
    else:
        assert machine.line(**changes) == line


def test_a_run_of_several_stages_is_their_sum(machine: Machine) -> None:
    machine.train(stage=FINETUNE)
    # 17 + 20 * 12 for each.
    assert machine.line(stage=FINETUNE, epochs=20, head_epochs=20) == about(
        "about 9 min"
    )
    # It shares nothing with a stage that a finetune follows.
    assert machine.line(stage=HEAD) == ""


def test_other_machines_are_unknown(machine: Machine) -> None:
    machine.train()
    machine.facts = {"processor": "two"}
    assert machine.line() == ""


def test_other_images_need_the_time_per_row(machine: Machine) -> None:
    """A solved head is not estimated for other images either."""
    time, (spec,), _ = machine.run()
    for row, solver, known in (
        (None, "adam", False),
        (0.1, "adam", True),
        (0.1, "lbfgs", False),
    ):
        solved = dataclasses.replace(spec, solver=solver)
        speed = dataclasses.replace(SPEED, row=row)
        write_speed(machine.cache, time._key(solved, None), speed)
        assert bool(time.line([solved])) is known


@pytest.mark.parametrize(
    ("epochs", "line"),
    [
        # 20 of 30 epochs are left: 17 + 20 * 12
        pytest.param(30, about("about 4 min"), id="in the middle"),
        pytest.param(10, about("under a minute"), id="at its end"),
    ],
)
def test_a_resumed_run_counts_what_is_left(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    epochs: int,
    line: str,
) -> None:
    """The stage began at step 12; 40 steps are 10 epochs."""
    flags = {"stage": FINETUNE, "epochs": epochs}
    machine.train(**flags)
    time, stages, _ = machine.run(**flags)
    workdir = Workdir(str(machine.folder / "run"))
    workdir.write_json(stage_marker(HEAD), {**METRICS, "steps": 12})
    monkeypatch.setattr(run_time, "find_checkpoint", lambda *_: "last/ckpt-52")
    before = read_speeds(machine.cache)
    assert time.line(stages[-1:]) == line
    # Nor is the rest of a stage timed.
    machine.clock.advance(1000)
    time.begin(stages[-1], None)
    time.end()
    assert read_speeds(machine.cache) == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[1]",
        b'{"KEY": 1}',
        b'{"KEY": {"fixed": 1}}',
        b'{"KEY": {"fixed": "1", "image": 1, "validated": 1, "row": 1,'
        b' "data": ""}}',
        b'{"KEY": {"fixed": -1, "image": 1, "validated": 1, "row": 1,'
        b' "data": ""}}',
        b'{"KEY": {"fixed": NaN, "image": 1, "validated": 1, "row": 1,'
        b' "data": ""}}',
        b"[" * 100_000,
    ],
)
def test_a_foreign_file_counts_as_unknown(
    machine: Machine, content: bytes
) -> None:
    time, (spec,), _ = machine.run()
    key = time._key(spec, None).encode()
    machine.cache.write(run_time._FILE, content.replace(b"KEY", key))
    assert time.line([spec]) == ""
    machine.train()
    assert time.line([spec]) != ""


def test_a_damaged_file_counts_as_unknown(machine: Machine) -> None:
    machine.train()
    (path,) = machine.folder.rglob("content")
    path.write_bytes(path.read_bytes()[:-1])
    assert machine.line() == ""


def test_without_a_cache_nothing_is_known(machine: Machine) -> None:
    machine.cache = FileCache(None)
    machine.train()
    assert machine.line() == ""


def test_only_the_chief_writes(machine: Machine) -> None:
    second = Processes(Topology(index=1, count=2), lambda row: row)
    machine.train(processes=second)
    assert read_speeds(machine.cache) == {}
    machine.train()
    assert machine.line(processes=second) != ""


def test_the_flags_without_a_part_in_the_key_exist() -> None:
    assert set(run_time._NOT_IN_KEY) <= FIELDS.keys()
    assert set(run_time._NOT_IN_SPEC) <= {
        field.name for field in dataclasses.fields(StageSpec)
    }


def test_the_newest_speeds_are_kept(machine: Machine) -> None:
    for number in range(run_time._MAX_KEYS):
        write_speed(machine.cache, str(number), SPEED)
    write_speed(machine.cache, "0", SPEED)
    write_speed(machine.cache, "new", SPEED)
    keys = list(read_speeds(machine.cache))
    assert len(keys) == run_time._MAX_KEYS
    assert (keys[0], keys[-2:]) == ("2", ["0", "new"])
