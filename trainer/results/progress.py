"""Progress of a run: bars on a terminal, plain lines in a file."""

from __future__ import annotations

import sys

from tqdm import tqdm

from trainer.config.fields import ACCURACY
from trainer.results.stage_time import StageTime, shown_time
from trainer.workdir.clock import CLOCK, Clock

# The metrics fit into 80 columns; the bar takes the remaining width.
_FORMAT = (
    "{desc} {percentage:3.0f}%{postfix}, {rate_fmt}, {remaining} left |{bar}|"
)
# Until the first steps of a stage are done, which compile its graph.
_COMPILING = "{desc} compiling ..."


class ConsoleProgress:
    """Shows one bar per epoch on a terminal, one line per epoch elsewhere.

    After the first steps of a stage, a line says how long the stage still
    takes, if that is a minute or more; see `StageTime.news`.
    """

    def __init__(
        self,
        train_examples: int,
        hits: str = ACCURACY,
        clock: Clock = CLOCK,
    ) -> None:
        """Creates the display; shows nothing yet.

        Args:
          train_examples: number of training examples of an epoch.
          hits: the name of the share of correct examples.
          clock: times the stages.
        """
        self._examples = train_examples
        self._hits = hits.replace("_", " ")
        self._bar: tqdm | None = None
        self._rows: tqdm | None = None
        self._stage = ""
        self._clock = clock
        self._time = StageTime(clock)
        # What is left of the stage.
        self._images = self._validations = 0

    def begin_stage(self) -> StageTime:
        """Returns the times of a new stage, which begins now."""
        self._time = StageTime(self._clock)
        return self._time

    def epoch(
        self, stage: str, epoch: int, epochs: int, done: int, *, passes: int = 1
    ) -> None:
        """Starts the bar of `passes` epochs at `done` examples."""
        new, self._stage = stage != self._stage, stage
        images = passes * self._examples
        self._images = images - done + (epochs - epoch) * self._examples
        self._validations = 1 + -(-(epochs - epoch) // passes)
        if new and self._time.images:
            self.begin_stage()
        self._time.epoch()
        if sys.stdout.isatty():
            self._bar = tqdm(
                total=images,
                initial=done,
                bar_format=_COMPILING if new else _FORMAT,
                desc=f"{stage} {epoch}/{epochs}",
                unit="img",
                leave=False,
                file=sys.stdout,
                dynamic_ncols=True,
            )

    def steps(self, examples: int, loss: float, hits: float) -> None:
        """Advances the bar; shows the metrics of the epoch so far."""
        self._time.steps(examples)
        self._images -= examples
        self._show_steps(examples, loss, hits)
        self._say_left()

    def _show_steps(self, examples: int, loss: float, hits: float) -> None:
        if self._bar is None:
            return
        self._bar.set_postfix_str(
            f"loss {loss:.4f}, {self._hits} {hits:.4f}", refresh=False
        )
        if self._bar.bar_format == _COMPILING:
            # The rate does not count the steps that compiled the graph.
            self._bar.bar_format = _FORMAT
            self._bar.initial = self._bar.n = self._bar.n + examples
            self._bar.last_print_n = self._bar.n
            self._bar.unpause()
            self._bar.start_t = self._bar.last_print_t
            self._bar.refresh()
        else:
            self._bar.update(examples)

    def evaluated(self, what: str, done: int, total: int) -> None:
        """Shows a bar while examples are evaluated, in place of the epoch's."""
        self._time.evaluated(done, total)
        self._close_bar()
        self._show_rows(what, done, total)

    def rows(self, what: str, done: int, total: int) -> None:
        """Shows a bar while features or images are computed for the cache."""
        self._time.count_rows(done, total)
        self._show_rows(what, done, total)

    def _show_rows(self, what: str, done: int, total: int) -> None:
        if not sys.stdout.isatty():
            return
        if self._rows is None:
            self._rows = tqdm(
                total=total,
                desc=what,
                unit="img",
                leave=False,
                file=sys.stdout,
                dynamic_ncols=True,
            )
        self._rows.update(done - self._rows.n)
        if done >= total:
            self._close_rows()

    def end_epoch(self, line: str) -> None:
        """Closes the epoch's bar and prints its line."""
        self._close_bar()
        print(line, flush=True)
        self._time.end_epoch()
        self._validations -= 1
        self._say_left()

    def _say_left(self) -> None:
        left = self._time.news(self._images, self._validations)
        if left is None:
            return
        # Unlike print, it draws an open bar again, below the line.
        tqdm.write(
            f"{self._stage}: about {shown_time(left)} left", file=sys.stdout
        )
        sys.stdout.flush()

    def close(self) -> None:
        """Removes the bars of an interrupted run from the terminal."""
        self._close_rows()
        self._close_bar()

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _close_rows(self) -> None:
        if self._rows is not None:
            self._rows.close()
            self._rows = None
