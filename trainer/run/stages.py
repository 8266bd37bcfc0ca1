"""Runs the stages of a training run in order, and writes their results."""

from __future__ import annotations

import contextlib
import functools
import itertools
import posixpath
from collections.abc import Iterator
from typing import Any

import numpy as np

from trainer.config import StageSpec
from trainer.data.manifest import Manifest
from trainer.errors import TrainerError, reason_of
from trainer.learning.checkpoint_files import keep_only_last
from trainer.learning.disk import (
    checkpoint_bytes,
    disk_line,
    space_warning,
)
from trainer.learning.inputs import Inputs
from trainer.learning.metrics import StepMetrics
from trainer.learning.stage import StageOutcome
from trainer.learning.start import Start, stage_marker
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan, freeze_plan
from trainer.native_memory import peak_memory
from trainer.results.evaluate import Evaluator
from trainer.results.evaluation import Evaluation
from trainer.results.head_chart import head_chart
from trainer.results.multilabel import MultilabelEvaluation
from trainer.results.out_of_fold import write_out_of_fold
from trainer.results.predictions_file import write_predictions
from trainer.results.report import result_lines
from trainer.results.summaries import FINAL, TensorBoardWriter
from trainer.run.calibrate import final_metrics
from trainer.run.fast_paths import FastPaths
from trainer.run.prepare import RunSetup
from trainer.run.report import Finished, write_at_end
from trainer.run.run_time import RunTime
from trainer.run.shown_images import shown_images
from trainer.run.stage_parts import StageJobs, restore_start, stage_loop
from trainer.run.stage_result import stage_result
from trainer.workdir import (
    CONFIG,
    HEAD_CHART,
    HEAD_PATH,
    PREDICTIONS,
    REPORT,
    RESULT,
    TENSORBOARD,
    Workdir,
)


