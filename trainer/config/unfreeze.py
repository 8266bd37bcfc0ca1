"""Parses `--unfreeze` and chooses the backbone layers to train.

TensorFlow is not imported: an invalid rule stops the run before it starts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import re
import signal
import threading
from collections.abc import Iterator, Sequence

from trainer.errors import UsageError

_MATCH_SECONDS = 2.0
_LEGAL = "last:N (N >= 1), all, none, from:LAYER, regex:PATTERN"


@dataclasses.dataclass(frozen=True)
class UnfreezeRule:
    """A parsed `--unfreeze` value.

    Attributes:
      text: the value as given.
      form: last, all, none, from or regex.
      argument: the part after the colon; "" if there is none.
    """

    text: str
    form: str
    argument: str = ""

    def choose(self, names: Sequence[str]) -> tuple[int, ...]:
        """Returns the positions of the layers that the rule makes trainable.

        Args:
          names: `layer.name` of each of `backbone.layers`, in order.

        Returns:
          Increasing positions into `names`; empty only for `none`.

        Raises:
          UsageError: the rule matches no layer, or needs more layers than
            the backbone has.
        """
        count = len(names)
        if self.form == "none":
            return ()
        if self.form == "all":
            return tuple(range(count))
        if self.form == "last":
            wanted = int(self.argument)
            if wanted > count:
                raise UsageError(
                    f"--unfreeze={self.text!r}: the backbone has {count}"
                    f" layers; give last:1 to last:{count}, or all"
                )
            return tuple(range(count - wanted, count))
        if self.form == "from":
            if self.argument not in names:
                raise UsageError(
                    f"--unfreeze={self.text!r}: the backbone has no layer"
                    f" {self.argument!r}{_near(self.argument, names)};"
                    " --dry_run lists the layers"
                )
            return tuple(range(list(names).index(self.argument), count))
        pattern = re.compile(self.argument)
        with _time_limit(self.text):
            chosen = tuple(
                i for i, name in enumerate(names) if pattern.fullmatch(name)
            )
        if not chosen:
            raise UsageError(
                f"--unfreeze={self.text!r}: matches none of the {count}"
                " layer names (the pattern must match a whole name); try"
                f" regex:.*{self.argument}.* or see --dry_run for the names"
            )
        return chosen


@contextlib.contextmanager
def _time_limit(rule: str) -> Iterator[None]:
    """Limits the time of a block, because some patterns backtrack forever.

    The limit applies only on Unix and in the main thread.

    Args:
      rule: the value of `--unfreeze`, for the message.

    Raises:
      UsageError: the block takes longer than the limit.
    """
    main = threading.current_thread() is threading.main_thread()
    if not hasattr(signal, "setitimer") or not main:
        yield
        return

    def stop(signum: int, frame: object) -> None:
        raise UsageError(
            f"--unfreeze={rule!r}: takes more than {_MATCH_SECONDS:g} s to"
            " match the layer names; give a pattern without nested"
            " repetitions, or last:N or from:LAYER"
        )

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, _MATCH_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _near(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def parse_unfreeze(text: str) -> UnfreezeRule:
    """Parses an `--unfreeze` value.

    Raises:
      UsageError: the text has none of the legal forms.
    """
    if text in ("all", "none"):
        return UnfreezeRule(text, text)
    form, colon, argument = text.partition(":")
    if colon and form == "last":
        if not re.fullmatch(r"[0-9]+", argument) or int(argument) == 0:
            raise UsageError(
                f"--unfreeze={text!r}: last:N takes a whole number N >= 1;"
                " give for example last:10, or none to train the head only"
            )
        return UnfreezeRule(text, form, argument)
    if colon and form == "from" and argument:
        return UnfreezeRule(text, form, argument)
    if colon and form == "regex" and argument:
        try:
            re.compile(argument)
        except re.error as error:
            raise UsageError(
                f"--unfreeze={text!r}: not a regular expression ({error});"
                f" legal forms are {_LEGAL}"
            ) from None
        return UnfreezeRule(text, form, argument)
    raise UsageError(
        f"--unfreeze={text!r}: cannot be parsed; legal forms are {_LEGAL}"
    )
