"""Compares a run with the one in its workdir, and records it there."""

from __future__ import annotations

from typing import Any

from trainer.config import Config
from trainer.config.fields import APPLY, MULTILABEL, SOUP
from trainer.config.validation import SPLIT
from trainer.data.duplicates import COLUMNS, duplicate_rows
from trainer.data.headers import orientation_warning
from trainer.data.manifest import Manifest
from trainer.data.shots import few_shots_warning
from trainer.data.validation import classes_without_validation
from trainer.distribute import devices
from trainer.errors import TrainerError
from trainer.learning.class_weights import class_weights
from trainer.learning.start import Start, check_warm_start
from trainer.model.weights.plan import weights_digest
from trainer.results.escaping import csv_line, for_csv
from trainer.results.thresholds import DEFAULT_THRESHOLD
from trainer.run.drift import (
    backbone_facts,
    changed_numerics,
    check_same_run,
    environment,
    run_record,
)
from trainer.run.fast_paths import FastPaths
from trainer.run.prepare import RunSetup, read_manifest
from trainer.workdir import CONFIG, MANIFEST, Workdir

# Bad rows of a table of which each has its own warning.
_MAX_ROWS = 5
DUPLICATES = "duplicates.csv"


def same_run(
    setup: RunSetup, workdir: Workdir
) -> tuple[dict[str, Any], Manifest]:
    """Reads the data, and checks that the workdir holds no other run.

    Args:
      setup: the setup of the run.
      workdir: the workdir of the run.

    Returns:
      The record of the run for config.json, and its manifest.

    Raises:
      TrainerError: the workdir holds another run; the data cannot be used; or
        the processes do not see the same data.
    """
    config, processes = setup.config, setup.runtime.processes
    facts = {
        "weights_digest": weights_digest(setup.weights),
        **backbone_facts(workdir),
    }
    _check_no_soup(workdir)
    # Checks first what is known without the data, which is slow to read.
    check_same_run(workdir, config, run_record(config, facts))

    def read() -> tuple[dict[str, Any], Manifest]:
        manifest = read_manifest(
            config, workdir.read_json(MANIFEST), tests=setup.tests
        )
        facts["data_fingerprint"] = manifest.fingerprint
        facts["class_names"] = list(manifest.class_names)
        facts["class_weight_values"] = list(
            class_weights(
                config.class_weights, manifest.train, manifest.class_names
            )
        )
        record = run_record(config, facts)
        check_same_run(workdir, config, record)
        if config.init_from:
            check_warm_start(config, manifest.class_names)
        if processes.count > 1:
            # The other processes read it next, and then skip the image checks.
            workdir.write_json(MANIFEST, manifest.to_json())
        return record, manifest

    record, manifest = processes.chief_first(read)
    processes.check_same(
        manifest.fingerprint,
        f"--dataset={config.dataset!r}: the processes see different data;"
        " give all of them the same",
    )
    processes.check_same(
        str(record["class_weight_values"]),
        f"--class_weights={config.class_weights!r}: the processes read"
        " different weights; give all of them the same file",
    )
    return record, manifest


def _check_no_soup(workdir: Workdir) -> None:
    if SOUP in (workdir.read_json(CONFIG) or {}):
        raise TrainerError(
            f"--workdir={workdir.path!r}: holds averaged weights, so no"
            " training can be resumed; to start from these weights, give the"
            " folder as --init_from, and another --workdir"
        )


def record_run(
    workdir: Workdir,
    setup: RunSetup,
    record: dict[str, Any],
    manifest: Manifest,
    start: Start,
    options: FastPaths,
) -> None:
    """Writes config.json and manifest.json, and prints warnings about both.

    Args:
      workdir: the workdir of the run.
      setup: the setup of the run.
      record: the record from `same_run`.
      manifest: the manifest from `same_run`.
      start: where the run begins.
      options: the fast paths of the run.
    """
    config = setup.config
    stored = workdir.read_json(CONFIG) or {}
    now = environment(config, run_facts(setup, options))
    workdir.event("start", stage=config.stage, why=start.why)
    before = stored.get("environment", {})
    if before:
        # Earlier versions did not have this feature.
        before = {"quick_gradients": "off", **before}
    warning = changed_numerics(before, now)
    if warning:
        workdir.warn(warning)
    _warn_about_data(workdir, manifest, config)
    warning = few_shots_warning(manifest, config.shots)
    if warning:
        workdir.warn(warning)
    _warn_about_validation(workdir, manifest, config)
    # backbone.json may have been written after `same_run`.
    record = {**record, **backbone_facts(workdir)}
    workdir.write_json(MANIFEST, manifest.to_json())
    workdir.write_json(
        CONFIG,
        {
            **stored,
            "config": config.to_json(),
            "runs": {**stored.get("runs", {}), config.stage: record},
            "environment": now,
        },
    )


