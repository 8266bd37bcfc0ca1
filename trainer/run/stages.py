"""Runs the stages of a training run in order, and writes their results."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from trainer.config import StageSpec
from trainer.config.fields import FEATURE_EXTRACT
from trainer.data.augment import warp
from trainer.data.batches import training_batches
from trainer.data.changes import changed_files, changes_warning
from trainer.data.manifest import Manifest
from trainer.data.order import Shard
from trainer.data.reading import Reading
from trainer.errors import TrainerError, reason_of
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan, freeze_plan, set_trainable
from trainer.results.evaluate import Evaluation, Evaluator
from trainer.results.head_chart import head_chart
from trainer.results.progress import ConsoleProgress
from trainer.results.report import result_lines
from trainer.results.summaries import FINAL, FOLDER, TensorBoardWriter
from trainer.run.fast_paths import FastPaths, StagePaths, StageWork
from trainer.run.prepare import RunSetup
from trainer.train.checkpoint_files import find_checkpoint
from trainer.train.checkpoints import restore_variables
from trainer.train.class_weights import class_weights
from trainer.train.loop import StageLoop
from trainer.train.metrics import StepMetrics
from trainer.train.stage import StageJob, StageOutcome
from trainer.train.start import Start, stage_marker
from trainer.workdir import CONFIG, HEAD_CHART, HEAD_PATH, RESULT, Workdir

_SHOWN_IMAGES = 8
# The fields of the previous stage that result.json repeats.
_EARLIER = (
    "stage",
    "epochs",
    "steps",
    "test_loss",
    "test_accuracy",
    "train_seconds",
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
        self._runtime = setup.runtime
        self._workdir = workdir
        self._manifest = manifest
        self._classifier = classifier
        self._start = start
        self._options = options
        self._metrics = workdir.metrics()
        self._writer = TensorBoardWriter(
            workdir.file(FOLDER), writes=workdir.writes
        )
        self._paths: StagePaths | None = None
        self._progress = ConsoleProgress(len(manifest.train))

    def run(self) -> None:
        """Trains all stages, writes result.json and prints the results."""
        config, workdir = self._config, self._workdir
        self._writer.open()
        with self._optional("configuration"):
            self._writer.configuration(config.to_json())
        if self._start.metrics_position is not None:
            self._metrics.cut(self._start.metrics_position)
        workdir.remove(RESULT)
        step = self._start.start_step
        stages = self._start.stages
        with contextlib.closing(self._metrics):
            for spec, later in itertools.zip_longest(stages, stages[1:]):
                result = self._stage(spec, later, step)
                step = result["steps"]
                if spec.stage != config.stage:
                    self._restore_best(spec.stage)
        with self._optional("last metrics"):
            self._writer.close()
        workdir.write_json(RESULT, result)
        workdir.event("complete", stage=config.stage, step=step)
        print("\n".join(result_lines(result, workdir.path)), flush=True)

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
                f"{self._workdir.file(FOLDER)}: without the {what}"
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
        classifier, manifest = self._classifier, self._manifest
        plan = freeze_plan(classifier, spec.unfreeze)
        # A head is solved on its own inputs, so the cut is before the head.
        sharing = later if later and not spec.solved else None
        plan_later = (
            freeze_plan(classifier, sharing.unfreeze) if sharing else None
        )
        set_trainable(classifier, plan)
        paths = self._stage_paths(spec, plan, plan_later)
        evaluator = Evaluator(
            self._runtime.strategy,
            classifier,
            manifest.class_names,
            # The batch of one part, to use no more memory than training.
            batch_size=self._config.batch_size // self._config.accumulate_steps,
            xla=self._runtime.xla,
            partition=paths.partition,
            inputs=paths.inputs,
        )
        job = StageJob(
            spec=spec,
            config=self._config,
            runtime=self._runtime,
            classifier=classifier,
            plan=plan,
            partition=paths.partition,
            inputs=paths.inputs,
            train=manifest.train,
            class_weights=class_weights(
                self._config.class_weights,
                manifest.train,
                manifest.class_names,
            ),
            start_step=step,
            workdir=self._workdir,
            validate=functools.partial(
                evaluator.evaluate, manifest.validation, again=True
            ),
            writer=self._writer,
            progress=self._progress,
        )
        augments = self._config.augment and not spec.solved
        if augments and self._workdir.writes:
            with self._optional("augmented images"):
                self._show_augmentation(step)
        outcome = _stage_loop(job).run()
        evaluation = evaluator.evaluate(manifest.final)
        # Recorded again, because the engine may have fallen back to graph.
        self._note_trunk(spec.stage, paths)
        return self._finish_stage(spec, plan, outcome, evaluation)

    def _stage_paths(
        self, spec: StageSpec, plan: FreezePlan, later: FreezePlan | None
    ) -> StagePaths:
        """Returns the stage's fast paths, or those shared by the last stage."""
        paths = self._paths
        if paths is None or not paths.shared:
            manifest = self._manifest
            paths = self._options.for_stage(
                self._classifier,
                plan,
                warn=self._workdir.warn,
                report=self._progress.rows,
                later=later,
                work=StageWork(
                    epochs=spec.epochs,
                    train=len(manifest.train),
                    validation=len(manifest.validation),
                    final=len(manifest.final),
                    augment=self._config.augment,
                ),
            )
        self._paths = paths
        self._note_trunk(spec.stage, paths)
        return paths

    def _note_trunk(self, stage: str, paths: StagePaths) -> None:
        """Records in config.json the engine, cut and block of the trunk."""
        facts = paths.inputs.facts()
        stored = self._workdir.read_json(CONFIG) or {}
        trunks = stored.get("trunks", {})
        if facts and facts != trunks.get(stage):
            trunks = {**trunks, stage: facts}
            self._workdir.write_json(CONFIG, {**stored, "trunks": trunks})

    def _show_augmentation(self, step: int) -> None:
        """Writes images of the first batch, before and after augmentation."""
        count = min(_SHOWN_IMAGES, len(self._manifest.train))
        dataset = training_batches(
            self._manifest.train,
            reading=Reading(image_px=self._classifier.image_px),
            shard=Shard(global_batch=count, num_replicas=1),
            seed=self._config.seed,
            start_step=0,
            total_steps=1,
            augment=True,
        )
        batch = next(iter(dataset))
        after = warp(batch["images"], batch["matrices"], kernel="gather")
        self._writer.augmented(step, batch["images"].numpy(), after.numpy())

    def _restore_best(self, stage: str) -> None:
        """Restores the best weights if the next stage starts from them."""
        if self._config.init_from_checkpoint == "best":
            path = find_checkpoint(self._workdir, stage, "best")
            assert path is not None
            restore_variables(path, self._classifier.variables)

    def _finish_stage(
        self,
        spec: StageSpec,
        plan: FreezePlan,
        outcome: StageOutcome,
        evaluation: Evaluation,
    ) -> dict[str, Any]:
        """Writes the metrics of the last weights, and the stage's marker."""
        StepMetrics(self._workdir, self._writer, spec.stage).record(
            FINAL,
            outcome.step,
            None,
            {"loss": evaluation.loss, "accuracy": evaluation.accuracy},
            span="final",
            times={},
        )
        # TensorBoard's HParams looks for metrics in the same writer.
        with self._optional("hyper-parameters"):
            self._writer.hparams(self._config.result_fields())
        with self._optional("confusion matrix"):
            self._writer.confusion(outcome.step, evaluation)
        if spec.solved and self._workdir.writes:
            with self._optional(f"chart of {HEAD_PATH}"):
                self._draw_head_path(outcome.step)
        result = self._result(spec, plan, outcome, evaluation)
        marker = {**result, "metrics_position": self._metrics.position()}
        self._workdir.write_json(stage_marker(spec.stage), marker)
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

    def _result(
        self,
        spec: StageSpec,
        plan: FreezePlan,
        outcome: StageOutcome,
        evaluation: Evaluation,
    ) -> dict[str, Any]:
        """Returns the stage's part of result.json."""
        manifest = self._manifest
        result = {
            "stage": spec.stage,
            "backbone": self._config.backbone,
            "dataset": manifest.name,
            "classes": list(manifest.class_names),
            "train_examples": len(manifest.train),
            "epochs": spec.epochs,
            "learning_rate": None if spec.solved else spec.learning_rate,
            "steps": outcome.step,
            "final_split": manifest.final_split,
            **evaluation.to_json(),
            "validation_examples": len(manifest.validation),
            "validation_from_test": manifest.validation_from_test,
            "best_step": outcome.best["step"],
            "best_validation_accuracy": outcome.best["accuracy"],
            "total_params": plan.total_params,
            "trainable_params": plan.trainable_params,
            "train_seconds": round(outcome.seconds, 3),
            "audit": dataclasses.asdict(outcome.audit),
        }
        changed = changed_files(manifest) if self._workdir.writes else []
        if changed:
            self._workdir.warn(changes_warning(changed))
            result["changed_files"] = changed
        earlier = self._earlier_stage(spec.stage)
        if earlier:
            result["earlier_stages"] = [earlier]
        return result

    def _earlier_stage(self, stage: str) -> Mapping[str, Any] | None:
        """Returns the main results of the feature_extract before a finetune."""
        marker = self._workdir.read_json(stage_marker(FEATURE_EXTRACT))
        if stage == FEATURE_EXTRACT or marker is None:
            return None
        return {key: marker[key] for key in _EARLIER}


def _stage_loop(job: StageJob) -> StageLoop:
    """Returns what trains a stage, or solves its head."""
    if not job.spec.solved:
        return StageLoop(job)
    # SciPy takes half a second to import, which other runs need not wait for.
    from trainer.train.solved_stage import SolvedStage

    return SolvedStage(job)
