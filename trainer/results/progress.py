"""Progress of a run: bars on a terminal, plain lines in a file."""

from __future__ import annotations

import sys

from tqdm import tqdm

from trainer.config.fields import ACCURACY

# The metrics fit into 80 columns; the bar takes the remaining width.
_FORMAT = (
    "{desc} {percentage:3.0f}%{postfix}, {rate_fmt}, {remaining} left |{bar}|"
)


class ConsoleProgress:
    """Shows one bar per epoch on a terminal, one line per epoch elsewhere."""

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

    def epoch(
        self, stage: str, epoch: int, epochs: int, done: int, *, passes: int = 1
    ) -> None:
        """Starts the bar of `passes` epochs at `done` examples."""
        if sys.stdout.isatty():
            self._bar = tqdm(
                total=passes * self._examples,
                initial=done,
                bar_format=_FORMAT,
                desc=f"{stage} {epoch}/{epochs}",
                unit="img",
                leave=False,
                file=sys.stdout,
                dynamic_ncols=True,
            )

    def steps(self, examples: int, loss: float, hits: float) -> None:
        """Advances the bar; shows the metrics of the epoch so far."""
        if self._bar is not None:
            self._bar.set_postfix_str(
                f"loss {loss:.4f}, {self._hits} {hits:.4f}", refresh=False
            )
            self._bar.update(examples)

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
            self._rows.close()
            self._rows = None

    def end_epoch(self, line: str) -> None:
        """Closes the epoch's bar and prints its line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        print(line, flush=True)
