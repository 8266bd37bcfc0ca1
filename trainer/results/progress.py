"""What a person sees while a run trains: a bar, or plain lines in a file."""

from __future__ import annotations

import sys

from tqdm import tqdm

# The figures come first and fit into 80 columns; of what is left, the bar.
_FORMAT = (
    "{desc} {percentage:3.0f}%{postfix}, {rate_fmt}, {remaining} left |{bar}|"
)


class ConsoleProgress:
    """A bar an epoch on a terminal; one line an epoch elsewhere."""

    def __init__(self, train_examples: int) -> None:
        self._examples = train_examples
        self._bar: tqdm | None = None
        self._rows: tqdm | None = None

    def epoch(self, stage: str, epoch: int, epochs: int, done: int) -> None:
        """An epoch begins, `done` of its examples already behind it."""
        if sys.stdout.isatty():
            self._bar = tqdm(
                total=self._examples,
                initial=done,
                bar_format=_FORMAT,
                desc=f"{stage} {epoch}/{epochs}",
                unit="img",
                leave=False,
                file=sys.stdout,
                dynamic_ncols=True,
            )

    def steps(self, examples: int, loss: float, accuracy: float) -> None:
        """Some steps are done; loss and accuracy are the epoch's so far."""
        if self._bar is not None:
            self._bar.set_postfix_str(
                f"loss {loss:.4f}, accuracy {accuracy:.4f}", refresh=False
            )
            self._bar.update(examples)

    def rows(self, what: str, done: int, total: int) -> None:
        """Features or images are computed, to be kept."""
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
        """The epoch is validated and saved."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        print(line, flush=True)
