"""Tests of the choice of a strategy, and of errors if it is impossible."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import tensorflow as tf

from trainer.config import Config
from trainer.distribute import devices, strategies, tpu
from trainer.distribute.processes import ALONE
from trainer.distribute.topology import Topology
from trainer.errors import TrainerError, UsageError

NO_GPUS = pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")),
    reason="this machine has a GPU",
)
SEVERAL = Topology(index=1, count=2, source="TF_CONFIG")
EVIDENCE = "TensorFlow lists 8 TPU devices"


def choice(
    *,
    gpus: int = 0,
    tpu: bool = False,
    topology: Topology = Topology(),  # noqa: B008, frozen
    **flags: Any,
) -> str:
    """Returns the choice on a machine with some GPUs and perhaps a TPU."""
    return strategies.choose(
        Config(**flags),
        topology,
        gpus=gpus,
        evidence=EVIDENCE if tpu else "",
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "one_device"),
        ({"gpus": 1}, "one_device"),
        ({"gpus": 2}, "mirrored"),
        ({"gpus": 2, "strategy": "one_device"}, "one_device"),
        ({"gpus": 1, "strategy": "mirrored"}, "mirrored"),
        ({"strategy": "mirrored"}, "mirrored"),
        # Several CPU devices are used only on request.
        ({"logical_cpus": 2}, "one_device"),
        ({"tpu": True}, "tpu"),
        ({"tpu": True, "gpus": 8}, "tpu"),
        ({"tpu": True, "strategy": "tpu"}, "tpu"),
        ({"tpu": True, "strategy": "one_device"}, "one_device"),
        ({"tpu": True, "strategy": "mirrored"}, "mirrored"),
        ({"tpu": True, "xla": "on"}, "tpu"),
        # With one process, multi_worker acts like auto without a TPU.
        ({"strategy": "multi_worker", "gpus": 2}, "mirrored"),
        ({"strategy": "multi_worker"}, "one_device"),
        ({"topology": SEVERAL}, "multi_worker"),
        ({"topology": SEVERAL, "gpus": 4}, "multi_worker"),
        ({"topology": SEVERAL, "strategy": "multi_worker"}, "multi_worker"),
        (
            {"topology": SEVERAL, "strategy": "multi_worker", "tpu": True},
            "multi_worker",
        ),
    ],
    ids=str,
)
def test_flags_and_machine_decide_the_strategy(
    given: dict[str, Any], expected: str
) -> None:
    assert choice(**given) == expected


@pytest.mark.parametrize(
    ("flags", "tpu", "expected"),
    [
        # A TPU on the network leaves no evidence in this machine.
        ({"tpu": "node-1"}, False, "tpu"),
        ({"tpu": "node-1", "strategy": "tpu"}, False, "tpu"),
        ({"tpu": "local"}, True, "tpu"),
        # --gpus rules out the TPU.
        ({"gpus": "0,1"}, True, "mirrored"),
    ],
    ids=str,
)
def test_a_named_device_decides_the_strategy(
    flags: dict[str, Any], tpu: bool, expected: str
) -> None:
    found = strategies.choose(
        Config(**flags), Topology(), gpus=2, evidence=EVIDENCE if tpu else ""
    )
    assert found == expected


@pytest.mark.parametrize(
    ("flags", "tpu", "topology", "message"),
    [
        (
            {"strategy": "tpu"},
            False,
            Topology(),
            f"--strategy=tpu: TensorFlow {tf.__version__} sees no TPU in this"
            " machine; on a TPU VM install tensorflow-tpu with its libtpu"
            " (BUILD.md), elsewhere give --strategy=auto",
        ),
        (
            {"tpu": "local"},
            False,
            Topology(),
            f"--tpu=local: TensorFlow {tf.__version__} sees no TPU in this"
            " machine; on a TPU VM install tensorflow-tpu with its libtpu"
            " (BUILD.md), elsewhere give --strategy=auto",
        ),
        (
            {},
            True,
            SEVERAL,
            "--strategy=auto: TF_CONFIG names 2 processes, but a TPU is used by"
            " one process; give --strategy=tpu, or --strategy=multi_worker to"
            " train without the TPU",
        ),
        (
            {"xla": "off"},
            True,
            Topology(),
            f"--xla=off: not possible on a TPU ({EVIDENCE}), which always"
            " compiles; give --xla=auto, or --strategy=one_device to train"
            " without the TPU",
        ),
    ],
)
def test_an_impossible_choice_is_a_usage_error(
    flags: dict[str, Any], tpu: bool, topology: Topology, message: str
) -> None:
    with pytest.raises(UsageError) as error:
        strategies.choose(
            Config(**flags),
            topology,
            gpus=0,
            evidence=EVIDENCE if tpu else "",
        )
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, ""),
        ({"listed": 8}, EVIDENCE),
        # Not sufficient: JAX with TPU support on a laptop; another accelerator;
        # the variables of a TPU VM.
        ({"libtpu": True}, ""),
        ({"files": ["/dev/accel0"]}, ""),
        ({"environment": {"TPU_NAME": "local"}}, ""),
        ({"libtpu": True, "files": ["/dev/vfio/0"]}, ""),
        (
            {
                "libtpu": True,
                "files": ["/dev/accel0"],
                "environment": {"TPU_WORKER_ID": "0"},
            },
            "libtpu, /dev/accel0, TPU_WORKER_ID",
        ),
    ],
    ids=str,
)
def test_a_tpu_needs_more_than_one_sign(
    facts: dict[str, Any], expected: str
) -> None:
    nothing = {"listed": 0, "libtpu": False, "files": [], "environment": {}}
    assert tpu.tpu_evidence(**{**nothing, **facts}) == expected


@NO_GPUS
def test_the_choice_for_this_machine_uses_no_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", fail)
    assert tpu.find_tpu() == ""
    assert strategies.strategy_name(Config(), Topology()) == "one_device"
    two = Config(gpus="0,1")
    assert strategies.strategy_name(two, Topology()) == "mirrored"


@NO_GPUS
@pytest.mark.parametrize(
    ("name", "logical_cpus", "made", "devices_used"),
    [
        ("one_device", 1, tf.distribute.OneDeviceStrategy, ["CPU:0"]),
        ("one_device", 2, tf.distribute.OneDeviceStrategy, ["CPU:0"]),
        ("mirrored", 1, tf.distribute.MirroredStrategy, ["CPU:0"]),
        ("mirrored", 2, tf.distribute.MirroredStrategy, ["CPU:0", "CPU:1"]),
    ],
)
def test_a_strategy_uses_the_devices_and_names_them(
    name: str, logical_cpus: int, made: type, devices_used: list[str]
) -> None:
    strategy = strategies.make_strategy(name, 8, logical_cpus)
    assert isinstance(strategy, made)
    assert strategy.num_replicas_in_sync == len(devices_used)
    found = [
        d.rpartition("device:")[2] for d in strategy.extended.worker_devices
    ]
    assert found == devices_used
    line = strategies.strategy_line(strategy, ALONE)
    assert line.startswith(f"{name}, {len(devices_used)} replica")
    assert line.endswith(devices_used[-1])
    named = strategies.strategy_line(strategy, ALONE, "2,3")
    assert named == f"{line} (--gpus=2,3)"


@NO_GPUS
def test_runs_of_a_process_share_a_mirrored_strategy() -> None:
    first = strategies.make_strategy("mirrored", 8, 2)
    assert strategies.make_strategy("mirrored", 4, 2) is first
    assert strategies.make_strategy("mirrored", 4, 1) is not first


@NO_GPUS
@pytest.mark.parametrize("batch_size", [1, 7, 33])
def test_a_batch_that_replicas_cannot_share_is_rejected(
    batch_size: int,
) -> None:
    with pytest.raises(UsageError) as error:
        strategies.make_strategy("mirrored", batch_size, 2)
    assert str(error.value) == (
        f"--batch_size={batch_size}: not divisible by the 2 replicas that"
        " share it; give a multiple of 2, or --strategy=one_device"
    )
    one = strategies.make_strategy("one_device", batch_size, 2)
    assert one.num_replicas_in_sync == 1


@NO_GPUS
def test_a_share_that_parts_cannot_divide_is_rejected() -> None:
    assert strategies.make_strategy("mirrored", 12, 2, accumulate_steps=3)
    with pytest.raises(UsageError) as error:
        strategies.make_strategy("mirrored", 12, 2, accumulate_steps=4)
    assert str(error.value) == (
        "--batch_size=12: not divisible by the 2 replicas that share it in 4"
        " parts each (--accumulate_steps); give a multiple of 8, or"
        " --strategy=one_device"
    )


class FakeTpu:
    """Replaces TensorFlow's TPU functions, and records the calls in order."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, fails: str = ""
    ) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.fails = fails
        tpu.connect_tpu.cache_clear()
        monkeypatch.setattr(
            tf.distribute.cluster_resolver,
            "TPUClusterResolver",
            lambda tpu: self._note("resolve", tpu),
        )
        monkeypatch.setattr(
            tf.config,
            "experimental_connect_to_cluster",
            lambda resolver: self._note("connect", resolver),
        )
        monkeypatch.setattr(
            tf.tpu.experimental,
            "initialize_tpu_system",
            lambda resolver: self._note("initialize", resolver),
        )
        monkeypatch.setattr(
            tf.distribute, "TPUStrategy", lambda r: self._note("strategy", r)
        )

    def _note(self, name: str, value: Any) -> Any:
        if name == self.fails:
            raise tf.errors.NotFoundError(None, None, "no TPU\nAnd more.")
        self.calls.append((name, value))
        if name == "strategy":
            return tf.distribute.OneDeviceStrategy("CPU:0")
        return f"{name}d {value}"


