"""The fast paths of a run, by its flags, devices and size."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

from tests.support.classifiers import tiny_classifier
from tests.support.replicas import strategy_of
from trainer.config import Config
from trainer.distribute import devices, strategies
from trainer.distribute.processes import ALONE, Processes
from trainer.distribute.runtime import Runtime
from trainer.errors import UsageError
from trainer.model.freeze import freeze_plan
from trainer.run.fast_paths import FastPaths, StageWork, fast_paths

FEW, MANY = 10, 10_000


def runtime_of(*, xla: bool = False, processes: Processes = ALONE) -> Runtime:
    return Runtime(
        strategy=strategy_of(1),
        processes=processes,
        xla=xla,
        deterministic=True,
    )


def test_float16_needs_features() -> None:
    """Training is refused, also if the run began with features."""
    for earlier in (None, "graph", "step"):
        with pytest.raises(
            UsageError, match=r"^--feature_dtype=float16: here the step"
        ):
            paths(feature_dtype="float16", trunk_engine="step", earlier=earlier)
    used = fast_paths(
        Config(
            feature_dtype="float16", trunk_engine="step", precision="float32"
        ),
        runtime_of(),
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
        runtime_of(xla=xla),
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
        # On the devices of the step, unless the run began with the step.
        ({"images": MANY, "xla": True}, "device"),
        ({"earlier": "graph", "xla": True}, "device"),
        ({"earlier": "step", "xla": True}, "step"),
        ({"precision": "bfloat16"}, "device"),
        ({"precision": "bfloat16", "earlier": "step"}, "step"),
        ({"trunk_engine": "step", "xla": True}, "step"),
        ({"trunk_engine": "device"}, "device"),
        ({"earlier": "device", "images": MANY}, "device"),
    ],
    ids=str,
)
def test_the_engine_chosen_by_flags_and_devices(
    given: dict[str, Any], expected: str
) -> None:
    assert paths(**given).engine == expected


def test_an_accelerator_runs_the_frozen_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "all_cpus", lambda strategy: False)
    assert paths(MANY).engine == "device"
    with pytest.raises(
        UsageError, match="it runs on CPUs only; give auto, device or step"
    ):
        paths(trunk_engine="graph")


def test_a_tpu_uses_the_step_and_gather(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(strategies, "on_tpu", lambda strategy: True)
    for tpu in (None, "local"):
        found = paths(MANY, tpu=tpu, cache="ram")
        assert (found.engine, found.kernel) == ("step", "gather")
        assert found.cache is paths(cache="ram").cache
    # The host of one on the network cannot call this process's Python.
    assert paths(tpu="node-1", cache="ram").cache is paths(cache="off").cache
    for engine in ("litert", "device"):
        with pytest.raises(UsageError, match="a TPU computes the whole step"):
            paths(trunk_engine=engine)
    with pytest.raises(UsageError, match="a TPU cannot run it; give gather"):
        paths(augment_kernel="projective")


def test_tensorflow_without_lite_uses_the_graph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime = runtime_of()
    lacking = type(
        "tensorflow", (), {"distribute": tf.distribute, "config": tf.config}
    )
    monkeypatch.setattr("trainer.run.engine_choice.tf", lacking)

    def engine(**values: Any) -> str:
        config = Config(precision="float32", **values)
        return fast_paths(config, runtime, images=MANY).engine

    assert engine() == "graph"
    with pytest.raises(UsageError, match=r"no tf.lite; give graph"):
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
def test_the_warp_kernel_chosen_by_flags_and_xla(
    given: dict[str, Any], expected: str
) -> None:
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
def test_quick_gradients_need_float32_without_xla(
    given: dict[str, Any], quick: bool
) -> None:
    assert paths(**given).quick_gradients is quick


@pytest.mark.parametrize("where", ["xla", "bfloat16", "gpu", "tpu"])
def test_quick_gradients_are_refused_without_support(
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
        UsageError, match=r"^--quick_gradients=on: .*; give auto"
    ):
        paths(**given)
    # What a run was trained with elsewhere does not matter to its use.
    used = fast_paths(
        Config(**{"precision": "float32", **given} | {"xla": "auto"}),
        runtime_of(xla=given.get("xla", False)),
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
    ("trunk", "tail", "augment", "expected"),
    [
        # 2 tail (3 * 4 + 20 + 3 * 10) = 124 tail, for 30 trunk.
        (124, 29, False, True),
        (124, 30, False, False),
        # tail (2 (3 * 4 + 20) + 3 * 10) = 94 tail, for 20 trunk.
        (94, 19, True, True),
        (94, 20, True, False),
        # No layer lies between the two cuts: they are equal.
        (1, 0, False, True),
    ],
)
def test_when_two_stages_share_a_cut(
    trunk: int, tail: int, augment: bool, expected: bool
) -> None:
    work = StageWork(
        epochs=3, train=10, validation=4, final=20, augment=augment
    )
    assert work.shares(trunk, tail) is expected


@pytest.mark.parametrize(
    ("unfreeze", "images", "values", "whole"),
    [
        ("all", 2000, {}, True),
        ("all", 1999, {}, False),
        ("last:3", 2000, {}, False),
        ("all", 2000, {"trunk_engine": "graph"}, False),
        ("all", 2000, {"feature_dtype": "float16"}, False),
    ],
)
def test_the_plan_of_a_test(
    unfreeze: str, images: int, values: dict[str, Any], whole: bool
) -> None:
    """LiteRT tests a model without frozen layers, if it pays."""
    classifier = tiny_classifier()
    plan = freeze_plan(classifier, unfreeze)
    found = paths(MANY, **values).plan_of_test(classifier, plan, images=images)
    expected = freeze_plan(classifier, "none") if whole else plan
    assert found.trainable == expected.trainable
