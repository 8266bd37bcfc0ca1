"""Training, from a configuration to a result."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import tensorflow as tf

from trainer.cache import OFF
from trainer.config import Config
from trainer.data.headers import orientation_warning
from trainer.data.manifest import Manifest
from trainer.data.samples import ARRAY_RECORD
from trainer.distribute import devices, multi_worker, strategies
from trainer.distribute.strategies import strategy_line
from trainer.errors import (
    TrainerError,
    UsageError,
    first_line,
    one_line,
    shortened,
    untrusted,
)
from trainer.model.architectures import architecture_json
from trainer.model.classifier import Classifier
from trainer.model.freeze import freeze_plan
from trainer.model.weights.forms import form_of_architecture
from trainer.model.weights.plan import weights_digest
from trainer.results.report import plan_lines, result_lines
from trainer.run.drift import (
    backbone_facts,
    changed_numerics,
    check_same_run,
    environment,
    run_record,
)
from trainer.run.fast_paths import FastPaths, fast_paths
from trainer.run.prepare import (
    RunSetup,
    new_classifier,
    prepare,
    read_manifest,
    stored_classifier,
)
from trainer.run.stages import TrainingRun
from trainer.train.checkpoints import restore_variables
from trainer.train.start import (
    Start,
    check_warm_start,
    find_start,
    finished_stage,
)
from trainer.workdir import (
    BACKBONE,
    CONFIG,
    MANIFEST,
    Workdir,
)
from trainer.workdir.holder import unwritable
from trainer.workdir.lock import locked


def dry_run(config: Config) -> None:
    """Prints what a training run would do."""
    # What it finds out is not left in the cache either.
    request = prepare(dataclasses.replace(config, cache=OFF))
    config = request.config
    # Data that is made or downloaded on first use, one process makes.
    manifest = request.processes.chief_first(lambda: read_manifest(config))
    classifier = new_classifier(request, len(manifest.class_names), load=False)
    stages = config.stages()
    if config.init_from:
        check_warm_start(config, manifest.class_names)
        stages = stages[-1:]
    plans = [(spec, freeze_plan(classifier, spec.unfreeze)) for spec in stages]
    print(
        f"workdir: {one_line(str(config.workdir))} (nothing is written by"
        " --dry_run)"
    )
    print(f"weights: {request.weights.why}")
    lines = plan_lines(
        config,
        manifest,
        plans,
        request.strategy,
        xla=request.compiled,
        deterministic=request.deterministic,
    )
    print("\n".join(lines))


def train(config: Config) -> None:
    """Trains as configured, resuming what the workdir holds."""
    request = prepare(config)
    with multi_worker.working(request.processes):
        _train_locked(request)


def _train_locked(request: RunSetup) -> None:
    config, processes = request.config, request.processes
    assert config.workdir is not None
    print(f"workdir: {one_line(config.workdir)}", flush=True)
    chosen = strategy_line(request.strategy, processes, config.gpus)
    print(f"devices: {chosen}", flush=True)
    if config.scale_lr:
        rates = ", ".join(
            f"{spec.learning_rate:g} in {spec.stage}"
            for spec in config.stages()
        )
        print(
            f"learning rates: scaled by {config.rate_factor:g}, which is"
            f" --batch_size={config.batch_size} / 32: {rates}",
            flush=True,
        )
    workdir = Workdir(config.workdir, processes)
    new = workdir.create()
    try:
        with contextlib.ExitStack() as stack:
            # Where the chief is refused, the others hear why.
            processes.by_chief(lambda: stack.enter_context(locked(workdir)))
            workdir.remove_partial()
            _train(request, workdir)
    except BaseException as error:
        # A name mistyped leaves no folder behind.
        if new:
            workdir.remove_if_empty()
        if isinstance(error, PermissionError) and workdir.has(error.filename):
            # The folder could be written to, a file in it cannot.
            reason = f"{error.filename}: {error.strerror}"
            raise unwritable(workdir.path, reason) from None
        raise


def _train(request: RunSetup, workdir: Workdir) -> None:
    """Trains in a workdir that is this process's."""
    config, processes = request.config, request.processes
    record, manifest = _same_run(request, workdir)
    if _is_complete(workdir, config):
        return
    start = find_start(workdir, config)
    processes.check_same(
        start.why,
        f"--workdir={workdir.path!r}: not the same for all processes; give a"
        " folder that all of them share",
    )
    print(f"weights: {one_line(start.why)}", flush=True)
    try:
        classifier = _first_classifier(request, workdir, start, manifest)
        paths = _fast_paths(request, workdir, manifest)
        _remember(workdir, request, record, manifest, start, paths)
        TrainingRun(request, workdir, manifest, classifier, start, paths).run()
    except tf.errors.OpError as error:
        workdir.event("stop", reason=type(error).__name__)
        if multi_worker.lost_peer(error, processes) is not None:
            raise
        raise _failure(request, error) from error
    except BaseException as error:
        reason = shortened(f"{type(error).__name__}: {error}")
        workdir.event("stop", reason=reason)
        raise


def _failure(request: RunSetup, error: tf.errors.OpError) -> TrainerError:
    """What TensorFlow has stopped at, on one line."""
    reason = first_line(error)
    remedy = "put it right"
    if request.deterministic and "determinis" in reason:
        remedy = "give --deterministic=off"
    return TrainerError(
        f"{request.config.stage}: {reason}; {remedy}, and the same command goes"
        " on from the last checkpoint"
    )