@pytest.fixture(autouse=True)
def forget_tpus() -> Any:
    yield
    tpu.connect_tpu.cache_clear()


@pytest.mark.parametrize(
    ("asked", "name"), [(None, "local"), ("local", "local"), ("n1", "n1")]
)
def test_a_tpu_is_connected_and_initialized_once(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, name: str
) -> None:
    fake = FakeTpu(monkeypatch)
    first = strategies.make_strategy("tpu", 8, tpu=asked)
    assert strategies.make_strategy("tpu", 16, tpu=asked) is first
    resolver = f"resolved {name}"
    assert fake.calls == [
        ("resolve", name),
        ("connect", resolver),
        ("initialize", resolver),
        ("strategy", resolver),
    ]


@pytest.mark.parametrize("step", ["resolve", "connect", "initialize"])
def test_an_unusable_tpu_is_a_one_line_error(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    FakeTpu(monkeypatch, fails=step)
    with pytest.raises(TrainerError) as error:
        strategies.make_strategy("tpu", 8)
    assert str(error.value) == (
        "--tpu=local: cannot be used (no TPU); check that no other process"
        " holds it and that tensorflow-tpu fits its libtpu (BUILD.md), or give"
        " --strategy=one_device"
    )


def test_a_tpu_address_that_does_not_answer_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    # The port is closed again.
    with pytest.raises(TrainerError, match=r"cannot be used .*refused"):
        strategies.make_strategy("tpu", 8, tpu=f"grpc://127.0.0.1:{port}")


def test_a_missing_tpu_is_an_error_of_tensorflow() -> None:
    """Uses the real functions of TensorFlow."""
    with pytest.raises(TrainerError, match="--tpu=local: cannot be used"):
        strategies.make_strategy("tpu", 8)
    # The process still works.
    assert devices.all_cpus(strategies.make_strategy("one_device", 8))
