"""Uses a trained workdir: evaluates its classifier, or predicts with it."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf
from tqdm import tqdm

from trainer.config import Config
from trainer.config.fields import OFF
from trainer.data.changes import changed_files, changes_warning
from trainer.data.headers import UPRIGHT, orientation_warning
from trainer.data.manifest import Manifest
from trainer.data.rendering import rendering_of
from trainer.data.samples import Samples, printable
from trainer.distribute import multi_worker
from trainer.errors import TrainerError, counted, first_line, one_line
from trainer.native_logs import native_notes_hidden
from trainer.results.evaluate import Evaluator
from trainer.results.evaluation import Evaluation
from trainer.results.input_files import find_inputs, none_readable
from trainer.results.multilabel import MultilabelEvaluation
from trainer.results.novelty import Novelty
from trainer.results.predict import (
    UNLIKE,
    UNSURE,
    Decide,
    Prediction,
    Predictor,
)
from trainer.results.progress import ConsoleProgress
from trainer.results.report import evaluation_line, per_class_lines
from trainer.run.calibrate import stored_calibration, with_scores
from trainer.run.label_thresholds import trained_thresholds
from trainer.run.own_test import refresh_predictions, why_not_own_test
from trainer.run.prediction_rows import (
    RowWriter,
    csv_output,
    decision,
    row_writer,
)
from trainer.run.rejection import fitted_novelty, without_head
from trainer.run.trained import (
    Trained,
    open_fast_paths,
    open_trained,
    with_data,
)
from trainer.run.whole_folder import read_data
from trainer.workdir import EVALUATION, MANIFEST


def evaluate(config: Config, given: frozenset[str]) -> dict[str, Any]:
    """Evaluates a checkpoint of a workdir.

    The data are the run's final split, or a whole folder if `--dataset` is one
    that the run was not trained on.

    Args:
      config: the configuration, with stage evaluate.
      given: names of the flags given explicitly; all other flags have the
        values of the run.

    Returns:
      The metrics, as in evaluation.json.

    Raises:
      UsageError: the dataset cannot be found.
      TrainerError: the workdir cannot be used, or the data has other classes.
    """
    trained = open_trained(config, given)
    try:
        with multi_worker.working(trained.runtime.processes):
            return _evaluate(trained, given)
    except tf.errors.OpError as error:
        raise TrainerError(
            f"evaluate: {first_line(error)}; fix the cause, and start again"
        ) from error


def _evaluate(trained: Trained, given: frozenset[str]) -> dict[str, Any]:
    before, workdir, runtime = trained.run, trained.workdir, trained.runtime
    stored = workdir.read_json(MANIFEST) or {}
    trained = with_data(trained, given)
    run = trained.run
    whole, manifest = runtime.processes.chief_first(
        lambda: read_data(trained, before, given, stored)
    )
    _check_data(trained, manifest, stored, given)
    about = whole.announce(trained, stored) if whole else {}
    partition, inputs = open_fast_paths(trained, images=len(manifest.final))
    evaluator = Evaluator(
        runtime.strategy,
        trained.classifier,
        trained.class_names,
        batch_size=run.batch_size,
        xla=runtime.xla,
        partition=partition,
        inputs=inputs,
        flip=trained.flips,
    )
    why_not = why_not_own_test(trained, manifest, stored)
    evaluation = _evaluation(trained, evaluator, manifest.final)
    calibration = stored_calibration(trained)
    metrics = {
        "stage": trained.stage,
        "checkpoint": trained.which,
        "step": trained.step,
        "dataset": run.dataset,
        "final_split": manifest.final_split,
        "tta": run.tta,
        **about,
        **with_scores(manifest.final, evaluation, calibration),
    }
    changed = changed_files(manifest)
    if changed:
        workdir.warn(changes_warning(changed))
    of = "whole folder" if whole else f"{manifest.final_split} split"
    print(f"{trained.title}, {of}, {evaluation_line(metrics)}")
    print("\n".join(per_class_lines(metrics)))
    try:
        workdir.write_json(EVALUATION, metrics)
        refresh_predictions(trained, manifest, evaluation, why_not)
    except OSError as error:
        # A run of another person may be in a read-only folder.
        workdir.warn(
            f"--workdir={workdir.path!r}: cannot be written to"
            f" ({error.strerror}), so {EVALUATION} is not saved; to save it,"
            " copy the workdir to a writable folder"
        )
    return metrics


def _evaluation(
    trained: Trained, evaluator: Evaluator, samples: Samples
) -> Evaluation | MultilabelEvaluation:
    progress = ConsoleProgress(len(samples))
    report = functools.partial(progress.evaluated, "evaluated")
    with contextlib.closing(progress):
        if not trained.classifier.multilabel:
            return evaluator.evaluate(samples, outputs=True, report=report)
        thresholds = trained_thresholds(trained)
        return evaluator.evaluate_labels(
            samples, thresholds=thresholds, report=report
        )


def _check_data(
    trained: Trained,
    manifest: Manifest,
    stored: Mapping[str, Any],
    given: frozenset[str],
) -> None:
    """Checks the classes, and warns if the data differs from the run's.

    Args:
      trained: the trained classifier.
      manifest: the manifest of the data to evaluate on.
      stored: the JSON of the run's manifest, or {}.
      given: names of the flags given explicitly.

    Raises:
      TrainerError: the classes are not those of the run.
    """
    run, workdir = trained.run, trained.workdir
    if manifest.class_names != trained.class_names:
        raise TrainerError(
            f"--dataset={run.dataset!r}: its classes are"
            f" {list(manifest.class_names)}, the run's are"
            f" {list(trained.class_names)}; give data of the same classes"
        )
    if manifest.fingerprint == stored.get("fingerprint"):
        return
    if "dataset" not in given:
        workdir.warn(
            f"{run.dataset}: the photos have changed since the run; some"
            " test photos may have been trained on"
        )
    if manifest.turned and not rendering_of(run).exif:
        workdir.warn(
            orientation_warning(len(manifest.turned), manifest.turned[0])
        )


def predict(config: Config, given: frozenset[str]) -> None:
    """Writes one row per input file, even if the file cannot be read.

    Args:
      config: the configuration, with stage predict.
      given: see `evaluate`.

    Raises:
      UsageError: the workdir does not exist.
      TrainerError: the workdir cannot be used; or none of the files could be
        read, after their rows were written.
    """
    assert config.inputs is not None
    paths = find_inputs(config.inputs)
    trained = open_trained(config, given)
    decide, novelty = decision(config), None
    write = row_writer(trained, config.output, config.top_k, decide)
    if config.reject != OFF:
        trained = without_head(trained)
        novelty = fitted_novelty(trained, given)
    notes = _Notes(decide)
    bad = _write_predictions(trained, config, paths, notes, write, novelty)
    if bad == len(paths):
        raise none_readable(config.inputs, bad, notes.first_bad)
    written = f"; written to {config.output}" if config.output else ""
    summary = (
        f"{counted(len(paths), 'file')} with {trained.title}, {bad} of them"
        f" could not be read{notes.decided()}{written}"
    )
    # Not standard output, which may be the CSV file.
    print(one_line(summary), file=sys.stderr)
    if notes.turned and not rendering_of(trained.run).exif:
        warning = orientation_warning(
            len(notes.turned), printable(notes.turned[0])
        )
        print(f"warning: {one_line(warning)}", file=sys.stderr)


def _write_predictions(
    trained: Trained,
    config: Config,
    paths: list[str],
    notes: _Notes,
    write: RowWriter,
    novelty: Novelty | None,
) -> int:
    """Predicts all files, shows a progress bar, and writes the file.

    Returns:
      The number of files that could not be read.
    """
    # Standard output may be the CSV file, so warnings must not go there.
    with contextlib.redirect_stdout(sys.stderr):
        predictor = file_predictor(trained, len(paths), novelty)
    with contextlib.ExitStack() as stack:
        # The bar writes to the terminal while the decoders' logs are hidden.
        terminal = stack.enter_context(os.fdopen(os.dup(2), "w"))
        stack.enter_context(native_notes_hidden())
        rows = tqdm(
            _noted(predictor.predict(paths), notes),
            total=len(paths),
            unit="img",
            file=terminal,
            disable=not terminal.isatty(),
            leave=False,
        )
        out = stack.enter_context(csv_output(config.output))
        return write(rows, out)


def file_predictor(
    trained: Trained, files: int, novelty: Novelty | None = None
) -> Predictor:
    """Returns what predicts files.

    Args:
      trained: the trained classifier.
      files: how many there are; a conversion pays only for many.
      novelty: see `Predictor`.
    """
    # block=1: each pass computes one file, on all cores.
    partition, inputs = open_fast_paths(trained, images=files, block=1)
    return Predictor(
        trained.classifier,
        batch_size=trained.run.batch_size,
        xla=trained.runtime.xla,
        partition=partition,
        trunk=inputs.trunk,
        flip=trained.flips,
        rendering=rendering_of(trained.run),
        novelty=novelty,
    )


@dataclasses.dataclass
class _Notes:
    """The notes to print after the predictions.

    Attributes:
      decide: decides about each prediction; None if nothing is decided.
      turned: paths of the images whose Exif orientation is not upright.
      first_bad: path and error of the first file that cannot be read.
      decisions: number of images by decision.
    """

    decide: Decide | None = None
    turned: list[str] = dataclasses.field(default_factory=list)
    first_bad: str = ""
    decisions: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )

    def decided(self) -> str:
        """Returns the numbers of images that are not accepted, for a line."""
        if self.decide is None:
            return ""
        unsure, unlike = self.decisions[UNSURE], self.decisions[UNLIKE]
        return f"; {unsure} unsure, {unlike} unlike the training photos"


def _noted(
    predictions: Iterable[Prediction], notes: _Notes
) -> Iterator[Prediction]:
    """Yields the predictions, and adds to the notes."""
    for prediction in predictions:
        if prediction.orientation != UPRIGHT:
            notes.turned.append(prediction.path)
        if prediction.error and not notes.first_bad:
            path = printable(prediction.path)
            notes.first_bad = f"{path}: {prediction.error}"
        if notes.decide is not None:
            notes.decisions[notes.decide(prediction)] += 1
        yield prediction
