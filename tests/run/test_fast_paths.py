"""Which fast paths a run takes, from its flags, devices and size."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import pytest
import tensorflow as tf

from tests.support.replicas import strategy_of
from trainer.cache import CacheFolder
from trainer.cache.disk import NAME
from trainer.config import Config
from trainer.distribute import devices, strategies
from trainer.distribute.processes import ALONE
from trainer.errors import UsageError
from trainer.run.fast_paths import (
    FastPaths,
    Work,
    default_cache_dir,
    fast_paths,
    file_cache,
)

FEW, MANY = 10, 10_000


def test_float16_needs_features() -> None:
    """Whoever trains is told, also where the run began with features."""
    for earlier in (None, "graph", "step"):
        with pytest.raises(UsageError, match="^--feature_dtype=float16: no"):
            paths(feature_dtype="float16", trunk_engine="step", earlier=earlier)
    used = fast_paths(
        Config(
            feature_dtype="float16", trunk_engine="step", precision="float32"
        ),
        strategy_of(1),
        ALONE,
        xla=False,
        images=FEW,
        training=False,
    )
    assert used.engine == "step"


def paths(
    images: int = FEW,
    *,
    xla: bool = False,
    earlier: str | None = None,
    **values: Any,
) -> FastPaths:
    values = {"precision": "float32", **values}
    return fast_paths(
        Config(**values),
        strategy_of(1),
        ALONE,
        xla=xla,
        images=images,
        earlier=earlier,
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "graph"),
        ({"images": MANY}, "litert"),
        # What the run began with holds, however many there are now.
        ({"images": MANY, "earlier": "graph"}, "graph"),
        ({"earlier": "litert"}, "litert"),
        ({"earlier": "step"}, "step"),
        ({"earlier": "litert", "trunk_engine": "graph"}, "graph"),
        ({"earlier": "graph", "trunk_engine": "step"}, "step"),
        ({"trunk_engine": "litert"}, "litert"),
        # Where only the step will do.
        ({"images": MANY, "xla": True}, "step"),
        ({"earlier": "graph", "xla": True}, "step"),
        ({"precision": "bfloat16"}, "step"),
        ({"trunk_engine": "step", "xla": True}, "step"),
    ],
    ids=str,
)
def test_the_engine(given: dict[str, Any], expected: str) -> None:
    assert paths(**given).engine == expected


def test_on_an_accelerator_the_step_does_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "all_cpus", lambda strategy: False)
    assert paths(MANY).engine == "step"
    with pytest.raises(UsageError, match="it runs on CPUs only; give auto or"):
        paths(trunk_engine="graph")


def test_on_a_tpu_the_step_does_it_by_gathers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(strategies, "on_tpu", lambda strategy: True)
    for tpu in (None, "local"):
        found = paths(MANY, tpu=tpu, cache="ram")
        assert (found.engine, found.kernel) == ("step", "gather")
        assert found.cache is paths(cache="ram").cache
    # The host of one on the network cannot call this process's Python.
    assert paths(tpu="node-1", cache="ram").cache is paths(cache="off").cache
    with pytest.raises(UsageError, match="a TPU computes the whole step"):
        paths(trunk_engine="litert")
    with pytest.raises(UsageError, match="a TPU cannot run it; give gather"):
        paths(augment_kernel="projective")


def test_a_tensorflow_without_lite(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = strategy_of(1)
    lacking = type(
        "tensorflow", (), {"distribute": tf.distribute, "config": tf.config}
    )
    monkeypatch.setattr("trainer.run.fast_paths.tf", lacking)

    def engine(**values: Any) -> str:
        config = Config(precision="float32", **values)
        return fast_paths(
            config, strategy, ALONE, xla=False, images=MANY
        ).engine

    assert engine() == "graph"
    with pytest.raises(UsageError, match="no tf.lite; give graph"):
        engine(trunk_engine="litert")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "projective"),
        ({"xla": True}, "gather"),
        ({"augment_kernel": "gather"}, "gather"),
        ({"augment_kernel": "gather", "xla": True}, "gather"),
        ({"augment_kernel": "projective"}, "projective"),
    ],
    ids=str,
)
def test_the_kernel(given: dict[str, Any], expected: str) -> None:
    assert paths(**given).kernel == expected


@pytest.mark.parametrize(
    ("given", "quick"),
    [
        ({}, True),
        ({"quick_gradients": "on"}, True),
        ({"quick_gradients": "off"}, False),
        ({"trunk_engine": "step", "fold_batch_norm": False}, True),
        ({"xla": True}, False),
        ({"precision": "bfloat16"}, False),
    ],
    ids=str,
)
def test_quick_gradients(given: dict[str, Any], quick: bool) -> None:
    assert paths(**given).quick_gradients is quick


@pytest.mark.parametrize("where", ["xla", "bfloat16", "gpu", "tpu"])
def test_where_there_are_no_quick_gradients(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    given: dict[str, Any] = {"quick_gradients": "on"}
    if where == "gpu":
        monkeypatch.setattr(devices, "all_cpus", lambda strategy: False)
    elif where == "tpu":
        monkeypatch.setattr(strategies, "on_tpu", lambda strategy: True)
    else:
        given |= {"xla": {"xla": True}, "bfloat16": {"precision": where}}[where]
    with pytest.raises(
        UsageError, match="^--quick_gradients=on: .*; give auto"
    ):
        paths(**given)
    # What a run was trained with elsewhere does not matter to its use.
    used = fast_paths(
        Config(**{"precision": "float32", **given} | {"xla": "auto"}),
        strategy_of(1),
        ALONE,
        xla=given.get("xla", False),
        images=FEW,
        training=False,
    )
    assert not used.quick_gradients


def test_all_runs_of_a_process_share_rows() -> None:
    one, two = paths(), paths(MANY, trunk_block=3)
    assert one.cache is two.cache
    assert one.cache is not paths(cache="ram").cache
    assert (one.block, two.block) == (0, 3)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache"),
    ],
)
def test_where_the_cache_is(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert default_cache_dir() == expected


@pytest.mark.parametrize(
    ("trunk", "tail", "augment", "expected"),
    [
        # 2 tail (3 * 4 + 20 + 3 * 10) = 124 tail, for 30 trunk.
        (124, 29, False, True),
        (124, 30, False, False),
        # tail (2 (3 * 4 + 20) + 3 * 10) = 94 tail, for 20 trunk.
        (94, 19, True, True),
        (94, 20, True, False),
        # Nothing behind the later cut: it is the same one.
        (1, 0, False, True),
    ],
)
def test_when_two_stages_share_a_cut(
    trunk: int, tail: int, augment: bool, expected: bool
) -> None:
    work = Work(epochs=3, train=10, validation=4, final=20, augment=augment)
    assert work.shares(trunk, tail) is expected


def test_a_cache_dir_that_is_not_trusted_is_refused(
    tmp_path: pathlib.Path,
) -> None:
    """The error names the flag and the remedy."""
    CacheFolder(str(tmp_path), disk_bytes=1).make()
    (tmp_path / NAME).chmod(0o777)
    config = Config(stage="finetune", cache_dir=str(tmp_path))
    with pytest.raises(UsageError, match=r"^--cache_dir='.*': .* chmod 700"):
        file_cache(config)


def test_a_default_cache_that_is_not_trusted_is_left_out(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    CacheFolder(str(tmp_path), disk_bytes=1).make()
    (tmp_path / NAME).chmod(0o777)
    # Another budget, so that no earlier test has opened it.
    config = Config(stage="finetune", cache_disk_mib=4321)
    for _ in range(2):
        file_cache(config).write({"kind": "test"}, b"content")
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith("warning: nothing is cached on disk: ")
    assert [path.name for path in (tmp_path / NAME).iterdir()] == [
        "CACHEDIR.TAG"
    ]


def test_without_a_home_nothing_is_cached_on_disk(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.chdir(tmp_path)
    file_cache(Config(stage="finetune", cache_disk_mib=4322)).write(
        {"kind": "test"}, b"content"
    )
    said = capsys.readouterr().err
    assert said == (
        "warning: this user has no home folder, so nothing is cached on disk;"
        " give --cache_dir=FOLDER to do so\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_versions_cache_is_named_once(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "0123456789abcdef01234567" / "rows-abcdefgh").mkdir(
        parents=True
    )
    for _ in range(2):
        file_cache(Config(stage="finetune", cache_dir=str(tmp_path)))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"warning: {tmp_path} holds a cache of an earlier version" in said
