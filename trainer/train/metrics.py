"""Training figures: summed exactly, written once, shown wherever asked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from trainer.train.checkpoints import StageState
from trainer.train.graph_loops import TrainCall
from trainer.workdir import Workdir


class Writer(Protocol):
    """Where figures go, besides metrics.jsonl."""

    def scalars(
        self, split: str, step: int, values: dict[str, float]
    ) -> None: ...


class StepMetrics:
    """Writes a stage's figures to metrics.jsonl and to a writer."""

    def __init__(self, workdir: Workdir, writer: Writer, stage: str) -> None:
        self._metrics = workdir.metrics()
        self._writer, self._stage = writer, stage

    def position(self) -> int:
        """Bytes of metrics.jsonl that are safely on disk."""
        return self._metrics.position()

    def cut(self, position: int) -> None:
        """Drops what was written after `position` bytes."""
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
        """One line of metrics.jsonl, and the same figures to the writer.

        Args:
          split: train, validation or test.
          step: absolute.
          epoch: of the stage, from 1; None for the figures at its end.
          values: what must be equal in a repeated run.
          span: epoch, final, or steps for the last few training steps.
          times: what depends on the clock.
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


class StepAccount:
    """Adds up what training steps return, in the state of a stage."""

    def __init__(
        self, state: StageState, figures: StepMetrics, *, log_every_steps: int
    ) -> None:
        self._state, self._figures = state, figures
        self._log_every_steps = log_every_steps

    def add(
        self,
        call: TrainCall,
        trainable: Sequence[str],
        epoch: int,
        seconds: float,
    ) -> None:
        """Counts the steps of one call.

        Args:
          call: what they returned.
          trainable: keys of the trainable variables, in order.
          epoch: of the stage, from 1.
          seconds: that the call took.
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
                self._figures.record(
                    "train",
                    state.step,
                    epoch,
                    means_of(state.window_sums) | {"gradient_norm": norm},
                    span="steps",
                    times={"images_per_second": examples / seconds},
                )
                state.window_sums = no_sums()


def no_sums() -> dict[str, float]:
    """Sums over no example."""
    return {"loss": 0.0, "correct": 0.0, "count": 0.0}


def means_of(sums: dict[str, float]) -> dict[str, float]:
    """Loss and accuracy over the examples summed, at least one."""
    return {
        "loss": sums["loss"] / sums["count"],
        "accuracy": sums["correct"] / sums["count"],
    }
