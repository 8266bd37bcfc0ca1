"""The disk space that the checkpoints of a run need."""

from __future__ import annotations

import pathlib
import shutil
from collections import namedtuple
from typing import Any

import pytest

from trainer.config import Config, StageSpec
from trainer.learning.disk import checkpoint_bytes, disk_line, space_warning
from trainer.model.freeze import FreezePlan, LayerRow


def plan(trainable: int, total: int = 1000) -> FreezePlan:
    row = LayerRow(
        name="all", kind="Dense", params=total, trainable_params=trainable
    )
    return FreezePlan(
        unfreeze="none",
        unfrozen_layers=(),
        trainable=("kernel",),
        frozen=(),
        rows=(row,),
    )


def stage(name: str, *, solved: bool = False) -> StageSpec:
    return StageSpec(
        stage=name,
        epochs=1,
        learning_rate=0.1,
        unfreeze="none",
        solver="lbfgs" if solved else "adam",
    )


# A checkpoint has the weights and two slots of Adam: three numbers for each
# parameter that changes. Three are kept, and a fourth is written before the
# oldest goes; there may be two best ones with the weights alone.
@pytest.mark.parametrize(
    ("values", "trained", "numbers"),
    [
        pytest.param({}, [100], 900 + 100 * (4 * 3 + 2), id="head"),
        pytest.param(
            {"optimizer": "sgd"}, [100], 900 + 100 * (4 * 2 + 2), id="momentum"
        ),
        pytest.param(
            {"optimizer": "sgd", "momentum": 0.0},
            [100],
            900 + 100 * (4 + 2),
            id="plain gradient descent",
        ),
        pytest.param(
            {"ema": 0.9}, [100], 900 + 100 * (4 * 4 + 2), id="averages"
        ),
        pytest.param(
            {"keep_checkpoints": 1}, [100], 900 + 100 * (2 * 3 + 2), id="one"
        ),
        pytest.param(
            {"on_nonfinite": "rollback"},
            [100],
            900 + 100 * (4 * 3 + 2 * 3 + 2),
            id="rollback",
        ),
        # The head's stage has ended with one last and up to two best ones.
        pytest.param(
            {},
            [100, 600],
            900 + 100 * (3 + 2) + 600 * (4 * 3 + 2),
            id="two stages",
        ),
        pytest.param({}, [1000], 1000 * (4 * 3 + 2), id="all"),
    ],
)
def test_the_bytes_of_checkpoints(
    values: dict[str, Any], trained: list[int], numbers: int
) -> None:
    stages = [(stage("finetune"), plan(count)) for count in trained]
    assert checkpoint_bytes(Config(**values), stages) == 4 * numbers


def test_a_solved_head_saves_once() -> None:
    solved = [(stage("feature_extract", solved=True), plan(100))]
    assert checkpoint_bytes(Config(), solved) == 4 * (900 + 100 * (3 + 2))


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("free", "warns"), [(3_000_000, False), (2_999_999, True)]
)
def test_a_full_disk_is_a_warning(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    free: int,
    warns: bool,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, free))
    said = space_warning(3_000_000, str(tmp_path))
    assert said == (
        f"--workdir={str(tmp_path)!r}: 3 MB are free, and the checkpoints of"
        " the run may take 3 MB; free some space, give another folder, or"
        " give --keep_checkpoints=1"
        if warns
        else ""
    )


def test_the_line_of_the_plan() -> None:
    assert disk_line(45_678_901) == "disk: checkpoints take up to 45.7 MB"
