"""The runtime of a run: its devices, its processes, and how steps compile."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from trainer.config import Config
from trainer.config.fields import TPU
from trainer.distribute import devices, multi_worker, strategies
from trainer.distribute.processes import Processes
from trainer.distribute.topology import Topology, find_topology


@dataclasses.dataclass(frozen=True, kw_only=True)
class DevicePlan:
    """The devices that a run will use. Nothing is set up yet.

    Attributes:
      topology: the processes of the job.
      strategy_name: one_device, mirrored, multi_worker or tpu.
    """

    topology: Topology
    strategy_name: str

    @property
    def on_tpu(self) -> bool:
        """Whether a TPU trains."""
        return self.strategy_name == TPU


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Runtime:
    """The devices of a run, set up, and how the step is compiled for them.

    Attributes:
      strategy: creates the variables and runs the step on every replica.
      processes: the processes of the job.
      xla: whether to set jit_compile; always False on a TPU.
      deterministic: whether operations repeat bit for bit.
    """

    strategy: tf.distribute.Strategy
    processes: Processes
    xla: bool
    deterministic: bool

    @property
    def on_tpu(self) -> bool:
        """Whether the replicas are the cores of a TPU."""
        return strategies.on_tpu(self.strategy)

    @property
    def compiled(self) -> bool:
        """Whether the step is compiled, by XLA or by the TPU's runtime."""
        return self.xla or self.on_tpu


def plan_devices(
    config: Config, topology: Topology | None = None
) -> DevicePlan:
    """Chooses the devices of a run; uses none of them.

    Args:
      config: `strategy`, `stage`, `gpus`, `tpu` and `xla` decide.
      topology: the processes of the job; None reads the environment.

    Raises:
      UsageError: the devices asked for are missing, or the flags contradict
        each other.
    """
    topology = topology or find_topology(config.strategy, config.stage)
    return DevicePlan(
        topology=topology, strategy_name=strategies.kind_of(config, topology)
    )


def make_runtime(
    config: Config, plan: DevicePlan, *, batch_size: int | None = None
) -> Runtime:
    """Sets up the devices, and joins the other processes.

    Call once per run, before TensorFlow uses any device.

    Args:
      config: of the run.
      plan: from `plan_devices`.
      batch_size: the global batch that the replicas share evenly; None takes
        the one of `config`, 0 checks nothing.

    Raises:
      UsageError: the batch cannot be shared evenly; there is no such GPU.
      TrainerError: a process of the job did not join; the TPU is unusable.
    """
    tpu = plan.on_tpu
    devices.configure(
        config.logical_cpus, config.deterministic, config.gpus, tpu=tpu
    )
    strategy = strategies.make_strategy(
        plan.strategy_name,
        config.batch_size if batch_size is None else batch_size,
        config.logical_cpus,
        plan.topology,
        tpu=config.tpu,
        parts=config.accumulate_steps,
    )
    return Runtime(
        strategy=strategy,
        processes=multi_worker.processes_of(strategy, plan.topology),
        xla=devices.use_xla(config.xla, tpu=tpu or bool(strategies.find_tpu())),
        deterministic=devices.use_determinism(config.deterministic, tpu=tpu),
    )
