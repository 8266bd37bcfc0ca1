"""Builds the job of each stage, and restores the weights of the next one."""

from __future__ import annotations

import functools

from trainer.config import StageSpec
from trainer.config.fields import FLIP
from trainer.data.manifest import Manifest
from trainer.learning.checkpoint_files import find_checkpoint
from trainer.learning.loop import StageLoop
from trainer.learning.metrics import Writer, hits_name
from trainer.learning.restoring import restore_variables
from trainer.learning.stage import StageJob
from trainer.learning.stopping import Stopwatch
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan, freeze_plan, set_trainable
from trainer.results.evaluate import Evaluator
from trainer.results.progress import ConsoleProgress
from trainer.run.fast_paths import FastPaths, StagePaths, StageWork
from trainer.run.losses import training_loss
from trainer.run.prepare import RunSetup
from trainer.workdir import Workdir


class StageJobs:
    """Makes the jobs of a run's stages, in order."""

    def __init__(
        self,
        setup: RunSetup,
        workdir: Workdir,
        manifest: Manifest,
        classifier: Classifier,
        options: FastPaths,
        writer: Writer,
    ) -> None:
        """Creates the object; computes nothing.

        Args:
          setup: the setup of the run.
          workdir: receives checkpoints and metrics.
          manifest: the samples of each split.
          classifier: holds the initial weights.
          options: the fast paths of the run.
          writer: receives the metrics in addition to metrics.jsonl.
        """
        self._setup = setup
        self._config = setup.config
        self._workdir = workdir
        self._manifest = manifest
        self._classifier = classifier
        self._options = options
        self._writer = writer
        self._paths: StagePaths | None = None
        self.progress = ConsoleProgress(
            len(manifest.train), hits_name(setup.config.task)
        )
        self._stopwatch = Stopwatch()

    def make(
        self, spec: StageSpec, later: StageSpec | None, step: int
    ) -> tuple[StageJob, Evaluator]:
        """Returns the job of a stage, and the evaluator of its final test.

        Args:
          spec: the settings of the stage.
          later: the settings of the next stage; None for the last stage.
          step: the absolute step at which the stage begins, unless it resumes.
        """
        classifier, manifest = self._classifier, self._manifest
        plan = freeze_plan(classifier, spec.unfreeze)
        # A solved head, or one with cached views, caches the head's inputs,
        # which the next stage cannot use. A part must cut the model at the same
        # layer after a restart, so it does not share fast paths either.
        shares = not (spec.solved or spec.views or spec.part)
        sharing = later if shares else None
        plan_later = (
            freeze_plan(classifier, sharing.unfreeze) if sharing else None
        )
        set_trainable(classifier, plan)
        paths = self._stage_paths(spec, plan, plan_later)
        evaluator = self._evaluator(paths)
        job = StageJob(
            spec=spec,
            config=self._config,
            runtime=self._setup.runtime,
            classifier=classifier,
            plan=plan,
            partition=paths.partition,
            inputs=paths.inputs,
            train=manifest.train,
            loss=training_loss(self._config, manifest),
            start_step=step,
            workdir=self._workdir,
            validate=functools.partial(
                evaluator.evaluate_labels
                if manifest.validation.multilabel
                else evaluator.evaluate,
                manifest.validation,
                again=True,
                report=functools.partial(self.progress.evaluated, "validation"),
            ),
            writer=self._writer,
            progress=self.progress,
            stopwatch=self._stopwatch,
            restore_best=(
                self._config.honest_validation
                and not manifest.validates_on_final
            ),
        )
        return job, self._tester(paths, plan, evaluator)

    def _tester(
        self, paths: StagePaths, plan: FreezePlan, evaluator: Evaluator
    ) -> Evaluator:
        """Returns the evaluator of the final test.

        Args:
          paths: the fast paths of the stage.
          plan: the trainable and the frozen variables of the stage.
          evaluator: evaluates during training.
        """
        tested = self._options.plan_of_test(
            self._classifier, plan, images=len(self._manifest.final)
        )
        if tested is not plan:
            paths = self._options.for_stage(
                self._classifier,
                tested,
                warn=self._workdir.warn,
                report=self.progress.rows,
            )
        flip = self._config.tta == FLIP
        if tested is plan and not flip:
            return evaluator
        return self._evaluator(paths, flip=flip)

    def _evaluator(self, paths: StagePaths, *, flip: bool = False) -> Evaluator:
        runtime = self._setup.runtime
        return Evaluator(
            runtime.strategy,
            self._classifier,
            self._manifest.class_names,
            # The batch of one accumulation step, so that evaluation needs no
            # more memory than training.
            batch_size=self._config.batch_size // self._config.accumulate_steps,
            xla=runtime.xla,
            partition=paths.evaluated,
            inputs=paths.inputs,
            flip=flip,
        )

    def _stage_paths(
        self, spec: StageSpec, plan: FreezePlan, later: FreezePlan | None
    ) -> StagePaths:
        """Returns fast paths: new ones, or those shared by the last stage."""
        # At most two stages share fast paths.
        paths, self._paths = self._paths, None
        if paths is None:
            manifest = self._manifest
            paths = self._options.for_stage(
                self._classifier,
                plan,
                warn=self._workdir.warn,
                report=self.progress.rows,
                later=later,
                work=StageWork(
                    epochs=spec.epochs,
                    train=len(manifest.train),
                    validation=len(manifest.validation),
                    final=len(manifest.final),
                    augment=self._config.augments
                    and not (spec.solved or spec.views),
                ),
            )
            self._paths = paths if paths.shared else None
        return paths


def stage_loop(job: StageJob) -> StageLoop:
    """Returns the loop that trains the stage, or that solves its head."""
    if not job.spec.solved:
        return StageLoop(job)
    # Imported only here, because importing SciPy takes half a second.
    from trainer.learning.solved_stage import SolvedStage

    return SolvedStage(job)


def restore_start(
    workdir: Workdir,
    classifier: Classifier,
    stage: str,
    *,
    asked: str | None,
    has: str,
) -> None:
    """Restores the weights that the next stage starts from.

    Args:
      workdir: holds the checkpoints of the stage.
      classifier: changed in place.
      stage: the stage that has ended.
      asked: the value of --init_from_checkpoint.
      has: the checkpoint that the classifier's weights are from.
    """
    if asked and asked != has:
        path = find_checkpoint(workdir, stage, asked)
        assert path is not None
        restore_variables(path, classifier.variables)
