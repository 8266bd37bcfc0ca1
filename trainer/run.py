"""Training, from a configuration to a result."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from trainer import devices, multi_worker
from trainer.config import Config
from trainer.data.manifest import Manifest
from trainer.errors import TrainerError
from trainer.fields import FIELDS, NUMERICS
from trainer.model.architectures import architecture_json
from trainer.model.classifier import Classifier
from trainer.model.freeze import apply_freeze
from trainer.model.weights import weights_digest
from trainer.model.weights_forms import form_of_architecture
from trainer.prepare import (
    Request,
    new_classifier,
    prepare,
    read_manifest,
    stored_classifier,
)
from trainer.results.report import plan_lines, result_lines
from trainer.train.checkpoints import restore_variables
from trainer.train.start import (
    Start,
    changed_numerics,
    check_same_run,
    check_warm_start,
    find_start,
    finished_stage,
    run_record,
)
from trainer.training_run import TrainingRun
from trainer.workdir import (
    BACKBONE,
    CONFIG,
    MANIFEST,
    Workdir,
)


def dry_run(config: Config) -> None:
    """Prints what a training run would do."""
    request = prepare(config)
    config = request.config
    # Data that is made or downloaded on first use, one process makes.
    manifest = request.processes.chief_first(lambda: read_manifest(config))
    classifier = new_classifier(request, len(manifest.class_names), load=False)
    stages = config.stages()
    if config.init_from:
        check_warm_start(config, manifest.class_names)
        stages = stages[-1:]
    plans = [(spec, apply_freeze(classifier, spec.unfreeze)) for spec in stages]
    print(f"workdir: {config.workdir} (nothing is written by --dry_run)")
    print(f"weights: {request.weights.why}")
    lines = plan_lines(
        config, manifest, plans, request.strategy, xla=request.xla
    )
    print("\n".join(lines))


def train(config: Config) -> None:
    """Trains as configured, resuming what the workdir holds."""
    request = prepare(config)
    with multi_worker.working(request.processes):
        _train(request)


def _train(request: Request) -> None:
    config, processes = request.config, request.processes
    assert config.workdir is not None
    print(f"workdir: {config.workdir}", flush=True)
    chosen = devices.strategy_line(request.strategy, processes)
    print(f"devices: {chosen}", flush=True)
    workdir = Workdir(config.workdir, processes)
    new = workdir.create()
    try:
        record, manifest = _same_run(request, workdir)
    except BaseException:
        # A name mistyped leaves no folder behind.
        if new:
            workdir.remove_if_empty()
        raise
    if _is_complete(workdir, config):
        return
    start = find_start(workdir, config)
    processes.check_same(
        start.why,
        f"--workdir={workdir.path!r}: not the same for all processes; give a"
        " folder that all of them share",
    )
    print(f"weights: {start.why}", flush=True)
    try:
        classifier = _first_classifier(request, workdir, start, manifest)
        _remember(workdir, request, record, manifest, start)
        TrainingRun(request, workdir, manifest, classifier, start).run()
    except tf.errors.OpError as error:
        workdir.event("stop", reason=type(error).__name__)
        if multi_worker.lost_peer(error, processes) is not None:
            raise
        reason = (error.message or type(error).__name__).splitlines()[0]
        raise TrainerError(
            f"{config.stage}: {reason.partition(' [[')[0][:200]}; put it right,"
            " and the same command goes on from the last checkpoint"
        ) from error
    except BaseException as error:
        workdir.event("stop", reason=f"{type(error).__name__}: {error}"[:200])
        raise


def _same_run(
    request: Request, workdir: Workdir
) -> tuple[dict[str, Any], Manifest]:
    """What the run is and its data, if the workdir holds no other run.

    Raises:
      TrainerError: it does; or the data cannot be used.
    """
    config = request.config
    digest = weights_digest(request.weights)
    # Before the data is read, which takes longest.
    before = run_record(config, weights_digest=digest, fingerprint=None)
    check_same_run(workdir, config, before)

    def read() -> tuple[dict[str, Any], Manifest]:
        manifest = read_manifest(config, workdir.read_json(MANIFEST))
        record = run_record(
            config, weights_digest=digest, fingerprint=manifest.fingerprint
        )
        check_same_run(workdir, config, record)
        if config.init_from:
            check_warm_start(config, manifest.class_names)
        # For the processes that read next, and need not look at the pictures.
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
    request: Request, workdir: Workdir, start: Start, manifest: Manifest
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
        apply_freeze(classifier, spec.unfreeze)
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


def _in_form_of_source(request: Request) -> Request:
    """The request with the form of EfficientNet that --init_from has.

    Its weights fit the other form too, and would compute other features.
    """
    assert request.config.init_from is not None
    source = Workdir(request.config.init_from).read_json(BACKBONE)
    if source is None or not request.backbone.has_imagenet_form:
        return request
    form = form_of_architecture(source["architecture"])
    weights = dataclasses.replace(request.weights, form=form)
    return dataclasses.replace(request, weights=weights)


def _remember(
    workdir: Workdir,
    request: Request,
    record: dict[str, Any],
    manifest: Manifest,
    start: Start,
) -> None:
    """Writes what the run is, and warns of what may change its last bits."""
    config = request.config
    stored = workdir.read_json(CONFIG) or {}
    environment = devices.environment(request.strategy, request.processes)
    now = environment | {
        name: getattr(config, name)
        for name, field in FIELDS.items()
        if field.metadata["effect"] == NUMERICS
    }
    workdir.event("start", stage=config.stage, why=start.why)
    for change in changed_numerics(stored.get("environment", {}), now):
        workdir.warn(f"{change}: the last bits of the figures may differ")
    for mine, theirs in manifest.shared_content[:5]:
        workdir.warn(f"the same photo is in train and test: {mine}, {theirs}")
    for bad in manifest.skipped:
        workdir.warn(f"left out {bad.path}: {bad.reason}")
    runs = {**stored.get("runs", {}), config.stage: record}
    workdir.write_json(
        CONFIG,
        {"config": config.to_json(), "runs": runs, "environment": now},
    )
