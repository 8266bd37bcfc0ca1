"""Tests of runs on a TPU, on machines without one.

A CPU stands in for the TPU. The run makes the same decisions as on a TPU. Then
the test compiles the functions that were passed to `strategy.run` with XLA, as
the TPU's runtime would.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tensorflow as tf

from tests.support.photos import make_photos
from tests.support.runs import small, train
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.distribute import devices, strategies
from trainer.errors import UsageError
from trainer.run import training
from trainer.run.use import evaluate

pytestmark = pytest.mark.slow

# 21 photos in steps of 8; the last step is padded.
TINY = {
    "stage": "finetune",
    "backbone_args": "",
    "weights": "none",
    "unfreeze": "last:3",
    "accumulate_steps": 2,
    "clip_global_norm": 1.0,
    "steps_per_loop": 2,
    "cache": "off",
}
# Operations that run only on a host.
HOST_OPS = ("PyFunc", "File", "String", "Decode", "Print", "Assert", "Summary")
NOT_ON_TPU = ("ImageProjectiveTransform",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ran:
    """A function that the replicas ran, and the specs of its arguments."""

    function: Callable[..., Any]
    specs: tuple[Any, ...]


class OneCpuForATpu(tf.distribute.OneDeviceStrategy):
    """Records the functions that it runs."""

    def __init__(self) -> None:
        super().__init__("CPU:0")
        self.ran: list[Ran] = []

    def run(self, fn, args=(), kwargs=None, options=None):
        specs = tf.nest.map_structure(
            lambda t: tf.TensorSpec(t.shape, t.dtype), args
        )
        # Each function once.
        if all(fn is not other.function for other in self.ran):
            self.ran.append(Ran(function=fn, specs=specs))
        return super().run(fn, args, kwargs, options)


@pytest.fixture
def tpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[OneCpuForATpu]:
    use_tiny_backbone(monkeypatch)
    strategy = OneCpuForATpu()
    monkeypatch.setattr(strategies, "find_tpu", lambda: "a stand-in")
    monkeypatch.setattr(strategies, "connect_tpu", lambda name: strategy)
    monkeypatch.setattr(strategies, "on_tpu", lambda s: s is strategy)
    # Earlier tests may have turned it on; on a TPU, auto is off.
    monkeypatch.setattr(devices._Process, "deterministic", False)
    yield strategy
    devices.set_precision("float32")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("photos")
    return make_photos(folder, train=7, test=4)


def nodes_of(function: Any) -> list[Any]:
    """Returns the nodes of a function's graph, called functions included."""
    graph = function.graph.as_graph_def()
    found = list(graph.node)
    for other in graph.library.function:
        found += other.node_def
    return found


def test_a_whole_run_uses_only_functions_that_a_tpu_can_run(
    tpu: OneCpuForATpu,
    photos: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    compiled: list[str] = []
    real = tf.function

    def function(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("jit_compile"):
            # Keras also defines such functions, for grouped convolutions.
            compiled.extend(
                f.__name__ for f in args if f.__module__.startswith("trainer.")
            )
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(tf, "function", function)
        # Even with --xla=on, only the TPU's runtime may compile.
        result = train(photos, tmp_path, **TINY, xla="on")
        given = {"stage": "evaluate", "workdir": str(tmp_path)}
        evaluate(Config(**given), frozenset(given))
    assert compiled == []
    assert result["steps"] == 6
    assert "devices: tpu, 1 replica, " in capsys.readouterr().out
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["config"]["precision"] == "bfloat16"
    now = stored["environment"]
    assert (now["xla"], now["trunk_engine"], now["augment_kernel"]) == (
        "on",
        "step",
        "gather",
    )
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["test_confusion"] == result["test_confusion"]
    # Training and validation of each stage, the final evaluation, whose
    # logits are kept too, and the evaluation by itself.
    names = [ran.function.__qualname__.split(".")[0] for ran in tpu.ran]
    assert names == [
        "ReplicaStep",
        "make_evaluation_function",
        "ReplicaStep",
        "make_evaluation_function",
        "make_evaluation_function",
        "make_evaluation_function",
    ]
    for ran in tpu.ran:
        assert_a_tpu_can_run(tpu, ran)


def assert_a_tpu_can_run(strategy: OneCpuForATpu, ran: Ran) -> None:
    """Checks that shapes are static, and that XLA compiles all operations."""
    specs = tf.nest.flatten(ran.specs)
    assert specs
    for spec in specs:
        assert spec.shape.is_fully_defined(), spec
        assert spec.dtype in (tf.float32, tf.int32), spec

    def whole(*args: Any) -> Any:
        return tf.distribute.OneDeviceStrategy.run(strategy, ran.function, args)

    plain = tf.function(whole).get_concrete_function(*ran.specs)
    nodes = nodes_of(plain)
    assert not any(node.attr["_XlaMustCompile"].b for node in nodes)
    assert any("Conv2D" in node.op for node in nodes)
    for node in nodes:
        assert not any(name in node.op for name in (*HOST_OPS, *NOT_ON_TPU)), (
            node.op,
            node.name,
        )
        types = {a.type for a in node.attr.values() if a.type}
        assert tf.string.as_datatype_enum not in types, node.name
        assert tf.float64.as_datatype_enum not in types, node.name
    # Compile and run the function, which also updates variables.
    concrete = tf.function(whole, jit_compile=True).get_concrete_function(
        *ran.specs
    )
    concrete(*[tf.zeros(spec.shape, spec.dtype) for spec in specs])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"xla": "off"}, "--xla=off: not possible on a TPU"),
        (
            {"augment_kernel": "projective"},
            "--augment_kernel=projective: a TPU cannot run it; give gather",
        ),
        (
            {"trunk_engine": "graph", "precision": "float32"},
            "--trunk_engine=graph: not possible here: a TPU computes the whole"
            " step (--strategy); give auto or step",
        ),
    ],
)
def test_flags_that_a_tpu_does_not_support_are_refused(
    tpu: OneCpuForATpu,
    photos: str,
    tmp_path: pathlib.Path,
    flags: dict[str, Any],
    message: str,
) -> None:
    fields = {**small(photos, tmp_path / "run"), **TINY, **flags}
    with pytest.raises(UsageError) as error:
        training.train(Config(**fields))
    assert str(error.value).startswith(message)
