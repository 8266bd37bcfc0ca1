"""The outer loop of a stage: epochs, validation, checkpoints, figures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import tensorflow as tf

from trainer import interrupt
from trainer.config import StageSpec
from trainer.data.pipeline import (
    Reading,
    Shard,
    steps_per_epoch,
    training_batches,
)
from trainer.data.samples import Samples
from trainer.errors import TrainerError
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan
from trainer.model.trunk.partition import Partition
from trainer.train.audit import audit, digests
from trainer.train.checkpoints import StageCheckpoints, StageState
from trainer.train.graph_loops import Pace, TrainCall, make_train_function
from trainer.train.inputs import Inputs
from trainer.train.metrics import (
    StepAccount,
    StepMetrics,
    Writer,
    means_of,
    no_sums,
)
from trainer.train.nonfinite import (
    NonFiniteError,
    check_finite,
    inputs_of_step,
)
from trainer.train.optimizers import SummedAdam
from trainer.train.stage import (
    Evaluated,
    LoopOptions,
    Progress,
    StageOutcome,
)
from trainer.train.steps import UNCONNECTED, Batch
from trainer.workdir import Workdir

ROLLBACK = "rollback"
_MAX_ROLLBACKS = 3
_SHOWN_PROBLEMS = 3


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
        partition: Partition | None,
        inputs: Inputs,
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
        plan: what this stage trains; see `freeze_plan`.
        split: what the step computes with; None takes the classifier.
        inputs: how samples are read.
        train: the training subset.
        start_step: absolute step at which the stage begins.
        workdir: where checkpoints and figures go.
        validate: evaluates the classifier as it stands.
        writer: where figures go too.
        progress: what a person sees.
        """
        self._spec, self._options = spec, options
        self._strategy, self._classifier = strategy, classifier
        self._plan, self._train_samples = plan, train
        self._partition, self._inputs = partition, inputs
        self._reading: Reading | None = None
        self._workdir, self._validate = workdir, validate
        self._progress = progress
        self._figures = StepMetrics(workdir, writer, spec.stage)
        self._epoch_steps = steps_per_epoch(len(train), options.batch_size)
        self._state = StageState(
            stage=spec.stage,
            start_step=start_step,
            step=start_step,
            epoch_sums=no_sums(),
            window_sums=no_sums(),
            best=None,
            digests=digests(classifier.variables),
            gradient_max=dict.fromkeys(plan.trainable, UNCONNECTED),
            metrics_position=0,
            seconds=0.0,
        )
        self._account = StepAccount(
            self._state,
            self._figures,
            log_every_steps=options.log_every_steps,
        )
        with strategy.scope():
            self._optimizer = SummedAdam(spec.learning_rate)
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
        self._resume()
        end = state.start_step + self._spec.epochs * self._epoch_steps
        # From here on weights and files are only in order between two calls.
        with interrupt.deferred():
            if state.pending_validation or state.step < end:
                self._train(end)
        outcome = self._outcome()
        problems = outcome.audit.problems
        if problems:
            shown = "; ".join(problems[:_SHOWN_PROBLEMS])
            more = len(problems) - _SHOWN_PROBLEMS
            raise TrainerError(
                f"{self._workdir.path}: the audit of {state.stage} failed:"
                f" {shown}{f' (and {more} more)' if more > 0 else ''}; the"
                " weights are saved, but do not trust them"
            )
        return outcome

    def _resume(self) -> None:
        """Goes on from the latest whole checkpoint, if there is one."""
        state = self._state
        if self._checkpoints.restore():
            self._figures.cut(state.metrics_position)
            self._set_rate()
            self._workdir.event("resume", stage=state.stage, step=state.step)
        else:
            self._workdir.event("begin", stage=state.stage, step=state.step)
        # As the chief sees it, before it writes another.
        boundary = self._workdir.processes.chief_value(
            self._checkpoints.has_boundary()
        )
        if self._options.on_nonfinite == ROLLBACK and not boundary:
            self._save(epoch=True)

    def _train(self, end: int) -> None:
        """Trains to the absolute step `end`, and validates the last epoch."""
        state = self._state
        train = make_train_function(
            self._strategy,
            self._classifier,
            self._plan,
            self._optimizer,
            clip_global_norm=self._options.clip_global_norm,
            xla=self._options.xla,
            kernel=self._options.kernel,
            partition=self._partition,
            parts=self._options.accumulate_steps,
        )
        iterator = self._batches(end)
        while state.pending_validation or state.step < end:
            try:
                if state.pending_validation:
                    self._end_epoch()
                else:
                    self._epoch(train, iterator)
            except NonFiniteError as error:
                self._roll_back(error)
                iterator = self._batches(end)

    def _rate(self) -> float:
        """The learning rate, which is halved by every rollback."""
        return self._spec.learning_rate * 0.5**self._state.rollbacks

    def _set_rate(self) -> None:
        self._optimizer.learning_rate = self._rate()

    def _roll_back(self, error: NonFiniteError) -> None:
        """Back to the last epoch boundary with half the learning rate.

        Raises:
          TrainerError: that was not asked for, or was done too often.
        """
        state, options = self._state, self._options
        inputs = inputs_of_step(
            self._train_samples,
            global_batch=options.batch_size,
            seed=options.seed,
            step=error.step - state.start_step,
        )
        rollbacks = state.rollbacks + 1
        self._workdir.event("nonfinite", step=error.step, what=error.what)
        if options.on_nonfinite != ROLLBACK or rollbacks > _MAX_ROLLBACKS:
            tried = f" after {state.rollbacks} rollbacks" * bool(
                state.rollbacks
            )
            raise TrainerError(
                f"{state.stage}: {error.what} at step {error.step}{tried}, on"
                f" {inputs}; nothing of it is saved: lower --learning_rate,"
                " give --clip_global_norm, or try --on_nonfinite=rollback, in"
                " another --workdir"
            ) from None
        self._checkpoints.roll_back()
        state.rollbacks = rollbacks
        self._set_rate()
        self._figures.cut(state.metrics_position)
        self._workdir.warn(
            f"{state.stage}: {error.what} at step {error.step}, on {inputs};"
            f" back to step {state.step} with learning rate {self._rate():g}"
        )
        # A kill from now on must not lose the lower rate.
        self._save(epoch=True)

    def _batches(self, end: int) -> Iterator[Batch]:
        replicas = self._strategy.num_replicas_in_sync
        state, options = self._state, self._options
        reading = self._reading = self._reading or self._inputs.training(
            self._train_samples, augment=options.augment
        )

        def dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return training_batches(
                self._train_samples,
                reading=reading,
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
        pace = Pace(self._options.steps_per_loop)
        while state.step < epoch_end:
            left = epoch_end - state.step
            if every:
                left = min(left, every - state.step % every)
            began = time.perf_counter()
            call = train(iterator, min(pace.steps, left))
            seconds = time.perf_counter() - began
            state.seconds += seconds
            check_finite(call, state.step)
            self._account.add(call, self._plan.trainable, epoch, seconds)
            means = means_of(state.epoch_sums)
            self._progress.steps(
                int(call.sums["count"].sum()), means["loss"], means["accuracy"]
            )
            # All processes make as many steps a call.
            per_step = self._workdir.processes.chief_value(
                seconds / len(call.sums["count"])
            )
            pace.took(per_step)
            stop = interrupt.requested()
            due = stop or (every and state.step % every == 0)
            if due and state.step < epoch_end:
                self._save()
                interrupt.check()
        self._end_epoch()

    def _end_epoch(self) -> None:
        """Validates the epoch that ends here, and saves."""
        state = self._state
        epoch = (state.step - state.start_step) // self._epoch_steps
        state.metrics_position = self._figures.position()
        means = means_of(state.epoch_sums)
        means["learning_rate"] = self._rate()
        self._figures.record(
            "train",
            state.step,
            epoch,
            means,
            span="epoch",
            times={"images_per_second": self._images_per_second()},
        )
        began = time.perf_counter()
        values = self._validated()
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
        rollback = self._options.on_nonfinite == ROLLBACK
        self._save(best=best, epoch=rollback)
        self._progress.end_epoch(
            f"{state.stage} epoch {epoch}/{self._spec.epochs}"
            f"  loss {means['loss']:.4f}  accuracy {means['accuracy']:.4f}"
            f"  val_loss {values['loss']:.4f}"
            f"  val_accuracy {values['accuracy']:.4f}"
        )
        interrupt.check()

    def _images_per_second(self) -> float:
        """Over all training steps of the stage so far."""
        state = self._state
        steps = state.step - state.start_step
        epochs, rest = divmod(steps, self._epoch_steps)
        images = epochs * len(self._train_samples)
        images += rest * self._options.batch_size
        return images / max(state.seconds, 1e-9)

    def _validated(self) -> dict[str, float]:
        """The figures of a validation.

        Raises:
          Stopped: asked for meanwhile; what is trained is saved, and the next
            start begins with this validation.
          NonFiniteError: the loss is not finite.
        """
        state = self._state
        state.pending_validation = True
        try:
            evaluated = self._validate()
        except interrupt.Stopped:
            # Without the figures of the epoch, which are written again.
            self._save(position=state.metrics_position)
            raise
        state.pending_validation = False
        if not math.isfinite(evaluated.loss):
            raise NonFiniteError(
                state.step, f"validation loss {evaluated.loss}"
            )
        return {"loss": evaluated.loss, "accuracy": evaluated.accuracy}

    def _save(
        self,
        *,
        best: bool = False,
        epoch: bool = False,
        position: int | None = None,
    ) -> None:
        """Saves, with all of metrics.jsonl or what stands before a byte."""
        state = self._state
        state.metrics_position = (
            self._figures.position() if position is None else position
        )
        self._checkpoints.save(best=best, epoch=epoch)
        self._workdir.event(
            "save", stage=state.stage, step=state.step, best=best
        )

    def _outcome(self) -> StageOutcome:
        state = self._state
        found = audit(
            self._plan,
            state.digests,
            self._classifier.variables,
            state.gradient_max,
            learning_rate=self._rate(),
            epsilon=self._optimizer.epsilon,
        )
        for warning in found.warnings:
            self._workdir.warn(f"{state.stage}: {warning}")
        assert state.best is not None
        return StageOutcome(
            step=state.step,
            best=state.best,
            audit=found,
            seconds=state.seconds,
        )
