"""Progress of a run: bars on a terminal, plain lines in a file."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from trainer.config.fields import ACCURACY

# The metrics fit into 80 columns; the bar takes the remaining width.
_FORMAT = (
    "{desc} {percentage:3.0f}%{postfix}, {rate_fmt}, {remaining} left |{bar}|"
)
# Until the first steps of a stage are done, which compile its graph.
_COMPILING = "{desc} compiling ..."
# A stage that takes less is not worth a line about its time.
_LONG_SECONDS = 60


class ConsoleProgress:
    """Shows one bar per epoch on a terminal, one line per epoch elsewhere.

    After the first epoch of a stage, a line says how long the stage still
    takes, if that is a minute or more.
    """

    def __init__(self, train_examples: int, hits: str = ACCURACY) -> None:
        """Creates the display; shows nothing yet.

        Args:
          train_examples: number of training examples of an epoch.
          hits: the name of the share of correct examples.
        """
        self._examples = train_examples
        self._hits = hits.replace("_", " ")
        self._bar: tqdm | None = None
        self._rows: tqdm | None = None
        self._stage = ""
        self._time: _EpochTime | None = None

    def epoch(
        self, stage: str, epoch: int, epochs: int, done: int, *, passes: int = 1
    ) -> None:
        """Starts the bar of `passes` epochs at `done` examples."""
        new, self._stage = stage != self._stage, stage
        images = passes * self._examples
        # The images that earlier processes have trained on are not timed.
        self._time = (
            _EpochTime(images - done, (epochs - epoch) * self._examples)
            if new
            else None
        )
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
        if self._time is not None:
            self._time.steps(examples)
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
        self._close_bar()
        self.rows(what, done, total)

    def rows(self, what: str, done: int, total: int) -> None:
        """Shows a bar while features or images are computed for the cache."""
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
        left = self._time.left() if self._time is not None else 0
        self._time = None
        if left >= _LONG_SECONDS:
            print(f"{self._stage}: about {_shown(left)} left", flush=True)

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


class _EpochTime:
    """Estimates the time of a stage from its first epoch."""

    def __init__(self, images: int, later: int) -> None:
        """Starts the clock.

        Args:
          images: number of images of the epoch.
          later: number of images of the epochs after it.
        """
        self._images, self._later = images, later
        self._began: float | None = None

    def steps(self, examples: int) -> None:
        """Counts trained images; the first ones compile, and are not timed."""
        if self._began is None:
            self._began = time.monotonic()
            self._images -= examples

    def left(self) -> float:
        """Returns the seconds of the later epochs; 0 if they are unknown."""
        if self._began is None or self._images <= 0:
            return 0
        seconds = time.monotonic() - self._began
        return seconds / self._images * self._later


def _shown(seconds: float) -> str:
    """Returns the time in whole minutes, or in hours and minutes."""
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
