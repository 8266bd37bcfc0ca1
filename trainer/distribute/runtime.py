"""The runtime of a run: its devices and processes, and how steps compile."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from trainer.config import Config
from trainer.config.fields import TPU
from trainer.distribute import devices, multi_worker, strategies
from trainer.distribute.processes import Processes
from trainer.distribute.topology import Topology, find_topology
from trainer.distribute.tpu import find_tpu


@dataclasses.dataclass(frozen=True, kw_only=True)
class DevicePlan:
    """The devices that a run will use, before they are set up.

    Attributes:
      topology: the processes of the job.
      strategy_name: one_device, mirrored, multi_worker or tpu.
    """

    topology: Topology
    strategy_name: str

    @property
    def on_tpu(self) -> bool:
        """Whether the run uses a TPU."""
        return self.strategy_name == TPU


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Runtime:
    """The configured devices of a run, and how the step compiles for them.

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
    """Chooses the devices of a run without using them.

    Args:
      config: its `strategy`, `stage`, `gpus`, `tpu` and `xla` are used.
      topology: the processes of the job; None reads the environment.

    Raises:
      UsageError: the requested devices are missing, or the flags contradict
        each other.
    """
    topology = topology or find_topology(config.strategy, config.stage)
    return DevicePlan(
        topology=topology,
        strategy_name=strategies.strategy_name(config, topology),
    )


def make_runtime(
    config: Config, plan: DevicePlan, *, batch_size: int | None = None
) -> Runtime:
    """Sets up the devices, and joins the other processes.

    Call once per run, before TensorFlow uses any device.

    Args:
      config: the configuration of the run.
      plan: the result of `plan_devices`.
      batch_size: the size of the global batch, which must be divisible by the
        number of replicas; None uses that of `config`, 0 skips the check.

    Raises:
      UsageError: the batch size is not divisible; or a GPU does not exist.
      TrainerError: a process of the job did not join; or the TPU is unusable.
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
        accumulate_steps=config.accumulate_steps,
    )
    return Runtime(
        strategy=strategy,
        processes=multi_worker.processes_of(strategy, plan.topology),
        xla=devices.use_xla(config.xla, tpu=tpu or bool(find_tpu())),
        deterministic=devices.use_determinism(config.deterministic, tpu=tpu),
    )
