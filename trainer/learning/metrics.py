"""Adds up training metrics, and writes them to metrics.jsonl."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from trainer.config.fields import ACCURACY, EXACT_MATCH, MULTILABEL
from trainer.learning.graph_loops import TrainCall
from trainer.learning.state import StageState, no_sums
from trainer.native_memory import peak_memory
from trainer.workdir import Workdir


class Writer(Protocol):
    """Receives the metrics that are written to metrics.jsonl."""

    def scalars(self, split: str, step: int, values: dict[str, float]) -> None:
        """Writes the metrics of one step."""


class StepMetrics:
    """Writes a stage's metrics to metrics.jsonl and to a writer."""

    def __init__(self, workdir: Workdir, writer: Writer, stage: str) -> None:
        """Creates the object; nothing is written yet.

        Args:
          workdir: the workdir with metrics.jsonl.
          writer: receives the same metrics.
          stage: the name of the stage.
        """
        self._metrics = workdir.metrics()
        self._writer = writer
        self._stage = stage

    def position(self) -> int:
        """Syncs metrics.jsonl to disk, and returns its size in bytes."""
        return self._metrics.position()

    def cut(self, position: int) -> None:
        """Truncates metrics.jsonl to its first `position` bytes."""
        self._metrics.cut(position)

    def record(
        self,
        split: str,
        step: int,
        epoch: int | None,
        values: dict[str, float],
        *,
        span: str,
        times: dict[str, float],
    ) -> None:
        """Writes one line of metrics.jsonl, and the same to the writer.

        Args:
          split: train, validation or test.
          step: the absolute step.
          epoch: the epoch of the stage, from 1; None for the final metrics.
          values: metrics that are equal when the run is repeated.
          span: what the metrics cover: an epoch, some training steps ("steps"),
            or the final evaluation ("final").
          times: values that depend on the clock.
        """
        line: dict[str, Any] = {
            "stage": self._stage,
            "split": split,
            "span": span,
            **({} if epoch is None else {"epoch": epoch}),
            "step": step,
            **values,
            "times": {"wall": round(time.time(), 3), **times},
        }
        self._metrics.append(line)
        prefix = "steps/" if span == "steps" else ""
        tagged = {prefix + k: v for k, v in {**values, **times}.items()}
        self._writer.scalars(split, step, tagged)

    def record_epoch(
        self,
        split: str,
        step: int,
        epoch: int,
        values: dict[str, float],
        times: dict[str, float],
    ) -> None:
        """Writes the metrics of a whole epoch; see `record`."""
        self.record(split, step, epoch, values, span="epoch", times=times)


class StepAccount:
    """Adds the results of training steps to the state of a stage."""

    def __init__(
        self,
        state: StageState,
        metrics: StepMetrics,
        *,
        log_every_steps: int,
        epoch_steps: int,
        images: int,
        batch_size: int,
        hits: str = ACCURACY,
    ) -> None:
        """Creates the account.

        Args:
          state: its sums are updated in place.
          metrics: receives a line every few steps.
          log_every_steps: number of steps per line.
          epoch_steps: number of steps per epoch.
          images: number of training images.
          batch_size: the global batch.
          hits: see `means_of`.
        """
        self._hits = hits
        self._epoch_steps = epoch_steps
        self._images, self._batch_size = images, batch_size
        self._state = state
        self._metrics = metrics
        self._log_every_steps = log_every_steps

    def add(
        self,
        call: TrainCall,
        trainable: Sequence[str],
        seconds: float,
    ) -> None:
        """Adds the steps of one call.

        Args:
          call: the result of the call.
          trainable: keys of the trainable variables, in order.
          seconds: duration of the call.
        """
        state = self._state
        for key, largest in zip(trainable, call.gradient_max, strict=True):
            state.gradient_max[key] = max(
                state.gradient_max[key], float(largest)
            )
        examples = float(call.sums["count"].sum())
        for i in range(len(call.sums["count"])):
            state.step += 1
            for sums in (state.epoch_sums, state.window_sums):
                for name in sums:
                    sums[name] += float(call.sums[name][i])
            if state.step % self._log_every_steps == 0:
                norm = float(call.sums["gradient_norm"][i])
                done = state.step - state.start_step
                self._metrics.record(
                    "train",
                    state.step,
                    -(-done // self._epoch_steps),
                    means_of(state.window_sums, self._hits)
                    | {"gradient_norm": norm},
                    span="steps",
                    times={"images_per_second": examples / seconds},
                )
                state.window_sums = no_sums()

    def epoch_times(self) -> dict[str, float]:
        """Returns the speed of the stage so far, and the most memory used."""
        state = self._state
        epochs, rest = divmod(state.step - state.start_step, self._epoch_steps)
        images = epochs * self._images + rest * self._batch_size
        memory = {f"memory_mib/{k}": mib for k, mib in peak_memory().items()}
        return {
            "images_per_second": images / max(state.seconds, 1e-9),
            **memory,
        }


def hits_name(task: str) -> str:
    """Returns the name of the share of correct training examples.

    With several labels per image, an example is correct if all of its labels
    are, at a threshold of 0.5.

    Args:
      task: the value of --task.
    """
    return EXACT_MATCH if task == MULTILABEL else ACCURACY


def means_of(sums: dict[str, float], hits: str = ACCURACY) -> dict[str, float]:
    """Returns the mean loss and the share of correct examples.

    Args:
      sums: of at least one example.
      hits: the name of this share.
    """
    return {
        "loss": sums["loss"] / sums["count"],
        hits: sums["correct"] / sums["count"],
    }
