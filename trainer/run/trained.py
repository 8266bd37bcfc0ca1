"""The trained classifier of a workdir, to evaluate, predict or export."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from trainer.config import Config
from trainer.config.fields import (
    AUTO,
    EVALUATE,
    EXPORT,
    FIELDS,
    FLIP,
    FREE,
    OFF,
    TPU,
)
from trainer.config.grouping import COLUMN
from trainer.config.split_names import SPLIT_FLAGS
from trainer.config.table_columns import is_table
from trainer.data.tfds_names import TFDS_NAMES
from trainer.distribute.runtime import Runtime, make_runtime, plan_devices
from trainer.distribute.topology import find_topology
from trainer.errors import TrainerError, UsageError, one_line, shortened
from trainer.learning.checkpoint_files import checkpoint_step, find_checkpoint
from trainer.learning.inputs import Inputs
from trainer.learning.restoring import restore_variables
from trainer.learning.start import result_checkpoint, stages_backwards
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan, freeze_plan, set_trainable
from trainer.model.trunk.partition import Partition
from trainer.results.progress import ConsoleProgress
from trainer.run.classifiers import stored_classifier
from trainer.run.fast_paths import fast_paths
from trainer.run.memory import check_batch_fits
from trainer.run.study_models import check_no_study
from trainer.storage import files
from trainer.workdir import CONFIG, MANIFEST, Workdir
from trainer.workdir.folds import check_no_folds
from trainer.workdir.stored import stored_config

# Paths that only training needs. `with_data` handles the dataset's path.
_PATHS_OF_RUN = ("weights", "init_from")
# The end of the path of a dataset that TFDS has prepared.
_VERSION = re.compile(r"/\d+\.\d+\.\d+$")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A classifier with the weights of a checkpoint.

    Attributes:
      workdir: the workdir of the run.
      run: the run's configuration, overridden by the flags given now.
      runtime: the devices; the classifier was created under its strategy.
      classifier: has the checkpoint's weights.
      class_names: the names of the classes, in the order of the logits.
      stage: the last stage that has a checkpoint.
      which: the checkpoint: last or best.
      step: the absolute step of the checkpoint.
      plan: the trainable and the frozen variables of that stage.
      engine: the engine that ran the trunk in training; None if unknown.
    """

    workdir: Workdir
    run: Config
    runtime: Runtime
    classifier: Classifier
    class_names: tuple[str, ...]
    stage: str
    which: str
    step: int
    plan: FreezePlan
    engine: str | None

    @property
    def flips(self) -> bool:
        """Whether --tta=flip averages each image with its mirror image."""
        return self.run.tta == FLIP

    @property
    def title(self) -> str:
        """The checkpoint and how it is used, for a line of output."""
        used = f" with --tta={self.run.tta}" if self.run.tta != OFF else ""
        return f"{self.stage} at step {self.step} ({self.which}){used}"


