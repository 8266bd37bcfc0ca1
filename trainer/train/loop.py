"""The outer loop of a stage: epochs, validation, checkpoints, figures."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import keras
import tensorflow as tf

from trainer.config import StageSpec
from trainer.data.pipeline import Shard, steps_per_epoch, training_batches
from trainer.data.samples import Samples
from trainer.errors import TrainerError
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan
from trainer.train.audit import Audit, audit, digests
from trainer.train.checkpoints import StageCheckpoints, StageState
from trainer.train.figures import Figures, Writer, means_of, no_sums
from trainer.train.steps import Batch, TrainCall, make_train_function
from trainer.workdir import Workdir

# Long enough that Python does not matter, short enough for a live display.
_CALL_SECONDS = 1.0


class Evaluated(Protocol):
    """What the loop reads of a validation."""

    @property
    def loss(self) -> float: ...

    @property
    def accuracy(self) -> float: ...


class Progress(Protocol):
    """What a person sees while the loop runs."""

    def epoch(self, stage: str, epoch: int, epochs: int, done: int) -> None: ...

    def steps(self, examples: int, loss: float, accuracy: float) -> None: ...

    def end_epoch(self, line: str) -> None: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """What every stage of a run shares."""

    batch_size: int
    seed: int
    augment: bool
    clip_global_norm: float | None
    checkpoint_every_steps: int
    keep_checkpoints: int
    log_every_steps: int
    xla: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageOutcome:
    """A finished stage."""

    step: int
    best: dict[str, float]
    audit: Audit
    seconds: float


class StageLoop:
    """Trains one stage, from its beginning or from its latest checkpoint."""

    def __init__(
        self,
        spec: StageSpec,
        options: LoopOptions,
        *,
        strategy: tf.distribute.Strategy,
        classifier: Classifier,
        plan: FreezePlan,
        train: Samples,
        start_step: int,
        workdir: Workdir,
        validate: Callable[[], Evaluated],
        writer: Writer,
        progress: Progress,
    ) -> None:
        """Args:
        spec: the stage.
        options: of the run.
        strategy: what the classifier was made under.
        classifier: holds the weights to start from.
        plan: as `apply_freeze` made it for this stage.
        train: the training subset.
        start_step: absolute step at which the stage begins.
        workdir: where checkpoints and figures go.
        validate: evaluates the classifier as it stands.
        writer: where figures go too.
        progress: what a person sees.
        """
        self._spec, self._options = spec, options
        self._strategy, self._classifier = strategy, classifier
        self._plan, self._train = plan, train
        self._workdir, self._validate = workdir, validate
        self._progress = progress
        self._figures = Figures(workdir, writer, spec.stage)
        self._epoch_steps = steps_per_epoch(len(train), options.batch_size)
        self._state = StageState(
            stage=spec.stage,
            start_step=start_step,
            step=start_step,
            epoch_sums=no_sums(),
            window_sums=no_sums(),
            best=None,
            digests=digests(classifier.variables),
            gradient_max=dict.fromkeys(plan.trainable, 0.0),
            metrics_position=0,
            seconds=0.0,
        )
        with strategy.scope():
            self._optimizer = keras.optimizers.Adam(spec.learning_rate)
            self._optimizer.build(
                [classifier.variables[key] for key in plan.trainable]
            )
        self._checkpoints = StageCheckpoints(
            workdir,
            variables=classifier.variables,
            optimizer=self._optimizer,
            state=self._state,
            keep=options.keep_checkpoints,
        )

    def run(self) -> StageOutcome:
        """Trains what is left of the stage, and audits it.

        Raises:
          TrainerError: the audit failed; everything is saved first.
        """
        state = self._state
        if self._checkpoints.restore():
            self._figures.cut(state.metrics_position)
            self._workdir.event("resume", stage=state.stage, step=state.step)
        else:
            self._workdir.event("begin", stage=state.stage, step=state.step)
        end = state.start_step + self._spec.epochs * self._epoch_steps
        if state.step < end:
            train = make_train_function(
                self._strategy,
                self._classifier,
                self._plan,
                self._optimizer,
                clip_global_norm=self._options.clip_global_norm,
                xla=self._options.xla,
            )
            iterator = self._batches(end)
            while state.step < end:
                self._epoch(train, iterator)
        outcome = self._outcome()
        if outcome.audit.problems:
            raise TrainerError(
                f"{self._workdir.path}: the audit of {state.stage} failed:"
                f" {'; '.join(outcome.audit.problems[:3])}; the weights are"
                " saved, but do not trust them"
            )
        return outcome

    def _batches(self, end: int) -> Iterator[Batch]:
        replicas = self._strategy.num_replicas_in_sync
        state, options = self._state, self._options

        def dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return training_batches(
                self._train,
                image_px=self._classifier.image_px,
                shard=Shard(
                    global_batch=options.batch_size,
                    num_replicas=replicas,
                    pipeline=context.input_pipeline_id,
                    num_pipelines=context.num_input_pipelines,
                ),
                seed=options.seed,
                start_step=state.step - state.start_step,
                total_steps=end - state.start_step,
                augment=options.augment,
            )

        return iter(self._strategy.distribute_datasets_from_function(dataset))

    def _epoch(
        self,
        train: Callable[[Iterator[Batch], int], TrainCall],
        iterator: Iterator[Batch],
    ) -> None:
        """Trains to the end of the present epoch, validates and saves."""
        state, every = self._state, self._options.checkpoint_every_steps
        done = (state.step - state.start_step) % self._epoch_steps
        epoch_end = state.step + self._epoch_steps - done
        epoch = (epoch_end - state.start_step) // self._epoch_steps
        self._progress.epoch(
            state.stage,
            epoch,
            self._spec.epochs,
            int(state.epoch_sums["count"]),
        )
        steps = 1
        while state.step < epoch_end:
            left = epoch_end - state.step
            if every:
                left = min(left, every - state.step % every)
            began = time.perf_counter()
            call = train(iterator, min(steps, left))
            seconds = time.perf_counter() - began
            state.seconds += seconds
            self._account(call, epoch, seconds)
            per_step = seconds / len(call.sums["count"])
            # The first call traces, so it only ever grows by doubling.
            steps = max(1, min(2 * steps, int(_CALL_SECONDS / per_step)))
            if every and state.step % every == 0 and state.step < epoch_end:
                self._save()
        self._end_epoch(epoch)

    def _account(self, call: TrainCall, epoch: int, seconds: float) -> None:
        """Adds up what the steps of one call returned."""
        state = self._state
        for key, largest in zip(
            self._plan.trainable, call.gradient_max, strict=True
        ):
            state.gradient_max[key] = max(
                state.gradient_max[key], float(largest)
            )
        examples = float(call.sums["count"].sum())
        for i in range(len(call.sums["count"])):
            state.step += 1
            for sums in (state.epoch_sums, state.window_sums):
                for name in sums:
                    sums[name] += float(call.sums[name][i])
            if state.step % self._options.log_every_steps == 0:
                self._figures.record(
                    "train",
                    state.step,
                    epoch,
                    means_of(state.window_sums)
                    | {"gradient_norm": float(call.sums["gradient_norm"][i])},
                    span="steps",
                    times={"images_per_second": examples / seconds},
                )
                state.window_sums = no_sums()
        means = means_of(state.epoch_sums)
        self._progress.steps(int(examples), means["loss"], means["accuracy"])

    def _end_epoch(self, epoch: int) -> None:
        state = self._state
        means = means_of(state.epoch_sums)
        means["learning_rate"] = self._spec.learning_rate
        self._figures.record(
            "train", state.step, epoch, means, span="epoch", times={}
        )
        began = time.perf_counter()
        evaluated = self._validate()
        values = {"loss": evaluated.loss, "accuracy": evaluated.accuracy}
        self._figures.record(
            "validation",
            state.step,
            epoch,
            values,
            span="epoch",
            times={"seconds": time.perf_counter() - began},
        )
        state.epoch_sums = no_sums()
        best = state.best is None or values["accuracy"] > state.best["accuracy"]
        if best:
            state.best = {"step": state.step, **values}
        self._save(best=best)
        self._progress.end_epoch(
            f"{state.stage} epoch {epoch}/{self._spec.epochs}"
            f"  loss {means['loss']:.4f}  accuracy {means['accuracy']:.4f}"
            f"  val_loss {values['loss']:.4f}"
            f"  val_accuracy {values['accuracy']:.4f}"
        )

    def _save(self, *, best: bool = False) -> None:
        self._state.metrics_position = self._figures.position()
        self._checkpoints.save(best=best)
        self._workdir.event(
            "save", stage=self._state.stage, step=self._state.step, best=best
        )

    def _outcome(self) -> StageOutcome:
        state = self._state
        found = audit(
            self._plan,
            state.digests,
            self._classifier.variables,
            state.gradient_max,
            learning_rate=self._spec.learning_rate,
            epsilon=self._optimizer.epsilon,
        )
        for warning in found.warnings:
            self._workdir.event("warning", text=warning)
        assert state.best is not None
        return StageOutcome(
            step=state.step,
            best=state.best,
            audit=found,
            seconds=state.seconds,
        )
