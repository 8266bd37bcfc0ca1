"""Runs a training, from its configuration to result.json."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any, TextIO

import tensorflow as tf

from trainer.cache import OFF
from trainer.config import Config, StageSpec
from trainer.config.recipes import BEFORE_RENDERING
from trainer.data.manifest import Manifest
from trainer.data.order import steps_per_epoch
from trainer.data.samples import ARRAY_RECORD
from trainer.data.validation import source_phrase
from trainer.distribute import multi_worker, strategies
from trainer.distribute.strategies import strategy_line
from trainer.errors import (
    TrainerError,
    UsageError,
    first_line,
    one_line,
    shortened,
)
from trainer.learning.class_weights import class_weights
from trainer.learning.disk import checkpoint_bytes, disk_line
from trainer.learning.start import check_warm_start, find_start, finished_stage
from trainer.learning.updates import stage_schedule
from trainer.model.freeze import freeze_plan
from trainer.results.data_line import (
    data_facts,
    data_line,
    data_warnings,
)
from trainer.results.plan import plan_lines
from trainer.results.report import result_lines, unbalanced_lines
from trainer.run.classifiers import first_classifier, new_classifier
from trainer.run.engine_choice import uncached
from trainer.run.fast_paths import FastPaths, fast_paths
from trainer.run.prepare import RunSetup, prepare, read_manifest
from trainer.run.record import record_run, same_run
from trainer.run.stages import TrainingRun
from trainer.storage import files
from trainer.workdir import CONFIG, REPORT, RESULT, Workdir
from trainer.workdir.folds import check_no_folds
from trainer.workdir.holder import unwritable
from trainer.workdir.lock import locked


def train(
    config: Config, *, tests: bool = True, data_stream: TextIO | None = None
) -> tuple[str, Mapping[str, Any]]:
    """Trains as configured, or resumes the same run in the workdir.

    Args:
      config: the configuration of the run.
      tests: whether the finished model is evaluated on the test split. If
        not, it is evaluated on the validation samples.
      data_stream: where to print the line about the data and its warnings;
        None is standard output.

    Returns:
      The workdir, and the content of its result.json.

    Raises:
      UsageError: the flags are invalid.
      TrainerError: the run cannot start or continue.
      Stopped: a signal was received; a checkpoint is saved first.
    """
    setup = prepare(config, tests=tests)
    with multi_worker.working(setup.runtime.processes):
        workdir = _train_locked(setup, data_stream)
        return workdir.path, workdir.read_json(RESULT) or {}


def dry_run(config: Config) -> Manifest:
    """Prints the plan of a training run, and writes nothing.

    Returns:
      The samples of the run.

    Raises:
      UsageError: the flags are invalid.
      TrainerError: the data cannot be used.
    """
    setup = prepare(config)
    # A cache would be written.
    resolved = dataclasses.replace(setup.config, cache=OFF)
    setup = dataclasses.replace(setup, config=resolved)
    with multi_worker.working(setup.runtime.processes):
        return _print_plan(setup)


def _print_plan(setup: RunSetup) -> Manifest:
    """Prints the plan of a run, and returns its samples."""
    config, runtime = setup.config, setup.runtime
    # The chief reads first, because it may have to download or draw the data.
    manifest = runtime.processes.chief_first(lambda: read_manifest(config))
    classifier = new_classifier(setup, len(manifest.class_names), load=False)
    stages = config.stages()
    if config.init_from:
        check_warm_start(config, manifest.class_names)
        stages = config.own_stages()
    stages = with_min_steps(stages, config, manifest)
    _check_rates(stages, config, manifest)
    plans = [
        (spec, freeze_plan(classifier, spec.unfreeze, part=spec.part))
        for spec in stages
    ]
    weights = class_weights(
        config.class_weights, manifest.train, manifest.class_names
    )
    print(
        f"workdir: {one_line(config.workdir)} (nothing is written by --dry_run)"
    )
    print(f"weights: {setup.weights.why}")
    if weights:
        named = zip(manifest.class_names, weights, strict=True)
        text = ", ".join(f"{name} {weight:.4g}" for name, weight in named)
        print(f"class weights of the training loss: {one_line(text)}")
    print_data(manifest, config)
    lines = plan_lines(
        config,
        manifest,
        plans,
        runtime.strategy,
        xla=runtime.compiled,
        deterministic=runtime.deterministic,
    )
    print("\n".join(lines))
    print(disk_line(checkpoint_bytes(config, plans)))
    return manifest


def print_data(
    manifest: Manifest, config: Config, stream: TextIO | None = None
) -> None:
    """Prints what a run trains on, and what looks wrong about it.

    Args:
      manifest: the samples of the run.
      config: the resolved configuration.
      stream: where to print; None is standard output.
    """
    facts = data_facts(manifest)
    print(data_line(facts), file=stream, flush=True)
    for text in data_warnings(facts, config):
        print(f"warning: {text}", file=stream, flush=True)


def _train_locked(setup: RunSetup, data_stream: TextIO | None) -> Workdir:
    config, processes = setup.config, setup.runtime.processes
    _print_introduction(setup)
    workdir = Workdir(config.workdir, processes)
    check_no_folds(workdir, "workdir")
    new = workdir.create()
    try:
        with contextlib.ExitStack() as stack:
            # If the chief does not get the lock, all processes raise its error.
            processes.by_chief(lambda: stack.enter_context(locked(workdir)))
            workdir.remove_partial()
            _train(setup, workdir, data_stream)
            return workdir
    except BaseException as error:
        # Do not leave an empty folder after a typo.
        if new:
            workdir.remove_if_empty()
        if isinstance(error, PermissionError) and workdir.has(error.filename):
            # The folder is writable, but a file in it is not.
            reason = f"{error.filename}: {error.strerror}"
            raise unwritable(workdir.path, reason) from None
        raise


def _print_introduction(setup: RunSetup) -> None:
    """Prints the workdir, the devices, how images are read, and the rates."""
    config, runtime = setup.config, setup.runtime
    print(f"workdir: {one_line(config.workdir)}", flush=True)
    chosen = strategy_line(runtime.strategy, runtime.processes, config.gpus)
    print(f"devices: {chosen}", flush=True)
    changed = [
        f"--{name}={getattr(config, name)}"
        for name, before in BEFORE_RENDERING.items()
        if getattr(config, name) != before
    ]
    if changed:
        print(f"images: {' '.join(changed)}", flush=True)
    if config.scale_lr:
        rates = ", ".join(
            f"{spec.learning_rate:g} in {spec.stage}"
            for spec in config.stages()
            if not spec.solved
        )
        print(
            f"learning rates: scaled by {config.rate_factor:g}, which is"
            f" --batch_size={config.batch_size} / 32: {rates}",
            flush=True,
        )


def _train(
    setup: RunSetup, workdir: Workdir, data_stream: TextIO | None
) -> None:
    """Trains in a workdir that this process has locked."""
    config, processes = setup.config, setup.runtime.processes
    record, manifest = same_run(setup, workdir)
    if _is_complete(workdir, config):
        return
    print_data(manifest, config, data_stream)
    for line in unbalanced_lines(manifest):
        print(line, flush=True)
    start = find_start(workdir, config)
    stages = with_min_steps(start.stages, config, manifest)
    _check_rates(stages, config, manifest)
    raised = raised_lines(start.stages, stages, config.min_steps)
    start = dataclasses.replace(start, stages=stages)
    processes.check_same(
        start.why,
        f"--workdir={workdir.path!r}: differs between the processes; give a"
        " folder that all of them share",
    )
    if config.validation is not None:
        phrase = source_phrase(manifest.validation_source)
        print(f"validation: {phrase} ({len(manifest.validation)})", flush=True)
    print("\n".join((f"weights: {one_line(start.why)}", *raised)), flush=True)
    try:
        classifier = first_classifier(setup, workdir, start, manifest)
        options = choose_fast_paths(setup, workdir, manifest)
        reason = uncached(options.engine, setup.runtime)
        if reason:
            print(f"features: not cached, because {reason}", flush=True)
        record_run(workdir, setup, record, manifest, start, options)
        TrainingRun(setup, workdir, manifest, classifier, start, options).run()
    except tf.errors.OpError as error:
        _note_stop(workdir, type(error).__name__)
        if multi_worker.lost_peer(error, processes) is not None:
            raise
        raise _failure(setup, error) from error
    except BaseException as error:
        _note_stop(workdir, shortened(f"{type(error).__name__}: {error}"))
        raise


def _note_stop(workdir: Workdir, reason: str) -> None:
    """Records why the run stops, if possible.

    On a full disk, the error of the record must not hide the reason itself.
    """
    with contextlib.suppress(OSError):
        workdir.event("stop", reason=reason)


def _failure(setup: RunSetup, error: tf.errors.OpError) -> TrainerError:
    """Returns a one-line error for an error of TensorFlow."""
    reason = first_line(error)
    remedy = "fix the cause"
    if setup.runtime.deterministic and "determinis" in reason:
        remedy = "give --deterministic=off"
    return TrainerError(
        f"{setup.config.stage}: {reason}; {remedy}, and the same command"
        " resumes from the last checkpoint"
    )


def _is_complete(workdir: Workdir, config: Config) -> bool:
    """Prints the result and returns True if the run is complete."""
    result = finished_stage(workdir, config)
    if result is None:
        return False
    print("this run is complete; its results:")
    written = files.exists(workdir.file(REPORT))
    print("\n".join(result_lines(result, workdir.path, report=written)))
    return True


def with_min_steps(
    stages: tuple[StageSpec, ...], config: Config, manifest: Manifest
) -> tuple[StageSpec, ...]:
    """Returns the stages with the epochs that --min_steps asks for."""
    steps = steps_per_epoch(len(manifest.train), config.batch_size)
    return tuple(spec.at_least(config.min_steps, steps) for spec in stages)


def raised_lines(
    before: tuple[StageSpec, ...], after: tuple[StageSpec, ...], min_steps: int
) -> list[str]:
    """Returns a line for each stage whose epochs --min_steps has raised."""
    return [
        f"--min_steps={min_steps}: {new.epochs} epochs of {new.stage}, not"
        f" {old.epochs}"
        for old, new in zip(before, after, strict=True)
        if new.epochs > old.epochs
    ]


def _check_rates(
    stages: tuple[StageSpec, ...], config: Config, manifest: Manifest
) -> None:
    """Checks the learning rates of all stages before the first one is trained.

    Raises:
      UsageError: see `stage_schedule`.
    """
    steps = steps_per_epoch(len(manifest.train), config.batch_size)
    for spec in stages:
        if not spec.solved:
            stage_schedule(config, spec, steps)


def choose_fast_paths(
    setup: RunSetup, workdir: Workdir, manifest: Manifest
) -> FastPaths:
    """Chooses the fast paths; a resumed run keeps its engine.

    Raises:
      UsageError: the flags exclude each other, or do not support the dataset.
    """
    config, runtime = setup.config, setup.runtime
    remote = strategies.on_far_tpu(runtime.strategy, config.tpu)
    if remote and manifest.train.record_format == ARRAY_RECORD:
        raise UsageError(
            f"--tpu={config.tpu}: its host cannot read ArrayRecord files, which"
            " Python reads; prepare the data set with tfds build"
            " --file_format=tfrecord, or run on the TPU's own host"
        )
    stored = workdir.read_json(CONFIG) or {}
    stages = with_min_steps(config.stages(), config, manifest)
    passes = sum(max(spec.epochs, spec.views_read) for spec in stages)
    images = len(manifest.train) * (passes if config.augments else 1)
    images += len(manifest.validation) + len(manifest.final)
    return fast_paths(
        config,
        runtime,
        images=images,
        earlier=stored.get("environment", {}).get("trunk_engine"),
    )