def open_trained(config: Config, given: frozenset[str]) -> Trained:
    """Rebuilds the classifier of `--workdir` from its latest stage.

    Args:
      config: the configuration of evaluate, predict or export, with `workdir`.
      given: names of the flags given explicitly; see `_run_here`.

    Raises:
      UsageError: the workdir does not exist.
      TrainerError: the workdir has no checkpoint, or it cannot be read.
    """
    assert config.workdir is not None
    workdir = Workdir(config.workdir)
    workdir.require("workdir")
    check_no_folds(workdir, "workdir")
    check_no_study(workdir, config, given)
    stored = workdir.read_json(CONFIG)
    found = [
        (stage, which, path)
        for stage in stages_backwards(workdir)
        for which in (config.checkpoint or result_checkpoint(workdir, stage),)
        if (path := find_checkpoint(workdir, stage, which))
    ]
    if stored is None or "config" not in stored or not found:
        raise TrainerError(
            f"--workdir={config.workdir!r}: holds no checkpoint; train there"
            " first, or give the workdir of a run that has saved one"
        )
    stage, which, path = found[0]
    run = stored_config(workdir.file(CONFIG), stored["config"])
    run = _run_here(run, config, given)
    runtime = _runtime(run, config, given)
    replicas = runtime.strategy.num_replicas_in_sync
    whole = -(-run.batch_size // replicas) * replicas
    run = dataclasses.replace(run, batch_size=whole)
    workdir = Workdir(config.workdir, runtime.processes)
    names = _class_names(workdir)
    if config.stage != EXPORT:
        check_batch_fits(run.batch_size, run.image_size or 0)
    classifier = stored_classifier(workdir, run, runtime.strategy, len(names))
    restore_variables(path, classifier.variables)
    part = run.finetune_parts.get(stage)
    plan = freeze_plan(classifier, part.rule if part else "none")
    # An exported Keras model stores which layers are trainable.
    set_trainable(classifier, plan)
    return Trained(
        workdir=workdir,
        run=run,
        runtime=runtime,
        classifier=classifier,
        class_names=names,
        stage=stage,
        which=which,
        step=checkpoint_step(path),
        plan=plan,
        engine=stored.get("environment", {}).get("trunk_engine"),
    )


def _runtime(run: Config, config: Config, given: frozenset[str]) -> Runtime:
    topology = find_topology(config.strategy, config.stage)
    return make_runtime(
        run,
        plan_devices(run, topology),
        # The run's own batch size may not be divisible by the replicas here.
        batch_size=run.batch_size if "batch_size" in given else 0,
    )


def _class_names(workdir: Workdir) -> tuple[str, ...]:
    """Returns the names of the run's classes.

    Raises:
      TrainerError: the manifest is missing, has fewer than two classes, or has
        a class twice.
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
    """Returns the configuration with which to use a stored run.

    A workdir may come from another person, so it determines only what is
    computed. All paths, and all flags with the effect FREE, come from the
    command line or its defaults: these determine where files are, what is
    written, and how much space it takes.

    Args:
      run: the stored configuration of the run.
      config: the configuration of this command.
      given: names of the flags given explicitly to this command.
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
    # The evaluations of the training run had this batch size.
    values["batch_size"] = run.batch_size // run.accumulate_steps
    values |= {name: getattr(config, name) for name in given - {"stage"}}
    if config.stage != EVALUATE:
        values |= {"strategy": "one_device", "logical_cpus": 1}
    if config.stage == EXPORT:
        values["precision"] = "float32"
    return dataclasses.replace(config, **values)


def with_data(trained: Trained, given: frozenset[str]) -> Trained:
    """Returns the run with the path of its dataset during training.

    The manifest has the absolute path, while `--dataset` may have been relative
    to another folder. The path is printed.

    Args:
      trained: the trained classifier.
      given: names of the flags given explicitly; if `dataset` is one of them,
        the run's rule of validation and the names of its splits are dropped,
        which may not fit other data.

    Raises:
      UsageError: the dataset is at a URL, or has been removed.
    """
    run = trained.run
    if "dataset" in given:
        # Folders of other data may have other names.
        unset: dict[str, Any] = {
            name: None for name in SPLIT_FLAGS.values() if name not in given
        }
        unset |= _of_table(run, given)
        run = dataclasses.replace(run, validation=None, **unset)
        return dataclasses.replace(trained, run=run)
    manifest = trained.workdir.read_json(MANIFEST) or {}
    location = str(manifest.get("location", run.dataset))
    for place in (run.dataset, location):
        if files.is_remote(place):
            raise UsageError(
                f"--dataset: not given, and the run's images are at {place};"
                " a URL is not taken from a workdir; give --dataset=URL"
            )
    changes: dict[str, Any] = {}
    name = run.dataset.split(":")[0]
    data_dir = location.rpartition(f"/{TFDS_NAMES.get(name, name)}/")[0]
    if data_dir and _VERSION.search(location):
        # Prepared by TFDS in DATA_DIR/NAME/VERSION.
        if files.is_dir(location) and run.tfds_data_dir is None:
            changes["tfds_data_dir"] = data_dir
    elif _is_data(location):
        changes["dataset"] = location
    elif not _is_data(run.dataset):
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


def _is_data(path: str) -> bool:
    """Returns whether a path is a folder or a table."""
    return files.is_dir(path) or (is_table(path) and files.is_file(path))


def _of_table(run: Config, given: frozenset[str]) -> dict[str, Any]:
    """Returns changes that drop the run's flags of a table for other data."""
    if is_table(run.dataset):
        return {}
    stored = {
        "columns": run.columns is not None,
        "group_by": run.group_by == COLUMN,
    }
    return {name: None for name in stored if stored[name] and name not in given}


def open_fast_paths(
    trained: Trained,
    *,
    images: int,
    block: int | None = None,
    constant: bool = True,
) -> tuple[Partition | None, Inputs]:
    """Returns the partition and the inputs, with the engine of the training.

    Args:
      trained: the trained classifier.
      images: number of images that will pass through it.
      block: the value of `--trunk_block`; None uses the run's value.
      constant: whether no weight changes while they are used; otherwise those
        of the stage's frozen layers do not change.
    """
    run = trained.run
    if block is not None:
        run = dataclasses.replace(run, trunk_block=block)
    options = fast_paths(
        run,
        trained.runtime,
        images=images,
        earlier=trained.engine,
        training=False,
    )
    plan = trained.plan
    if constant:
        plan = options.plan_of_test(trained.classifier, plan, images=images)
    paths = options.for_stage(
        trained.classifier,
        plan,
        warn=trained.workdir.warn,
        report=ConsoleProgress(images).rows,
    )
    return paths.evaluated, paths.inputs
