"""What a workdir holds after training: a classifier to evaluate and to use."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from trainer import devices, multi_worker, strategies
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.fast_paths import fast_paths
from trainer.fields import (
    AUTO,
    EVALUATE,
    EXPORT,
    FEATURE_EXTRACT,
    FINETUNE,
    TPU,
)
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan, apply_freeze
from trainer.model.split import Split
from trainer.prepare import stored_classifier
from trainer.processes import Processes
from trainer.results.progress import ConsoleProgress
from trainer.topology import find_topology
from trainer.train.checkpoint_files import checkpoint_step, find_checkpoint
from trainer.train.checkpoints import restore_variables
from trainer.train.inputs import Inputs
from trainer.workdir import CONFIG, MANIFEST, Workdir


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A classifier with the weights of a checkpoint.

    Attributes:
      workdir: where it comes from.
      run: what the training run was asked for, with the flags given now.
      strategy: what the classifier was made under.
      processes: of the job.
      classifier: its variables hold the checkpoint's weights.
      class_names: in the order of the logits.
      stage: the last one that has a checkpoint.
      kind: last or best.
      step: absolute.
      plan: what that stage trained.
      engine: that its run took for the trunk; None if it is not known.
      xla: whether steps are compiled.
    """

    workdir: Workdir
    run: Config
    strategy: tf.distribute.Strategy
    processes: Processes
    classifier: Classifier
    class_names: tuple[str, ...]
    stage: str
    kind: str
    step: int
    plan: FreezePlan
    engine: str | None
    xla: bool


def open_trained(config: Config, given: frozenset[str]) -> Trained:
    """Rebuilds the classifier of `--workdir` from its latest stage.

    Args:
      config: of a stage that trains nothing; `workdir` is set.
      given: names of the flags given explicitly; of the others, the values of
        the run in the workdir hold.

    Raises:
      UsageError: there is no such workdir.
      TrainerError: it holds no checkpoint, or one that cannot be read.
    """
    assert config.workdir is not None
    workdir = Workdir(config.workdir)
    workdir.require("workdir")
    stored = workdir.read_json(CONFIG)
    kind = config.checkpoint
    found = [
        (stage, path)
        for stage in (FINETUNE, FEATURE_EXTRACT)
        if (path := find_checkpoint(workdir, stage, kind))
    ]
    if stored is None or not found:
        raise TrainerError(
            f"--workdir={config.workdir!r}: holds no checkpoint; train there"
            " first, or give the workdir of a run that has saved one"
        )
    stage, path = found[0]
    run = _run_here(Config.from_json(stored["config"]), config, given)
    if config.stage != EVALUATE:
        run = dataclasses.replace(run, strategy="one_device", logical_cpus=1)
    if config.stage == EXPORT:
        run = dataclasses.replace(run, precision="float32")
    topology = find_topology(config.strategy, config.stage)
    chosen = strategies.kind_of(run, topology)
    tpu = chosen == TPU
    devices.configure(run.logical_cpus, run.deterministic, run.gpus, tpu=tpu)
    strategy = strategies.make_strategy(
        chosen,
        # By itself it follows from the replicas, which are not the run's.
        run.batch_size if "batch_size" in given else 0,
        run.logical_cpus,
        topology,
        tpu=run.tpu,
    )
    replicas = strategy.num_replicas_in_sync
    whole = -(-run.batch_size // replicas) * replicas
    run = dataclasses.replace(run, batch_size=whole)
    processes = multi_worker.processes_of(strategy, topology)
    workdir = Workdir(config.workdir, processes)
    names = (workdir.read_json(MANIFEST) or {}).get("class_names", ())
    classifier = stored_classifier(workdir, run, strategy, len(names))
    restore_variables(path, classifier.variables)
    return Trained(
        workdir=workdir,
        run=run,
        strategy=strategy,
        processes=processes,
        classifier=classifier,
        class_names=tuple(names),
        stage=stage,
        kind=kind,
        step=checkpoint_step(path),
        plan=apply_freeze(
            classifier, run.unfreeze if stage == FINETUNE else "none"
        ),
        engine=stored.get("environment", {}).get("trunk_engine"),
        xla=devices.use_xla(run.xla, tpu=tpu or bool(strategies.find_tpu())),
    )


def _run_here(run: Config, config: Config, given: frozenset[str]) -> Config:
    """The run with the flags given now, and without another machine's."""
    values = {name: getattr(config, name) for name in given - {"stage"}}
    here: dict[str, Any] = {"gpus": None, "tpu": None, "accumulate_steps": 1}
    if run.strategy == TPU or run.tpu:
        here["strategy"] = AUTO
        here["xla"] = AUTO
    # Its evaluations took the pictures of one part at a time.
    here["batch_size"] = run.batch_size // run.accumulate_steps
    return dataclasses.replace(run, **{**here, **values})


def open_fast_paths(
    trained: Trained, *, images: int, block: int | None = None
) -> tuple[Split | None, Inputs]:
    """What the classifier computes with and reads, as its run did.

    Args:
      trained: of a workdir.
      images: pictures that will go through it.
      block: `--trunk_block`, if not the run's.
    """
    run = trained.run
    if block is not None:
        run = dataclasses.replace(run, trunk_block=block)
    paths = fast_paths(
        run,
        trained.strategy,
        trained.processes,
        xla=trained.xla,
        images=images,
        earlier=trained.engine,
        training=False,
    )
    taken = paths.stage(
        trained.classifier,
        trained.plan,
        warn=trained.workdir.warn,
        report=ConsoleProgress(images).rows,
    )
    return taken.split, taken.inputs