def _same_run(
    request: RunSetup, workdir: Workdir
) -> tuple[dict[str, Any], Manifest]:
    """What the run is and its data, if the workdir holds no other run.

    Raises:
      TrainerError: it does; or the data cannot be used.
    """
    config = request.config
    facts = {
        "weights_digest": weights_digest(request.weights),
        **backbone_facts(workdir),
    }
    # Before the data is read, which takes longest.
    check_same_run(workdir, config, run_record(config, facts))

    def read() -> tuple[dict[str, Any], Manifest]:
        manifest = read_manifest(config, workdir.read_json(MANIFEST))
        facts["data_fingerprint"] = manifest.fingerprint
        facts["class_names"] = list(manifest.class_names)
        record = run_record(config, facts)
        check_same_run(workdir, config, record)
        if config.init_from:
            check_warm_start(config, manifest.class_names)
        if request.processes.count > 1:
            # They read next, and need not look at the images then.
            workdir.write_json(MANIFEST, manifest.to_json())
        return record, manifest

    record, manifest = request.processes.chief_first(read)
    request.processes.check_same(
        manifest.fingerprint,
        f"--dataset={config.dataset!r}: not the same data for all processes;"
        " give each the same",
    )
    return record, manifest


def _is_complete(workdir: Workdir, config: Config) -> bool:
    """Says so where the run has nothing left to do."""
    result = finished_stage(workdir, config)
    if result is None:
        return False
    print("this run is complete; its figures:")
    print("\n".join(result_lines(result, workdir.path)))
    return True


def _first_classifier(
    request: RunSetup, workdir: Workdir, start: Start, manifest: Manifest
) -> Classifier:
    num_classes = len(manifest.class_names)
    stored = not (start.fresh or start.warm)
    if stored:
        classifier = stored_classifier(
            workdir, request.config, request.strategy, num_classes
        )
    else:
        if start.warm:
            request = _in_form_of_source(request)
        classifier = new_classifier(request, num_classes, load=start.fresh)
    # A rule that fits no layer is refused now, not after an earlier stage.
    for spec in start.stages:
        freeze_plan(classifier, spec.unfreeze)
    if not stored:
        workdir.write_json(
            BACKBONE,
            {
                "backbone": request.config.backbone,
                "pixels": classifier.pixels,
                "architecture": architecture_json(classifier.backbone),
            },
        )
    if start.checkpoint:
        restore_variables(start.checkpoint, classifier.variables)
    return classifier


def _in_form_of_source(request: RunSetup) -> RunSetup:
    """The request with the form of EfficientNet that --init_from has.

    Its weights fit the other form too, and would compute other features.
    """
    assert request.config.init_from is not None
    workdir = Workdir(request.config.init_from)
    source = workdir.read_json(BACKBONE)
    if source is None or not request.backbone.has_imagenet_form:
        return request
    with untrusted(workdir.file(BACKBONE), "restore it, or use another run"):
        form = form_of_architecture(source["architecture"])
    weights = dataclasses.replace(request.weights, form=form)
    return dataclasses.replace(request, weights=weights)


def _fast_paths(
    request: RunSetup, workdir: Workdir, manifest: Manifest
) -> FastPaths:
    """Those of the run; what it began with holds where no flag says else.

    Raises:
      UsageError: flags that exclude each other, or the data set.
    """
    config = request.config
    far = strategies.on_far_tpu(request.strategy, config.tpu)
    if far and manifest.train.record_format == ARRAY_RECORD:
        raise UsageError(
            f"--tpu={config.tpu}: its host cannot read ArrayRecord files, which"
            " Python reads; prepare the data set with tfds build"
            " --file_format=tfrecord, or run on the TPU's own host"
        )
    stored = workdir.read_json(CONFIG) or {}
    epochs = sum(spec.epochs for spec in config.stages())
    images = len(manifest.train) * (epochs if config.augment else 1)
    images += len(manifest.validation) + len(manifest.final)
    return fast_paths(
        config,
        request.strategy,
        request.processes,
        xla=request.xla,
        images=images,
        earlier=stored.get("environment", {}).get("trunk_engine"),
    )


def _remember(
    workdir: Workdir,
    request: RunSetup,
    record: dict[str, Any],
    manifest: Manifest,
    start: Start,
    paths: FastPaths,
) -> None:
    """Writes what the run is, and warns of what may change its last bits."""
    config = request.config
    stored = workdir.read_json(CONFIG) or {}
    now = environment(config, _machine_facts(request, paths))
    workdir.event("start", stage=config.stage, why=start.why)
    before = stored.get("environment", {})
    if before:
        # Runs of before there were any.
        before = {"quick_gradients": "off", **before}
    warning = changed_numerics(before, now)
    if warning:
        workdir.warn(warning)
    for mine, theirs in manifest.shared_content[:5]:
        workdir.warn(f"the same photo is in train and test: {mine}, {theirs}")
    for bad in manifest.skipped:
        workdir.warn(f"left out {bad.path}: {bad.reason}")
    # The backbone may have been made only now.
    record = {**record, **backbone_facts(workdir)}
    if manifest.turned:
        workdir.warn(
            orientation_warning(len(manifest.turned), manifest.turned[0])
        )
    runs = {**stored.get("runs", {}), config.stage: record}
    workdir.write_json(MANIFEST, manifest.to_json())
    workdir.write_json(
        CONFIG,
        {
            **stored,
            "config": config.to_json(),
            "runs": runs,
            "environment": now,
        },
    )


def _machine_facts(request: RunSetup, paths: FastPaths) -> dict[str, Any]:
    """Of the machine, and what it made of flags that were left to it."""
    return {
        **devices.environment(request.strategy, request.processes),
        "strategy": type(request.strategy).__name__,
        "xla": "on" if request.compiled else "off",
        "deterministic": "on" if request.deterministic else "off",
        "trunk_engine": paths.engine,
        "augment_kernel": paths.kernel,
        "quick_gradients": "on" if paths.quick_gradients else "off",
    }
