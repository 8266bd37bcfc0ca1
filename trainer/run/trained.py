"""What a workdir holds after training: a classifier to evaluate and to use."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import tensorflow as tf

from trainer.config import Config
from trainer.config.fields import (
    AUTO,
    EVALUATE,
    EXPORT,
    FEATURE_EXTRACT,
    FIELDS,
    FINETUNE,
    FREE,
    TPU,
)
from trainer.data.tfds_source import TFDS_NAMES
from trainer.distribute import devices, multi_worker, strategies
from trainer.distribute.processes import Processes
from trainer.distribute.topology import find_topology
from trainer.errors import TrainerError, UsageError, one_line, shortened
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan, freeze_plan, set_trainable
from trainer.model.trunk.partition import Partition
from trainer.results.progress import ConsoleProgress
from trainer.run.fast_paths import check_batch_fits, fast_paths
from trainer.run.prepare import stored_classifier
from trainer.storage import files
from trainer.train.checkpoint_files import checkpoint_step, find_checkpoint
from trainer.train.checkpoints import restore_variables
from trainer.train.inputs import Inputs
from trainer.workdir import CONFIG, MANIFEST, Workdir
from trainer.workdir.stored import stored_config

# Needed by training alone; and the data set, see `with_data`.
_PATHS_OF_RUN = ("weights", "init_from")
# At the end of the path of a data set that TFDS has prepared.
_VERSION = re.compile(r"/\d+\.\d+\.\d+$")


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
      given: names of the flags given explicitly; see `_run_here`.

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
    if stored is None or "config" not in stored or not found:
        raise TrainerError(
            f"--workdir={config.workdir!r}: holds no checkpoint; train there"
            " first, or give the workdir of a run that has saved one"
        )
    stage, path = found[0]
    run = stored_config(workdir.file(CONFIG), stored["config"])
    run = _run_here(run, config, given)
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
    names = _class_names(workdir)
    if config.stage != EXPORT:
        check_batch_fits(run.batch_size, run.image_size or 0)
    classifier = stored_classifier(workdir, run, strategy, len(names))
    restore_variables(path, classifier.variables)
    plan = freeze_plan(
        classifier, run.unfreeze if stage == FINETUNE else "none"
    )
    # An exported Keras model says which layers were trained.
    set_trainable(classifier, plan)
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
        plan=plan,
        engine=stored.get("environment", {}).get("trunk_engine"),
        xla=devices.use_xla(run.xla, tpu=tpu or bool(strategies.find_tpu())),
    )


def _class_names(workdir: Workdir) -> tuple[str, ...]:
    """Returns the run's classes.

    Raises:
      TrainerError: the manifest is missing, or names fewer than two, or one
        twice.
    """
    manifest = workdir.read_json(MANIFEST)
    names = tuple((manifest or {}).get("class_names", ()))
    if manifest is None or len(names) < 2 or len(set(names)) < len(names):
        what = "missing" if manifest is None else f"bad classes {names}"
        raise TrainerError(
            f"{workdir.file(MANIFEST)}: {shortened(what)}; restore it, or use"
            " another --workdir"
        )
    return names


def _run_here(run: Config, config: Config, given: frozenset[str]) -> Config:
    """Returns the configuration that a stored run is used with.

    A workdir says what was computed, as it may come from somebody else. Where
    files lie, what may be written and how much room it may take say the
    command line and its defaults: paths and every flag whose effect is FREE.

    Args:
      run: as stored.
      config: of this command.
      given: names of the flags that were given to it.
    """
    values = {
        name: getattr(run, name)
        for name, field in FIELDS.items()
        if field.metadata["effect"] != FREE and name not in _PATHS_OF_RUN
    }
    values["accumulate_steps"] = 1
    if run.strategy == TPU or run.tpu:
        values["strategy"] = AUTO
        values["xla"] = AUTO
    # Its evaluations took the images of one part at a time.
    values["batch_size"] = run.batch_size // run.accumulate_steps
    values |= {name: getattr(config, name) for name in given - {"stage"}}
    return dataclasses.replace(config, **values)


def with_data(trained: Trained, given: frozenset[str]) -> Trained:
    """Returns the run with its data set where it was found when it trained.

    The manifest has the absolute path, and `--dataset` may have been relative
    to another folder. Which one is taken is printed.

    Args:
      trained: of a workdir.
      given: names of the flags given explicitly; `--dataset` settles it.

    Raises:
      UsageError: the data set is behind a URL, or is not there any more.
    """
    run = trained.run
    if "dataset" in given:
        return trained
    manifest = trained.workdir.read_json(MANIFEST) or {}
    location = str(manifest.get("location", run.dataset))
    for place in (run.dataset, location):
        if files.is_remote(place):
            raise UsageError(
                f"--dataset: not given, and the run's images are at {place};"
                " a workdir alone leads to no URL: give --dataset=URL"
            )
    changes: dict[str, Any] = {}
    name = run.dataset.split(":")[0]
    data_dir = location.rpartition(f"/{TFDS_NAMES.get(name, name)}/")[0]
    if data_dir and _VERSION.search(location):
        # Prepared by TFDS in DATA_DIR/NAME/VERSION.
        if files.is_dir(location) and run.tfds_data_dir is None:
            changes["tfds_data_dir"] = data_dir
    elif files.is_dir(location):
        changes["dataset"] = location
    elif not files.is_dir(run.dataset):
        raise UsageError(
            f"--dataset: not given, and the run's images are no longer in"
            f" {location}; give --dataset=FOLDER"
        )
    if changes:
        print(
            f"--dataset not given: the run's images in {one_line(location)}",
            flush=True,
        )
    run = dataclasses.replace(run, **changes)
    return dataclasses.replace(trained, run=run)


def open_fast_paths(
    trained: Trained, *, images: int, block: int | None = None
) -> tuple[Partition | None, Inputs]:
    """What the classifier computes with and reads, as its run did.

    Args:
      trained: of a workdir.
      images: images that will go through it.
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
    return taken.partition, taken.inputs
