"""A training run: its stages one after the other, and their figures."""

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
from trainer.data.changes import changed_files, changes_warning
from trainer.data.manifest import Manifest
from trainer.data.pipeline import Reading, Shard, training_batches
from trainer.errors import TrainerError, reason_of
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan, freeze_plan, set_trainable
from trainer.results.evaluate import Evaluation, Evaluator
from trainer.results.progress import ConsoleProgress
from trainer.results.report import result_lines
from trainer.results.summaries import FINAL, FOLDER, TensorBoardWriter
from trainer.run.fast_paths import FastPaths, StagePaths, Work
from trainer.run.prepare import RunSetup
from trainer.train.checkpoint_files import find_checkpoint
from trainer.train.checkpoints import restore_variables
from trainer.train.loop import StageLoop
from trainer.train.metrics import StepMetrics
from trainer.train.stage import LoopOptions, StageOutcome
from trainer.train.start import Start, stage_marker
from trainer.workdir import CONFIG, RESULT, Workdir


class TrainingRun:
    """The stages of one run, and their figures."""

    def __init__(
        self,
        request: RunSetup,
        workdir: Workdir,
        manifest: Manifest,
        classifier: Classifier,
        start: Start,
        paths: FastPaths,
    ) -> None:
        self._request, self._config = request, request.config
        self._workdir, self._manifest = workdir, manifest
        self._classifier, self._start = classifier, start
        self._metrics = workdir.metrics()
        self._writer = TensorBoardWriter(
            workdir.file(FOLDER), writes=workdir.writes
        )
        self._paths = paths
        self._taken: StagePaths | None = None
        self._progress = ConsoleProgress(len(manifest.train))
        self._options = LoopOptions(
            xla=request.xla,
            kernel=paths.kernel,
            **{
                field.name: getattr(self._config, field.name)
                for field in dataclasses.fields(LoopOptions)
                if field.name not in ("xla", "kernel")
            },
        )

    def run(self) -> None:
        """Goes through the stages, and ends with result.json and the table."""
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
                    self._take_over(spec.stage)
        with self._optional("last metrics"):
            self._writer.close()
        workdir.write_json(RESULT, result)
        workdir.event("complete", stage=config.stage, step=step)
        print("\n".join(result_lines(result, workdir.path)), flush=True)

    @contextlib.contextmanager
    def _optional(self, what: str) -> Iterator[None]:
        """A block for TensorBoard whose failure is a warning.

        A class name that a chart cannot show must not cost a trained model.
        """
        try:
            yield
        except TrainerError:
            # Another process took the folder over.
            raise
        except Exception as error:
            self._workdir.warn(
                f"{self._workdir.file(FOLDER)}: without the {what}"
                f" ({reason_of(error)}); the run goes on"
            )

    def _stage(
        self, spec: StageSpec, later: StageSpec | None, step: int
    ) -> dict[str, Any]:
        """Trains and evaluates one stage, before a later one; its figures."""
        classifier, manifest = self._classifier, self._manifest
        plan = freeze_plan(classifier, spec.unfreeze)
        plan_later = freeze_plan(classifier, later.unfreeze) if later else None
        set_trainable(classifier, plan)
        taken = self._stage_paths(spec, plan, plan_later)
        partition, inputs = taken.partition, taken.inputs
        evaluator = Evaluator(
            self._request.strategy,
            classifier,
            manifest.class_names,
            # In no more memory than training needs.
            batch_size=self._config.batch_size // self._config.accumulate_steps,
            xla=self._request.xla,
            partition=partition,
            inputs=inputs,
        )
        loop = StageLoop(
            spec,
            self._options,
            strategy=self._request.strategy,
            classifier=classifier,
            plan=plan,
            partition=partition,
            inputs=inputs,
            train=manifest.train,
            start_step=step,
            workdir=self._workdir,
            validate=functools.partial(
                evaluator.evaluate, manifest.validation, again=True
            ),
            writer=self._writer,
            progress=self._progress,
        )
        outcome = self._train_stage(loop, step)
        evaluation = evaluator.evaluate(manifest.final)
        changed = changed_files(manifest) if self._workdir.writes else []
        if changed:
            self._workdir.warn(changes_warning(changed))
        # Again: an engine may have been found to be no good meanwhile.
        self._note_trunk(spec.stage, taken)
        return self._finish_stage(spec, plan, outcome, evaluation, changed)

    def _stage_paths(
        self, spec: StageSpec, plan: FreezePlan, later: FreezePlan | None
    ) -> StagePaths:
        """Its own, or those that the stage before it shares with it."""
        taken = self._taken
        if taken is None or not taken.shared:
            manifest, config = self._manifest, self._config
            taken = self._paths.stage(
                self._classifier,
                plan,
                warn=self._workdir.warn,
                report=self._progress.rows,
                later=later,
                work=Work(
                    epochs=spec.epochs,
                    train=len(manifest.train),
                    validation=len(manifest.validation),
                    final=len(manifest.final),
                    augment=config.augment,
                ),
            )
        self._taken = taken
        self._note_trunk(spec.stage, taken)
        return taken

    def _note_trunk(self, stage: str, taken: StagePaths) -> None:
        """Keeps in config.json what runs the trunk of a stage."""
        facts = taken.inputs.facts()
        stored = self._workdir.read_json(CONFIG) or {}
        trunks = stored.get("trunks", {})
        if facts and facts != trunks.get(stage):
            trunks = {**trunks, stage: facts}
            self._workdir.write_json(CONFIG, {**stored, "trunks": trunks})

    def _train_stage(self, loop: StageLoop, step: int) -> StageOutcome:
        if self._config.augment and self._workdir.writes:
            with self._optional("augmented images"):
                self._show_augmentation(step)
        return loop.run()

    def _show_augmentation(self, step: int) -> None:
        """A image of the run's first batch, before and after."""
        count = min(8, len(self._manifest.train))
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

    def _take_over(self, stage: str) -> None:
        """Goes on from the best weights, where they are asked for."""
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
        changed: list[str],
    ) -> dict[str, Any]:
        """Writes the final figures and leaves the stage's marker."""
        StepMetrics(self._workdir, self._writer, spec.stage).record(
            FINAL,
            outcome.step,
            None,
            {"loss": evaluation.loss, "accuracy": evaluation.accuracy},
            span="final",
            times={},
        )
        # One writer for final figures, so that hparams finds them.
        with self._optional("hyper-parameters"):
            self._writer.hparams(self._config.result_fields())
        with self._optional("confusion matrix"):
            self._writer.confusion(outcome.step, evaluation)
        result = {
            "stage": spec.stage,
            "backbone": self._config.backbone,
            "dataset": self._manifest.name,
            "classes": list(self._manifest.class_names),
            "train_examples": len(self._manifest.train),
            "epochs": spec.epochs,
            "learning_rate": spec.learning_rate,
            "steps": outcome.step,
            "final_split": self._manifest.final_split,
            **evaluation.to_json(),
            "validation_examples": len(self._manifest.validation),
            "validation_from_test": self._manifest.validation_from_test,
            "best_step": outcome.best["step"],
            "best_validation_accuracy": outcome.best["accuracy"],
            "total_params": plan.total_params,
            "trainable_params": plan.trainable_params,
            "train_seconds": round(outcome.seconds, 3),
            "audit": dataclasses.asdict(outcome.audit),
        }
        if changed:
            result["changed_files"] = changed
        earlier = self._earlier_stage(spec.stage)
        if earlier:
            result["earlier_stages"] = [earlier]
        marker = {**result, "metrics_position": self._metrics.position()}
        self._workdir.write_json(stage_marker(spec.stage), marker)
        return result

    def _earlier_stage(self, stage: str) -> Mapping[str, Any] | None:
        """The figures of the feature_extract before a finetune, in short."""
        marker = self._workdir.read_json(stage_marker(FEATURE_EXTRACT))
        if stage == FEATURE_EXTRACT or marker is None:
            return None
        keys = (
            "stage",
            "epochs",
            "steps",
            "test_loss",
            "test_accuracy",
            "train_seconds",
        )
        return {key: marker[key] for key in keys}
