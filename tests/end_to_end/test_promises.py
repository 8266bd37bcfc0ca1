"""Every part of a recipe keeps every promise, as docs/reproducibility.md says.

The table of that page names each flag of a recipe and, for each promise, `yes`
or the reason why not. Here a few runs combine the flags, so that each `yes` is
covered by a run that sets the flag and is repeated under the promise.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.support.runs import (
    FINISHED,
    assert_same_arrays,
    copied_after,
    train,
    weights,
)
from trainer.config.fields import FIELDS
from trainer.config.usage import GROUPS
from trainer.model.weights.frozen import FOLDER
from trainer.workdir import RESULT

pytestmark = pytest.mark.usefixtures("tiny")
_PAGE = pathlib.Path(__file__).parents[2] / "docs" / "reproducibility.md"
# What a run is repeated with; `resume` repeats it with a stop.
PROMISES: Mapping[str, Mapping[str, Any]] = {
    "replicas": {"strategy": "mirrored", "logical_cpus": 2},
    "XLA": {"xla": "on"},
    "resume": {},
    "cache": {"cache": "off"},
    "accumulation": {"accumulate_steps": 2},
}
# The promises of each repetition, which must end with the same bits, or with
# the same numbers up to rounding.
REPETITIONS: Mapping[str, tuple[str, ...]] = {
    "same bits": ("resume", "cache"),
    "rounding": ("replicas", "XLA", "accumulation"),
}
COMMON = {**FINISHED, "stage": "finetune"}
COMBINATIONS: Mapping[str, Mapping[str, Any]] = {
    "adamw": {
        "optimizer": "adamw",
        "weight_decay": 0.01,
        "schedule": "cosine",
        "warmup": 0.2,
        "min_steps": 7,
        "layer_decay": 0.8,
        "backbone_lr_scale": 0.5,
        "label_smoothing": 0.1,
        "ema": 0.9,
        "augment": "mild",
        "mix": "mixup:0.4",
        "dropout": 0.2,
        "head_learning_rate": 3e-3,
    },
    # One stage, which trains the backbone.
    "sgd": {
        "optimizer": "sgd",
        "momentum": 0.8,
        "schedule": "linear",
        "augment": "trivial",
        "mix": "cutmix:1",
        "erasing": 0.5,
        "class_weights": "balanced",
        "clip_global_norm": 1.0,
        "scale_lr": True,
        "tta": "flip",
        "head_epochs": 0,
        "monitor": "macro_f1",
        "patience": 1,
        "validation": "train:0.25",
        "on_nonfinite": "rollback",
    },
    # In bfloat16, so with wider bounds.
    "solved": {
        "precision": "bfloat16",
        "head_solver": "lbfgs",
        "head_l2": "0.1",
        "optimizer": "adamw",
        "label_smoothing": 0.1,
    },
    "lamb": {
        "optimizer": "lamb",
        "schedule": "step",
        "unfreeze": "last:3@2,all@2",
        "head_views": 2,
        "augment": "mild",
    },
}
# The save of each combination that is within the last stage, not at its end.
SAVES: Mapping[str, int] = {"adamw": 8, "sgd": 3, "solved": 3, "lamb": 11}


def _columns() -> dict[str, dict[str, str]]:
    """Returns the cells of the documented table, by flag and promise."""
    text = _PAGE.read_text().partition("## Each part of a recipe")[2]
    table = text[text.index("|") :].partition("\n\n")[0]
    head, _, *body = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
    )
    assert head[1:] == list(PROMISES)
    return {
        flag.strip("`-"): dict(zip(PROMISES, cells, strict=True))
        for flag, *cells in body
    }


def _run_twice_under(combination: str) -> tuple[str, ...]:
    """Returns the promises under which a combination runs."""
    # Its views need the cache, as the page says.
    return tuple(
        name
        for name in PROMISES
        if not (combination == "lamb" and name == "cache")
    )


@pytest.mark.parametrize(
    "group",
    ["Recipe", "Regularization", "The head, which trains first", "Training"],
)
def test_the_table_has_every_flag_of_a_recipe(group: str) -> None:
    # A promise itself.
    flags = set(GROUPS[group]) - {"accumulate_steps"}
    assert flags <= _columns().keys()


@pytest.mark.parametrize("promise", PROMISES)
def test_each_yes_of_the_table_is_covered_by_a_run(promise: str) -> None:
    for flag, cells in _columns().items():
        cell = cells[promise]
        assert cell == "yes" or len(cell) > 10, (flag, cell)
        covering = [
            name
            for name, values in COMBINATIONS.items()
            if {**COMMON, **values}.get(flag, FIELDS[flag].default)
            != FIELDS[flag].default
            and promise in _run_twice_under(name)
        ]
        assert bool(covering) == (cell == "yes"), (flag, cell, covering)


def test_each_promise_is_part_of_a_repetition() -> None:
    assert sorted(sum(REPETITIONS.values(), ())) == sorted(PROMISES)


@pytest.fixture(scope="module")
def plain_runs() -> dict[str, pathlib.Path]:
    """Folders of combinations that have run without a promise."""
    return {}


def _plain(
    name: str,
    photos: str,
    plain_runs: dict[str, pathlib.Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> pathlib.Path:
    """Runs a combination once; `killed` is a copy from within the last stage.

    Returns:
      The folder of the workdirs `plain` and `killed`.
    """
    if name not in plain_runs:
        folder = tmp_path_factory.mktemp(name)
        values = {**COMMON, **COMBINATIONS[name], "checkpoint_every_steps": 2}
        with copied_after(SAVES[name], folder / "killed"):
            train(photos, folder / "plain", **values)
        plain_runs[name] = folder
    return plain_runs[name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "repetition"),
    [(name, kind) for name in COMBINATIONS for kind in REPETITIONS],
)
def test_a_combination_keeps_the_promises(
    photos: str,
    plain_runs: dict[str, pathlib.Path],
    tmp_path: pathlib.Path,
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    repetition: str,
) -> None:
    folder = _plain(name, photos, plain_runs, tmp_path_factory)
    plain, workdir = folder / "plain", tmp_path / "again"
    values = {**COMMON, **COMBINATIONS[name], "checkpoint_every_steps": 2}
    promises = set(REPETITIONS[repetition]) & set(_run_twice_under(name))
    for promise in promises:
        values |= PROMISES[promise]
    stages = _stages(plain)
    if "resume" in promises:
        workdir = folder / "killed"
        assert _stages(workdir) == stages
        assert not (workdir / "checkpoints" / stages[-1] / RESULT).exists()
    train(photos, workdir, **values)
    assert _stages(workdir) == stages
    atol, rtol = (0.01, 0.05) if name == "solved" else (2e-5, 2e-3)
    for stage in stages:
        one, two = (weights(path, stage) for path in (plain, workdir))
        if repetition == "same bits":
            assert_same_arrays(one, two)
            continue
        assert one.keys() == two.keys()
        for key in one:
            np.testing.assert_allclose(
                one[key], two[key], atol=atol, rtol=rtol, err_msg=key
            )


def _stages(workdir: pathlib.Path) -> list[str]:
    """Returns the stages with checkpoints, in their order."""
    folders = {path.name for path in (workdir / "checkpoints").iterdir()}
    return sorted(folders - {FOLDER})
