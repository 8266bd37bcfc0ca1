"""Which strategy a run takes, and what is answered where there is none."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import tensorflow as tf

from trainer.config import Config
from trainer.distribute import devices, strategies
from trainer.distribute.processes import ALONE
from trainer.distribute.topology import Topology
from trainer.errors import TrainerError, UsageError

NO_GPUS = pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")), reason="for CPUs alone"
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
    """What is chosen on a machine with so many GPUs and perhaps a TPU."""
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
        # Several CPUs are for trying things out: only when asked for.
        ({"logical_cpus": 2}, "one_device"),
        ({"tpu": True}, "tpu"),
        ({"tpu": True, "gpus": 8}, "tpu"),
        ({"tpu": True, "strategy": "tpu"}, "tpu"),
        ({"tpu": True, "strategy": "one_device"}, "one_device"),
        ({"tpu": True, "strategy": "mirrored"}, "mirrored"),
        ({"tpu": True, "xla": "on"}, "tpu"),
        # Of one process multi_worker does what auto does, GPUs alone.
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
def test_the_choice(given: dict[str, Any], expected: str) -> None:
    assert choice(**given) == expected


@pytest.mark.parametrize(
    ("flags", "tpu", "expected"),
    [
        # Without evidence here; whether it is there only the network knows.
        ({"tpu": "node-1"}, False, "tpu"),
        ({"tpu": "node-1", "strategy": "tpu"}, False, "tpu"),
        ({"tpu": "local"}, True, "tpu"),
        # Who names GPUs wants GPUs.
        ({"gpus": "0,1"}, True, "mirrored"),
    ],
    ids=str,
)
def test_the_choice_of_one_by_name(
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
            "--strategy=auto: TF_CONFIG names 2 processes, and one process uses"
            " a TPU; give --strategy=tpu, or multi_worker to do without the"
            " TPU",
        ),
        (
            {"xla": "off"},
            True,
            Topology(),
            f"--xla=off: not possible on a TPU ({EVIDENCE}), whose runtime"
            " always compiles; give --xla=auto, or --strategy=one_device to do"
            " without the TPU",
        ),
    ],
)
def test_what_cannot_be_chosen(
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
        # JAX with TPU support on a laptop; another accelerator; a shell that
        # has the variables of a TPU VM.
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
def test_evidence_of_a_tpu(facts: dict[str, Any], expected: str) -> None:
    nothing = {"listed": 0, "libtpu": False, "files": [], "environment": {}}
    assert strategies.tpu_evidence(**{**nothing, **facts}) == expected


@NO_GPUS
def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no network is asked."""

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", fail)
    assert strategies.find_tpu() == ""
    assert strategies.kind_of(Config(), Topology()) == "one_device"
    two = Config(gpus="0,1")
    assert strategies.kind_of(two, Topology()) == "mirrored"


@NO_GPUS
@pytest.mark.parametrize(
    ("kind", "logical_cpus", "made", "names"),
    [
        ("one_device", 1, tf.distribute.OneDeviceStrategy, ["CPU:0"]),
        ("one_device", 2, tf.distribute.OneDeviceStrategy, ["CPU:0"]),
        ("mirrored", 1, tf.distribute.MirroredStrategy, ["CPU:0"]),
        ("mirrored", 2, tf.distribute.MirroredStrategy, ["CPU:0", "CPU:1"]),
    ],
)
def test_strategies(
    kind: str, logical_cpus: int, made: type, names: list[str]
) -> None:
    strategy = strategies.make_strategy(kind, 8, logical_cpus)
    assert isinstance(strategy, made)
    assert strategy.num_replicas_in_sync == len(names)
    found = [
        d.rpartition("device:")[2] for d in strategy.extended.worker_devices
    ]
    assert found == names
    line = strategies.strategy_line(strategy, ALONE)
    assert line.startswith(f"{kind}, {len(names)} replica")
    assert line.endswith(names[-1])
    named = strategies.strategy_line(strategy, ALONE, "2,3")
    assert named == f"{line} (--gpus=2,3)"


@NO_GPUS
def test_the_runs_of_a_process_share_a_mirrored_strategy() -> None:
    first = strategies.make_strategy("mirrored", 8, 2)
    assert strategies.make_strategy("mirrored", 4, 2) is first
    assert strategies.make_strategy("mirrored", 4, 1) is not first


@NO_GPUS
@pytest.mark.parametrize("batch_size", [1, 7, 33])
def test_a_batch_that_cannot_be_shared_evenly(batch_size: int) -> None:
    with pytest.raises(UsageError) as error:
        strategies.make_strategy("mirrored", batch_size, 2)
    assert str(error.value) == (
        f"--batch_size={batch_size}: not divisible by the 2 replicas that"
        " share it; give a multiple of 2, or --strategy=one_device"
    )
    one = strategies.make_strategy("one_device", batch_size, 2)
    assert one.num_replicas_in_sync == 1


@NO_GPUS
def test_a_share_that_cannot_be_taken_in_equal_parts() -> None:
    assert strategies.make_strategy("mirrored", 12, 2, parts=3)
    with pytest.raises(UsageError) as error:
        strategies.make_strategy("mirrored", 12, 2, parts=4)
    assert str(error.value) == (
        "--batch_size=12: not divisible by the 2 replicas that share it in 4"
        " parts each (--accumulate_steps); give a multiple of 8, or"
        " --strategy=one_device"
    )


class FakeTpu:
    """TensorFlow's side of a TPU; notes what is called, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: str = ""):
        self.calls: list[tuple[str, Any]] = []
        self.fails = fails
        strategies._tpu.cache_clear()
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
    strategies._tpu.cache_clear()


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
def test_a_tpu_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    FakeTpu(monkeypatch, fails=step)
    with pytest.raises(TrainerError) as error:
        strategies.make_strategy("tpu", 8)
    assert str(error.value) == (
        "--tpu=local: cannot be used (no TPU); see that no other process"
        " holds it and that tensorflow-tpu fits its libtpu (BUILD.md), or give"
        " --strategy=one_device"
    )


def test_a_tpu_whose_address_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    # Nobody listens there any more.
    with pytest.raises(TrainerError, match="cannot be used .*refused"):
        strategies.make_strategy("tpu", 8, tpu=f"grpc://127.0.0.1:{port}")


def test_tensorflows_own_answer_where_there_is_no_tpu() -> None:
    """Through all of the real calls."""
    with pytest.raises(TrainerError, match="--tpu=local: cannot be used"):
        strategies.make_strategy("tpu", 8)
    # And the process is as it was.
    assert devices.all_cpus(strategies.make_strategy("one_device", 8))