class TrainingRun:
    """The stages of one run, from its start to result.json."""

    def __init__(
        self,
        setup: RunSetup,
        workdir: Workdir,
        manifest: Manifest,
        classifier: Classifier,
        start: Start,
        options: FastPaths,
    ) -> None:
        """Creates the run; nothing is trained yet.

        Args:
          setup: the setup of the run.
          workdir: the workdir, locked by this process.
          manifest: the samples of each split.
          classifier: has the weights to start from.
          start: the stages to train, and where they begin.
          options: the fast paths of the run.
        """
        self._config = setup.config
        self._workdir = workdir
        self._manifest = manifest
        self._classifier = classifier
        self._start = start
        self._runtime = setup.runtime
        self._logits: np.ndarray | None = None
        self._shown = False
        self._metrics = workdir.metrics()
        self._writer = TensorBoardWriter(
            workdir.file(TENSORBOARD), writes=workdir.writes
        )
        self._jobs = StageJobs(
            setup, workdir, manifest, classifier, options, self._writer
        )
        self._time = RunTime(
            setup, workdir, manifest, options, self._jobs.progress
        )

    def run(self) -> None:
        """Trains all stages, writes result.json and prints the results."""
        config, workdir = self._config, self._workdir
        self._say_needs()
        self._writer.open()
        with self._optional("configuration"):
            self._writer.configuration(config.to_json())
        if self._start.metrics_position is not None:
            self._metrics.cut(self._start.metrics_position)
        workdir.remove(RESULT)
        workdir.remove(PREDICTIONS)
        workdir.remove(REPORT)
        step = self._start.start_step
        stages = self._start.stages
        with (
            contextlib.closing(self._metrics),
            contextlib.closing(self._jobs.progress),
        ):
            for spec, later in itertools.zip_longest(stages, stages[1:]):
                self._time.begin(spec, later)
                result = self._stage(spec, later, step)
                step = result["steps"]
                if later is not None:
                    self._time.end()
                    restore_start(
                        workdir,
                        self._classifier,
                        spec.stage,
                        asked=config.init_from_checkpoint,
                        has=result["result_checkpoint"],
                    )
        with self._optional("last metrics"):
            self._writer.close()
        workdir.write_json(RESULT, result)
        workdir.event(
            "complete",
            stage=config.stage,
            step=step,
            times={"peak_memory_mib": peak_memory()},
        )
        written = self._write_report(result)
        self._time.end()
        lines = result_lines(result, workdir.path, report=written)
        print("\n".join(lines), flush=True)

    def _say_needs(self) -> None:
        """Prints the disk that the checkpoints take, and the time if known.

        Warns if there is less disk.
        """
        plans = [
            (spec, freeze_plan(self._classifier, spec.unfreeze, part=spec.part))
            for spec in self._start.stages
        ]
        need = checkpoint_bytes(self._config, plans)
        print(disk_line(need), flush=True)
        warning = space_warning(need, self._workdir.path)
        if warning:
            self._workdir.warn(warning)
        line = self._time.line(self._start.stages)
        if line:
            print(line, flush=True)

    def _write_report(self, result: dict[str, Any]) -> bool:
        """Writes report.html; returns whether it was written.

        There is no report of images with several labels.
        """
        if self._logits is None:
            return False
        finished = Finished(
            workdir=self._workdir,
            config=self._config,
            manifest=self._manifest,
            classifier=self._classifier,
            logits=self._logits,
            result=result,
            on_tpu=self._runtime.on_tpu,
        )
        return write_at_end(finished)

    @contextlib.contextmanager
    def _optional(self, what: str) -> Iterator[None]:
        """Turns an error of the block into a warning.

        Used for TensorBoard: an error there, such as a class name that a chart
        cannot show, must not stop the run.

        Args:
          what: what the block writes, for the warning.
        """
        try:
            yield
        except TrainerError:
            # Another process has taken over the workdir.
            raise
        except Exception as error:
            self._workdir.warn(
                f"{self._workdir.file(TENSORBOARD)}: without the {what}"
                f" ({reason_of(error)}); the run continues"
            )

    def _stage(
        self, spec: StageSpec, later: StageSpec | None, step: int
    ) -> dict[str, Any]:
        """Trains and evaluates one stage.

        Args:
          spec: the settings of the stage.
          later: the settings of the next stage; None for the last stage.
          step: the absolute step at which the stage begins, unless it resumes.

        Returns:
          The stage's part of result.json.
        """
        job, evaluator = self._jobs.make(spec, later, step)
        self._note_trunk(spec.stage, job.inputs)
        augments = self._config.augments and (not spec.solved or spec.views > 0)
        if augments and self._workdir.writes and not self._shown:
            # All stages augment in the same way.
            self._shown = True
            with self._optional("augmented images"):
                self._show_augmentation(step)
        outcome = stage_loop(job).run()
        evaluation = self._final(spec, evaluator)
        metrics = evaluation.to_json()
        if spec.stage == self._config.last_stage:
            metrics = final_metrics(self._manifest, evaluator, evaluation)
            if isinstance(evaluation, Evaluation):
                self._logits = evaluation.outputs
            self._write_out_of_fold(evaluator)
        # Recorded again, because the engine may have fallen back to graph.
        self._note_trunk(spec.stage, job.inputs)
        return self._finish_stage(spec, job.plan, outcome, evaluation, metrics)

    def _final(
        self, spec: StageSpec, evaluator: Evaluator
    ) -> Evaluation | MultilabelEvaluation:
        """Evaluates the result of a stage on the final samples.

        With several labels per image, the thresholds are those of the
        validation with the same weights.
        """
        final, held_out = self._manifest.final, self._manifest.validation
        report = functools.partial(
            self._jobs.progress.evaluated, self._manifest.final_split
        )
        if not final.multilabel:
            last = spec.stage == self._config.last_stage
            return evaluator.evaluate(final, outputs=last, report=report)
        chosen = evaluator.evaluate_labels(held_out).thresholds
        return evaluator.evaluate_labels(
            final, thresholds=chosen, report=report
        )

    def _write_out_of_fold(self, evaluator: Evaluator) -> None:
        """Writes the predictions for the fold, if the run validates on one."""
        rule, held_out = self._config.validation_rule, self._manifest.validation
        if rule is None or not rule.fold:
            return
        found = evaluator.evaluate(held_out, outputs=True)
        write_out_of_fold(self._workdir, rule.fold, held_out, found)

    def _note_trunk(self, stage: str, inputs: Inputs) -> None:
        """Records in config.json the engine, cut and block of the trunk."""
        facts = inputs.facts()
        stored = self._workdir.read_json(CONFIG) or {}
        trunks = stored.get("trunks", {})
        if facts and facts != trunks.get(stage):
            trunks = {**trunks, stage: facts}
            self._workdir.write_json(CONFIG, {**stored, "trunks": trunks})

    def _show_augmentation(self, step: int) -> None:
        """Writes images of the first batch, before and after augmentation."""
        before, after = shown_images(
            self._manifest.train,
            self._config,
            image_px=self._classifier.image_px,
        )
        self._writer.augmented(step, before, after)

    def _finish_stage(
        self,
        spec: StageSpec,
        plan: FreezePlan,
        outcome: StageOutcome,
        evaluation: Evaluation | MultilabelEvaluation,
        metrics: dict[str, Any],
    ) -> dict[str, Any]:
        """Writes metrics and predictions of the result, and the marker.

        The marker is last: without it, a resumed run comes here again.
        """
        StepMetrics(self._workdir, self._writer, spec.stage).record(
            FINAL,
            outcome.result_step,
            None,
            evaluation.headline(),
            span="final",
            times={},
        )
        # TensorBoard's HParams looks for metrics in the same writer.
        with self._optional("hyper-parameters"):
            name = posixpath.basename(self._workdir.path.rstrip("/"))
            self._writer.hparams(self._config.result_fields(), name)
        if isinstance(evaluation, Evaluation):
            with self._optional("confusion matrix"):
                self._writer.confusion(outcome.result_step, evaluation)
        if spec.solved and self._workdir.writes:
            with self._optional(f"chart of {HEAD_PATH}"):
                self._draw_head_path(outcome.result_step)
        if spec.stage == self._config.last_stage:
            write_predictions(self._workdir, self._manifest.final, evaluation)
        result = stage_result(
            self._config,
            self._workdir,
            self._manifest,
            spec,
            plan,
            outcome,
            metrics,
        )
        marker = {**result, "metrics_position": self._metrics.position()}
        self._workdir.write_json(stage_marker(spec.stage), marker)
        if self._workdir.writes and self._config.keep_checkpoints is None:
            keep_only_last(self._workdir, spec.stage)
        return result

    def _draw_head_path(self, step: int) -> None:
        """Draws how the L2 strength was chosen, if it was."""
        try:
            record = self._workdir.read_json(HEAD_PATH)
        except TrainerError as error:
            raise ValueError(str(error)) from None
        if record is not None:
            drawn, image = head_chart(record)
            self._workdir.write_text(HEAD_CHART, drawn)
            self._writer.head_chart(step, image)
