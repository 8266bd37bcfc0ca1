"""Strategies by name, and what is answered to a batch they cannot share."""

from __future__ import annotations

import json
import os

import keras
import pytest
import tensorflow as tf

from trainer import devices
from trainer.errors import UsageError
from trainer.processes import ALONE

NO_GPUS = pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")), reason="for CPUs alone"
)


@NO_GPUS
@pytest.mark.parametrize(
    ("name", "logical_cpus", "kind", "names"),
    [
        ("auto", 1, tf.distribute.OneDeviceStrategy, ["CPU:0"]),
        # Several CPUs are for trying things out: only when asked for.
        ("auto", 2, tf.distribute.OneDeviceStrategy, ["CPU:0"]),
        ("one_device", 2, tf.distribute.OneDeviceStrategy, ["CPU:0"]),
        ("mirrored", 1, tf.distribute.MirroredStrategy, ["CPU:0"]),
        ("mirrored", 2, tf.distribute.MirroredStrategy, ["CPU:0", "CPU:1"]),
    ],
)
def test_strategies(name, logical_cpus, kind, names):
    strategy = devices.make_strategy(name, 8, logical_cpus)
    assert isinstance(strategy, kind)
    assert strategy.num_replicas_in_sync == len(names)
    found = [
        d.rpartition("device:")[2] for d in strategy.extended.worker_devices
    ]
    assert found == names


@NO_GPUS
def test_the_runs_of_a_process_share_a_mirrored_strategy():
    first = devices.make_strategy("mirrored", 8, 2)
    assert devices.make_strategy("mirrored", 4, 2) is first
    assert devices.make_strategy("mirrored", 4, 1) is not first


@NO_GPUS
@pytest.mark.parametrize("batch_size", [1, 7, 33])
def test_a_batch_that_cannot_be_shared_evenly(batch_size):
    with pytest.raises(UsageError) as error:
        devices.make_strategy("mirrored", batch_size, 2)
    assert str(error.value) == (
        f"--batch_size={batch_size}: not divisible by the 2 replicas that"
        " share it; give a multiple of 2, or --strategy=one_device"
    )
    one = devices.make_strategy("one_device", batch_size, 2)
    assert one.num_replicas_in_sync == 1


@pytest.mark.parametrize("gpus", [0, 1])
@pytest.mark.parametrize("xla", ["auto", "on", "off"])
def test_use_xla(monkeypatch, xla, gpus):
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: ["GPU:0"] * gpus
    )
    expected = {"auto": gpus > 0, "on": True, "off": False}[xla]
    assert devices.use_xla(xla) is expected


@pytest.mark.parametrize(
    ("precision", "compute"),
    [("float32", "float32"), ("bfloat16", "bfloat16")],
)
def test_set_precision(precision, compute):
    try:
        devices.set_precision(precision)
        layer = keras.layers.Dense(2)
        layer.build((None, 3))
        assert layer.compute_dtype == compute
        assert layer.kernel.dtype == "float32"
    finally:
        devices.set_precision("float32")


def test_no_more_devices_once_the_process_runs():
    tf.config.list_logical_devices()
    devices.configure(logical_cpus=1)
    devices.configure(logical_cpus=2)
    with pytest.raises(UsageError) as error:
        devices.configure(logical_cpus=3)
    assert str(error.value) == (
        "--logical_cpus=3: this process already runs with 2; start a new one"
    )


@NO_GPUS
@pytest.mark.parametrize(("name", "replicas"), [("auto", 1), ("mirrored", 2)])
def test_environment_is_json_and_knows_the_replicas(name, replicas):
    found = devices.environment(devices.make_strategy(name, 8, 2), ALONE)
    assert json.loads(json.dumps(found)) == found
    assert found["replicas"] == len(found["devices"]) == replicas
    assert found["tensorflow"].startswith(f"{tf.__version__} (")
    # What gradients were seen to depend on: the processor, and how many
    # threads TensorFlow may make of it.
    assert found["processor"]
    assert 1 <= found["cpu_count"] <= os.cpu_count()
