"""The outer loop of a stage: epochs, validation, checkpoints, metrics."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from trainer import interrupt
from trainer.config.fields import ACCURACY, MAP, MULTILABEL
from trainer.data.order import steps_per_epoch
from trainer.learning.batches import TrainingBatches
from trainer.learning.checkpoint_files import KEPT_IN_TRAINING
from trainer.learning.checkpoints import StageCheckpoints
from trainer.learning.graph_loops import StepsPerCall
from trainer.learning.metrics import (
    StepAccount,
    StepMetrics,
    hits_name,
    means_of,
)
from trainer.learning.nonfinite import (
    NonFiniteError,
    RollbackPolicy,
    check_finite,
    inputs_of_step,
)
from trainer.learning.profiling import Profile
from trainer.learning.stage import StageJob, StageOutcome
from trainer.learning.stage_end import end_stage
from trainer.learning.state import StageState, no_sums
from trainer.learning.steps import Batch
from trainer.learning.stopping import StopPolicy
from trainer.learning.updates import StageUpdates, TrainFunction


class StageLoop:
    """Trains one stage, from its beginning or from its latest checkpoint."""

    def __init__(self, job: StageJob) -> None:
        """Creates the loop; nothing is trained yet."""
        spec, config, plan = job.spec, job.config, job.plan
        variables = job.classifier.variables
        self._job = job
        self._workdir = job.workdir
        self._policy = RollbackPolicy(config.on_nonfinite)
        self._stopping = StopPolicy(
            config, job.stopwatch, job.workdir.processes
        )
        self._metrics = StepMetrics(job.workdir, job.writer, spec.stage)
        self._profile = Profile(config.profile, job.workdir)
        self._epoch_steps = steps_per_epoch(len(job.train), config.batch_size)
        self._hits = hits_name(config.task)
        # The metric that every validation has besides the loss.
        self._main = MAP if config.task == MULTILABEL else ACCURACY
        self._batches = TrainingBatches(
            job.inputs,
            job.train,
            config,
            views=spec.views_read,
            channels=job.classifier.head.kernel.shape[0],
            strategy=job.runtime.strategy,
        )
        self._state = StageState.begin(
            spec.stage,
            job.start_step,
            variables,
            plan,
            monitor=config.monitor,
        )
        self._account = StepAccount(
            self._state,
            self._metrics,
            log_every_steps=config.log_every_steps,
            epoch_steps=self._epoch_steps,
            images=len(job.train),
            batch_size=config.batch_size,
            hits=self._hits,
        )
        self._updates = StageUpdates(job, self._epoch_steps)
        self._checkpoints = StageCheckpoints(
            job.workdir,
            variables=variables,
            optimizer=self._updates.optimizer,
            state=self._state,
            keep=config.keep_checkpoints or KEPT_IN_TRAINING,
            keep_best=2 if job.restore_best else 1,
            averages=self._updates.averages,
        )

    def run(self) -> StageOutcome:
        """Trains the remaining steps of the stage, and ends it.

        Raises:
          TrainerError: a loss was not finite; or see `end_stage`.
          Stopped: a signal was received; a checkpoint is saved first.
        """
        state = self._state
        self._resume()
        end = self._end()
        # During a call, weights and files do not match, so a signal must wait
        # until the call has returned.
        with interrupt.deferred():
            if self._goes_on(end):
                self._train(end)
        whole = self._checkpoints.save_whole
        steps = self._epoch_steps
        return end_stage(self._job, state, self._updates, steps, whole)

    def _end(self) -> int:
        """Returns the absolute step at which the stage ends."""
        steps = self._job.spec.epochs * self._epoch_steps
        return self._state.start_step + steps

    def _goes_on(self, end: int) -> bool:
        """Returns whether the stage has steps or a validation left."""
        state = self._state
        left = state.step < end and not state.stopped
        return state.pending_validation or left

    def _resume(self) -> None:
        """Restores the latest readable checkpoint, if there is one."""
        state = self._state
        if self._checkpoints.restore():
            self._metrics.cut(state.metrics_position)
            self._set_rate()
            self._stopping.resume(state)
            self._workdir.event("resume", stage=state.stage, step=state.step)
        else:
            self._workdir.event("begin", stage=state.stage, step=state.step)
        # The chief's answer, before it writes another checkpoint.
        boundary = self._workdir.processes.chief_value(
            self._checkpoints.has_boundary()
        )
        if self._policy.enabled and not boundary:
            self._save(epoch=True)

    def _train(self, end: int) -> None:
        """Trains to the absolute step `end`, and validates the last epoch."""
        state = self._state
        train = self._updates.train_function(self._job)
        batches = self._read_to(end)
        while self._goes_on(end):
            try:
                if state.pending_validation:
                    self._end_epoch()
                else:
                    self._epoch(train, batches)
            except NonFiniteError as error:
                self._roll_back(error)
                batches = self._read_to(end)

    def _read_to(self, end: int) -> Iterator[Batch]:
        """Returns the batches from the current step to the absolute `end`."""
        start = self._state.start_step
        return self._batches.read(self._state.step - start, end - start)

    def _rate(self) -> float:
        """Returns the learning rate of the last step."""
        return self._updates.rate(self._state.step - self._state.start_step)

    def _set_rate(self) -> None:
        self._updates.scale(self._policy.rate(1.0, self._state.rollbacks))

    def _roll_back(self, error: NonFiniteError) -> None:
        """Restores the last epoch boundary, with half the learning rate.

        Raises:
          TrainerError: the policy allows no rollback.
        """
        state = self._state
        inputs = inputs_of_step(
            self._job.train,
            global_batch=self._job.config.batch_size,
            seed=self._job.config.seed,
            step=error.step - state.start_step,
        )
        self._workdir.event("nonfinite", step=error.step, what=error.what)
        rollbacks = self._policy.next_rollback(
            state.stage, error, inputs, done=state.rollbacks
        )
        self._checkpoints.roll_back()
        state.rollbacks = rollbacks
        self._set_rate()
        self._metrics.cut(state.metrics_position)
        self._workdir.warn(
            f"{state.stage}: {error.what} at step {error.step}, on {inputs};"
            f" back to step {state.step} with learning rate {self._rate():g}"
        )
        # A kill after this point must not lose the lower learning rate.
        self._save(epoch=True)

    def _epoch(self, train: TrainFunction, batches: Iterator[Batch]) -> None:
        """Trains to the end of the current epoch, validates and saves.

        With `validate_every` it trains as many epochs.
        """
        state, every = self._state, self._job.config.checkpoint_every_steps
        spec = self._job.spec
        steps = spec.validate_every * self._epoch_steps
        done = (state.step - state.start_step) % steps
        epoch_end = min(state.step + steps - done, self._end())
        left = epoch_end - state.step + done
        self._job.progress.epoch(
            state.stage,
            (epoch_end - state.start_step) // self._epoch_steps,
            spec.epochs,
            int(state.epoch_sums["count"]),
            passes=left // self._epoch_steps,
        )
        steps_per_call = StepsPerCall(self._job.config.steps_per_loop)
        while state.step < epoch_end:
            left = epoch_end - state.step
            if every:
                left = min(left, every - state.step % every)
            count = min(steps_per_call.steps, left)
            count = self._profile.limit(state.step, count)
            steps_per_call.update(self._call(train, batches, count))
            if self._stopping.after_call(state):
                # A kill after this point must not move the end.
                state.pending_validation = True
                self._save()
                break
            stop = interrupt.requested()
            due = stop or (every and state.step % every == 0)
            if due and state.step < epoch_end:
                self._save()
                interrupt.check()
        self._end_epoch()

    def _call(
        self, train: TrainFunction, batches: Iterator[Batch], steps: int
    ) -> float:
        """Trains a number of steps in one call, and adds up their metrics.

        Returns:
          The chief's seconds per step, so that all processes choose the same
          number of steps for the next call.

        Raises:
          NonFiniteError: a loss or a gradient norm is not finite.
        """
        state = self._state
        began = time.perf_counter()
        with self._profile.call(state.step, steps):
            call = train(batches, steps)
        seconds = time.perf_counter() - began
        state.seconds += seconds
        check_finite(call, state.step)
        self._account.add(call, self._job.plan.trainable, seconds)
        means = means_of(state.epoch_sums, self._hits)
        self._job.progress.steps(
            int(call.sums["count"].sum()), means["loss"], means[self._hits]
        )
        return self._workdir.processes.chief_value(seconds / steps)

    def _end_epoch(self) -> None:
        """Validates at the end of an epoch, and saves."""
        state = self._state
        # Rounded up, because a time limit may end the stage within an epoch.
        epoch = -((state.start_step - state.step) // self._epoch_steps)
        state.metrics_position = self._metrics.position()
        means = means_of(state.epoch_sums, self._hits)
        self._metrics.record_epoch(
            "train",
            state.step,
            epoch,
            {**means, **self._epoch_metrics()},
            self._account.epoch_times(),
        )
        began = time.perf_counter()
        values = self._validated()
        seconds = time.perf_counter() - began
        self._metrics.record_epoch(
            "validation", state.step, epoch, values, {"seconds": seconds}
        )
        state.epoch_sums = no_sums()
        best = state.is_best(values)
        if best:
            state.best = {"step": state.step, **values}
        self._stopping.after_validation(state, self._epoch_steps)
        self._save(best=best, epoch=self._policy.enabled)
        self._job.progress.end_epoch(
            f"{self._epoch_title(epoch)}"
            f"  loss {means['loss']:.4f}  {self._hits} {means[self._hits]:.4f}"
            f"  val_loss {values['loss']:.4f}"
            f"  val_{self._main} {values[self._main]:.4f}"
        )
        interrupt.check()

    def _epoch_metrics(self) -> dict[str, float]:
        """Returns training metrics besides loss and correct examples."""
        return {"learning_rate": self._rate()}

    def _epoch_title(self, epoch: int) -> str:
        """Returns the start of an epoch's line."""
        return f"{self._state.stage} epoch {epoch}/{self._job.spec.epochs}"

    def _validated(self) -> dict[str, float]:
        """Validates; returns loss, accuracy or mAP, and the monitored metric.

        Raises:
          Stopped: a signal was received. A checkpoint is saved first, and the
            resumed run begins with this validation.
          NonFiniteError: the loss is not finite.
        """
        state = self._state
        state.pending_validation = True
        try:
            with self._updates.averaged():
                evaluated = self._job.validate()
        except interrupt.Stopped:
            # Excludes the epoch's metrics, which the resumed run writes again.
            self._save(position=state.metrics_position)
            raise
        state.pending_validation = False
        if not math.isfinite(evaluated.loss):
            raise NonFiniteError(
                state.step, f"validation loss {evaluated.loss}"
            )
        names = dict.fromkeys(("loss", self._main, state.monitor))
        return {name: getattr(evaluated, name) for name in names}

    def _save(
        self,
        *,
        best: bool = False,
        epoch: bool = False,
        position: int | None = None,
    ) -> None:
        """Saves a checkpoint.

        Args:
          best: whether it is the best so far.
          epoch: whether it is an epoch boundary to roll back to.
          position: number of bytes of metrics.jsonl that belong to it; None
            for all.
        """
        state = self._state
        state.metrics_position = (
            self._metrics.position() if position is None else position
        )
        self._stopping.note_time(state)
        self._checkpoints.save(best=best, epoch=epoch)
        self._workdir.event(
            "save", stage=state.stage, step=state.step, best=best
        )
