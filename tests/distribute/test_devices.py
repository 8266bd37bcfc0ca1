"""Tests of the configuration of devices and the facts about a machine."""

from __future__ import annotations

import json
import os

import keras
import pytest
import tensorflow as tf

from tests.support.determinism import undone
from trainer.distribute import devices, strategies
from trainer.distribute.processes import ALONE
from trainer.errors import UsageError

NO_GPUS = pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")),
    reason="this machine has a GPU",
)


@pytest.mark.parametrize("gpus", [0, 1])
@pytest.mark.parametrize("xla", ["auto", "on", "off"])
def test_auto_xla_is_on_with_gpus(monkeypatch, xla, gpus):
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: ["GPU:0"] * gpus
    )
    expected = {"auto": gpus > 0, "on": True, "off": False}[xla]
    assert devices.use_xla(xla) is expected
    # Never on a TPU, whose runtime always compiles.
    assert devices.use_xla(xla, tpu=True) is False


@pytest.mark.parametrize(
    ("precision", "compute"),
    [("float32", "float32"), ("bfloat16", "bfloat16")],
)
def test_set_precision_leaves_variables_in_float32(precision, compute):
    try:
        devices.set_precision(precision)
        layer = keras.layers.Dense(2)
        layer.build((None, 3))
        assert layer.compute_dtype == compute
        assert layer.kernel.dtype == "float32"
    finally:
        devices.set_precision("float32")


def test_a_running_process_cannot_get_more_devices():
    tf.config.list_logical_devices()
    devices.configure(logical_cpus=1)
    devices.configure(logical_cpus=2)
    with pytest.raises(UsageError) as error:
        devices.configure(logical_cpus=3)
    assert str(error.value) == (
        "--logical_cpus=3: this process already runs with 2; start a new one"
    )


class Gpus:
    """A machine with GPUs, some of them visible to TensorFlow."""

    def __init__(self, monkeypatch, count, *, running=False):
        self.all = [f"GPU:{n}" for n in range(count)]
        self.visible = self.all
        self.growing = []
        self._running = running
        monkeypatch.setattr(tf.config, "list_physical_devices", self._list)
        monkeypatch.setattr(tf.config, "set_visible_devices", self._show)
        monkeypatch.setattr(
            tf.config,
            "get_visible_devices",
            lambda kind: self.visible if kind == "GPU" else [],
        )
        monkeypatch.setattr(
            tf.config.experimental,
            "set_memory_growth",
            lambda gpu, on: self.growing.append((gpu, on)),
        )

    def _list(self, kind):
        return self.all if kind == "GPU" else ["CPU:0"]

    def _show(self, found, kind):
        assert kind == "GPU"
        if self._running:
            raise RuntimeError("cannot be modified after being initialized")
        self.visible = found


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        (None, ["GPU:0", "GPU:1", "GPU:2"]),
        ("1", ["GPU:1"]),
        ("2,0", ["GPU:2", "GPU:0"]),
        (" 0, 1 ", ["GPU:0", "GPU:1"]),
    ],
)
def test_only_the_given_gpus_are_visible_and_grow(monkeypatch, asked, seen):
    gpus = Gpus(monkeypatch, 3)
    with undone():
        devices.configure(1, "off", asked)
    assert gpus.visible == seen
    assert gpus.growing == [(name, True) for name in seen]


@pytest.mark.parametrize(
    ("count", "asked", "running", "message"),
    [
        (
            0,
            "0",
            False,
            "--gpus=0: TensorFlow sees no GPU in this machine; leave the flag"
            " out to use the CPU, or install the '[cuda]' extra (BUILD.md)",
        ),
        (
            2,
            "1,2",
            False,
            "--gpus=1,2: this machine has no GPU 2; give some of 0, 1",
        ),
        (
            2,
            "1",
            True,
            "--gpus=1: this process already uses other GPUs; start a new one",
        ),
    ],
)
def test_missing_or_late_gpus_are_rejected(
    monkeypatch, count, asked, running, message
):
    Gpus(monkeypatch, count, running=running)
    with pytest.raises(UsageError) as error:
        devices.configure(1, "off", asked)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("gpus", "tpu", "deterministic"),
    [(0, False, True), (1, False, False), (0, True, False)],
)
def test_auto_determinism_is_on_with_cpus_alone(
    monkeypatch, gpus, tpu, deterministic
):
    Gpus(monkeypatch, gpus)
    assert devices.use_determinism("auto", tpu=tpu) is deterministic
    assert devices.use_determinism("on", tpu=tpu) is True
    assert devices.use_determinism("off", tpu=tpu) is False


@NO_GPUS
@pytest.mark.parametrize(
    ("name", "replicas"), [("one_device", 1), ("mirrored", 2)]
)
def test_environment_is_json_and_counts_the_replicas(name, replicas):
    found = devices.environment(strategies.make_strategy(name, 8, 2), ALONE)
    assert json.loads(json.dumps(found)) == found
    assert found["replicas"] == len(found["devices"]) == replicas
    assert found["tensorflow"].startswith(f"{tf.__version__} (")
    # Gradients depend on the processor and on the number of threads.
    assert found["processor"]
    assert 1 <= found["cpu_count"] <= os.cpu_count()
