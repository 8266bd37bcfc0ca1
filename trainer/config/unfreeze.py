"""Parses `--unfreeze` and chooses the backbone layers to train.

A value is one rule, or parts `RULE@EPOCHS,RULE@EPOCHS,...`. The module does not
import TensorFlow, so that an invalid rule is rejected without delay.
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
# One part. An @ counts only if EPOCHS and then a comma or the end follow; any
# other @ belongs to a pattern. EPOCHS may match letters here, so that invalid
# epochs get an error message of their own.
_PART = re.compile(r"(.*?)@([-+.\w ]*)(,|\Z)", re.DOTALL)
_COMMA_AND_RULE = re.compile(r",(?:(?:none|all)(?=[@,]|\Z)|last:|from:|regex:)")
_MAX_EPOCHS = 10**6


@dataclasses.dataclass(frozen=True)
class UnfreezeRule:
    """A parsed `--unfreeze` value.

    Attributes:
      text: the value as given.
      form: last, all, none, from or regex.
      argument: the text after the colon; "" if there is none.
      part: the number of its part, from 1; 0 if there is only one.
    """

    text: str
    form: str
    argument: str = ""
    part: int = 0

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
        count, flag = len(names), flag_of(self.text, self.part)
        if self.form == "none":
            return ()
        if self.form == "all":
            return tuple(range(count))
        if self.form == "last":
            wanted = int(self.argument)
            if wanted > count:
                raise UsageError(
                    f"{flag}: the backbone has {count}"
                    f" layers; give last:1 to last:{count}, or all"
                )
            return tuple(range(count - wanted, count))
        if self.form == "from":
            if self.argument not in names:
                raise UsageError(
                    f"{flag}: the backbone has no layer"
                    f" {self.argument!r}{_near(self.argument, names)};"
                    " --dry_run lists the layers"
                )
            return tuple(range(list(names).index(self.argument), count))
        pattern = re.compile(self.argument)
        with _time_limit(flag):
            chosen = tuple(
                i for i, name in enumerate(names) if pattern.fullmatch(name)
            )
        if not chosen:
            raise UsageError(
                f"{flag}: matches none of the {count}"
                " layer names (the pattern must match a whole name); try"
                f" regex:.*{self.argument}.* or see --dry_run for the names"
            )
        return chosen


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnfreezePart:
    """The layers that train for some epochs.

    Attributes:
      rule: a valid rule, without epochs.
      epochs: the number of epochs, at least 1.
    """

    rule: str
    epochs: int


def flag_of(rule: str, part: int = 0) -> str:
    """Returns the start of an error message about a rule.

    Args:
      rule: the text of the rule.
      part: the number of its part, from 1; 0 if there is only one.
    """
    return f"--unfreeze={rule!r}{f' (part {part})' if part else ''}"


@contextlib.contextmanager
def _time_limit(flag: str) -> Iterator[None]:
    """Limits the time of a block, because some patterns backtrack forever.

    The limit applies only on Unix and in the main thread.

    Args:
      flag: names the rule in the message.

    Raises:
      UsageError: the block takes longer than the limit.
    """
    main = threading.current_thread() is threading.main_thread()
    if not hasattr(signal, "setitimer") or not main:
        yield
        return

    def stop(signum: int, frame: object) -> None:
        raise UsageError(
            f"{flag}: takes more than {_MATCH_SECONDS:g} s to"
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


def parse_unfreeze(text: str, part: int = 0) -> UnfreezeRule:
    """Parses one rule.

    Args:
      text: the rule, without epochs.
      part: the number of its part, from 1; 0 if there is only one.

    Raises:
      UsageError: the text has none of the legal forms.
    """
    flag = flag_of(text, part)
    if text in ("all", "none"):
        return UnfreezeRule(text, text, part=part)
    form, colon, argument = text.partition(":")
    if colon and form == "last":
        if not re.fullmatch(r"[0-9]+", argument) or int(argument) == 0:
            raise UsageError(
                f"{flag}: last:N takes a whole number N >= 1;"
                " give for example last:10, or none to train the head only"
            )
        return UnfreezeRule(text, form, argument, part)
    if colon and form == "from" and argument:
        return UnfreezeRule(text, form, argument, part)
    if colon and form == "regex" and argument:
        try:
            re.compile(argument)
        except re.error as error:
            raise UsageError(
                f"{flag}: not a regular expression ({error});"
                f" legal forms are {_LEGAL}"
            ) from None
        return UnfreezeRule(text, form, argument, part)
    raise UsageError(f"{flag}: cannot be parsed; legal forms are {_LEGAL}")


def parse_parts(text: str) -> tuple[UnfreezePart, ...]:
    """Parses an `--unfreeze` value into its parts.

    A part is `RULE@EPOCHS`. It ends at the first `@EPOCHS` that is followed by
    a comma or the end of the value. So a pattern may contain commas; an @ in a
    pattern is written as `[@]`.

    Args:
      text: the value of `--unfreeze`.

    Returns:
      The parts in order; () if the value is one valid rule without epochs.

    Raises:
      UsageError: the value is invalid or ambiguous.
    """
    found: list[tuple[str, str | None]] = []
    position, more = 0, True
    while more:
        match = _PART.match(text, position)
        found.append((match[1], match[2]) if match else (text[position:], None))
        position = match.end() if match else len(text)
        more = bool(match and match[3])
    if found == [(text, None)]:
        parse_unfreeze(text)
        return ()
    parts = []
    for number, (rule, epochs) in enumerate(found, 1):
        _check_complete(text, number, rule, epochs)
        parse_unfreeze(rule, number if len(found) > 1 else 0)
        assert epochs is not None
        parts.append(UnfreezePart(rule=rule, epochs=int(epochs)))
    total = sum(part.epochs for part in parts)
    if total > _MAX_EPOCHS:
        raise UsageError(
            f"--unfreeze={text!r}: {total} epochs in all; give at most"
            f" {_MAX_EPOCHS}"
        )
    return tuple(parts)


def _check_complete(
    text: str, number: int, rule: str, epochs: str | None
) -> None:
    """Checks that a part has exactly one rule, and a valid number of epochs.

    Args:
      text: the value of `--unfreeze`.
      number: the number of the part, from 1.
      rule: the text of its rule.
      epochs: the text of its epochs; None if it has none.

    Raises:
      UsageError: the rule or the epochs are missing or invalid, or the text
        may also be read as two parts.
    """
    flag = f"--unfreeze={text!r}: part {number}"
    form = "give RULE@EPOCHS for each part, such as none@5,all@10"
    if not rule or rule.startswith(","):
        raise UsageError(f"{flag} is empty; {form}")
    pattern = rule.startswith(("from:", "regex:"))
    second = _COMMA_AND_RULE.search(rule)
    first = rule[: second.start()] if second else rule
    if second and pattern:
        raise UsageError(
            f"{flag} is ambiguous: {second[0]!r} may start a new part or"
            f" belong to the argument of {rule.partition(':')[0]}; give"
            f" {first}@EPOCHS to start a new part, or write the comma as [,] in"
            " a regex"
        )
    if second or epochs is None:
        raise UsageError(f"{flag}, {first!r}, has no epochs; {form}")
    if not re.fullmatch(r"[0-9]{1,7}", epochs) or not (
        1 <= int(epochs) <= _MAX_EPOCHS
    ):
        remedy = "; write [@] for an @ in a regex" if pattern else ""
        raise UsageError(
            f"{flag} has {epochs!r} epochs; give a whole number from 1 to"
            f" {_MAX_EPOCHS} after the @, such as {rule}@5{remedy}"
        )
