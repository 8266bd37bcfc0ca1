"""Writes the report of a finished run again."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from trainer.config import Config
from trainer.config.fields import EVALUATE
from trainer.errors import TrainerError, first_line, untrusted
from trainer.results.escaping import for_terminal
from trainer.results.evaluate import Evaluator
from trainer.run.calibrate import stored_calibration, with_scores
from trainer.run.own_test import why_not_own_test
from trainer.run.prepare import read_manifest
from trainer.run.report import Finished, page_of
from trainer.run.trained import (
    Trained,
    open_fast_paths,
    open_trained,
    with_data,
)
from trainer.workdir import MANIFEST, REPORT, RESULT


def report(config: Config, given: frozenset[str]) -> None:
    """Writes report.html of the run in `--workdir`.

    The run is tested again, so that a report of a run of an earlier version
    has all metrics. No other file of the run changes.

    Args:
      config: the configuration, with stage report.
      given: names of the flags given explicitly; see `use.evaluate`.

    Raises:
      UsageError: the workdir does not exist, or the dataset cannot be found.
      TrainerError: the run is not finished, its images have changed, or the
        report cannot be written.
    """
    trained = open_trained(dataclasses.replace(config, stage=EVALUATE), given)
    if trained.classifier.multilabel:
        raise TrainerError(
            f"--workdir={trained.workdir.path!r}: an image may have several"
            " labels, and there is no report for that; see result.json and"
            " predictions.csv there"
        )
    try:
        _report(with_data(trained, given))
    except tf.errors.OpError as error:
        raise TrainerError(
            f"report: {first_line(error)}; fix the cause, and start again"
        ) from error


def _report(trained: Trained) -> None:
    workdir = trained.workdir
    stored = workdir.read_json(MANIFEST) or {}
    result = workdir.read_json(RESULT)
    if result is None:
        raise TrainerError(
            f"--workdir={workdir.path!r}: its run is not finished; finish it"
            " with the command that began it"
        )
    manifest = read_manifest(trained.run, dict(stored))
    why_not = why_not_own_test(trained, manifest, stored)
    if why_not:
        raise TrainerError(
            f"--workdir={workdir.path!r}: no report, because"
            f" {for_terminal(why_not)}; restore the images, or give their new"
            " place as --dataset"
        )
    partition, inputs = open_fast_paths(trained, images=len(manifest.final))
    evaluator = Evaluator(
        trained.runtime.strategy,
        trained.classifier,
        trained.class_names,
        batch_size=trained.run.batch_size,
        xla=trained.runtime.xla,
        partition=partition,
        inputs=inputs,
        flip=trained.flips,
    )
    evaluation = evaluator.evaluate(manifest.final, outputs=True)
    assert evaluation.outputs is not None
    # What the run has stored counts; it may lack metrics of later versions.
    calibration = stored_calibration(trained)
    result = {
        **with_scores(manifest.final, evaluation, calibration),
        **result,
    }
    finished = Finished(
        workdir=workdir,
        config=trained.run,
        manifest=manifest,
        classifier=trained.classifier,
        logits=evaluation.outputs,
        result=result,
        on_tpu=trained.runtime.on_tpu,
    )
    # The files of a run may come from another person.
    remedy = "restore the files of the run, or use another --workdir"
    with untrusted(workdir.path, remedy):
        page = page_of(finished)
    workdir.write_text(REPORT, page)
    print(f"report: {for_terminal(workdir.file(REPORT))}")