def _warn_about_data(
    workdir: Workdir, manifest: Manifest, config: Config
) -> None:
    _warn_about_duplicates(workdir, manifest)
    for bad in manifest.skipped:
        workdir.warn(f"left out {bad.path}: {bad.reason}")
    for row in manifest.bad_rows[:_MAX_ROWS]:
        workdir.warn(f"left out {manifest.location}, {row}")
    if len(manifest.bad_rows) > _MAX_ROWS:
        workdir.warn(
            f"left out {len(manifest.bad_rows)} rows in all; {MANIFEST} names"
            " each"
        )
    if manifest.turned and config.exif != APPLY:
        workdir.warn(
            orientation_warning(len(manifest.turned), manifest.turned[0])
        )


def _warn_about_duplicates(workdir: Workdir, manifest: Manifest) -> None:
    """Writes duplicates.csv and warns, if there are any; else removes it."""
    rows = list(
        duplicate_rows(
            manifest.shared_content,
            manifest.shared_validation,
            manifest.contradictions,
        )
    )
    if not rows:
        workdir.remove(DUPLICATES)
        return
    workdir.write_text(
        DUPLICATES,
        "".join(
            csv_line([for_csv(cell) for cell in row])
            for row in (COLUMNS, *rows)
        ),
    )
    where = (
        f"{workdir.file(DUPLICATES)} lists all; --on_duplicate=skip trains"
        " without them"
    )
    for split, pairs in (
        ("test", manifest.shared_content),
        ("validation", manifest.shared_validation),
    ):
        if pairs:
            mine, theirs = pairs[0]
            workdir.warn(
                f"photos of {split} that are in train too: {len(pairs):,}, such"
                f" as {theirs}, the same as {mine}; {where}"
            )
    if manifest.contradictions:
        first, other = manifest.contradictions[0].differing()
        workdir.warn(
            f"photos with several labels: {len(manifest.contradictions):,},"
            f" such as {first[0]}/{first[1]}, the same as"
            f" {other[0]}/{other[1]}; {where}"
        )


def _warn_about_validation(
    workdir: Workdir, manifest: Manifest, config: Config
) -> None:
    if config.task == MULTILABEL:
        _warn_about_thresholds(workdir, manifest)
    if not config.honest_validation:
        return
    if manifest.validates_on_final:
        workdir.warn(
            "there is no test split, so the results are of the validation"
            " split too, on which the best step is chosen; add test images, or"
            " give --validation=train:0.1"
        )
    num_classes = len(manifest.class_names)
    _warn_about_first_weights(workdir, manifest, config)
    untested = classes_without_validation(
        manifest.train.counts(num_classes),
        manifest.validation.counts(num_classes),
        manifest.class_names,
    )
    if untested and config.task != MULTILABEL:
        workdir.warn(
            "a class with one training image has none to validate on:"
            f" {untested}"
        )


def _warn_about_thresholds(workdir: Workdir, manifest: Manifest) -> None:
    """Warns if thresholds are chosen on test images, or on no image."""
    if manifest.validates_on_final:
        workdir.warn(
            "the thresholds of the classes are chosen on images that the run"
            " is tested on, so F1 and exact match are too high; give"
            " --validation=train:0.1"
        )
    classes = len(manifest.class_names)
    lacking = classes_without_validation(
        manifest.train.counts(classes),
        manifest.validation.counts(classes),
        manifest.class_names,
    )
    if lacking:
        workdir.warn(
            f"no validation image of {lacking}, so the threshold is"
            f" {DEFAULT_THRESHOLD}"
        )


def _warn_about_first_weights(
    workdir: Workdir, manifest: Manifest, config: Config
) -> None:
    """Warns if the run of --init_from has trained on validation samples."""
    # Ids are unique within a split only.
    if not config.init_from or manifest.validation_source == SPLIT:
        return
    source = Workdir(config.init_from).read_json(MANIFEST) or {}
    trained = source.get("train_ids")
    if source.get("location") != manifest.location:
        return
    if isinstance(trained, list):
        seen = set(manifest.validation.ids) & set(map(str, trained))
        if seen:
            workdir.warn(
                f"the run of --init_from has trained on {len(seen)} of the"
                f" {len(manifest.validation)} validation images, so the"
                " validation is too optimistic; train that run with the same"
                " --validation and --seed"
            )


def run_facts(setup: RunSetup, options: FastPaths) -> dict[str, Any]:
    """Returns facts about the machine, and how "auto" flags were resolved."""
    runtime = setup.runtime
    return {
        **devices.environment(runtime.strategy, runtime.processes),
        "strategy": type(runtime.strategy).__name__,
        "xla": "on" if runtime.compiled else "off",
        "deterministic": "on" if runtime.deterministic else "off",
        "trunk_engine": options.engine,
        "augment_kernel": options.kernel,
        "quick_gradients": "on" if options.quick_gradients else "off",
    }
