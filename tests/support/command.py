"""The command line in the test's process: arguments in, what it says out."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
from unittest import mock

from absl import flags as absl_flags

import flags
import main


@dataclasses.dataclass(frozen=True, kw_only=True)
class Said:
    """What a command left: its exit status, standard output and error."""

    status: int
    out: str
    err: str


def command(*arguments: str) -> Said:
    """`python main.py ARGUMENTS`, with flags of its own each time.

    An exception that main.py lets through, which would be a traceback in a
    process, comes through here too.
    """
    values = absl_flags.FlagValues()
    flags.define(values)
    read = functools.partial(flags.config_from_flags, values)
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    status = 0
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(flags, "config_from_flags", read),
    ):
        try:
            main.main(flags.parse(["main.py", *arguments], values))
        except SystemExit as end:
            assert isinstance(end.code, int)
            status = end.code
    return Said(status=status, out=_text(out), err=_text(err))


def arguments(values: dict[str, object]) -> list[str]:
    """`--name=value` for each; booleans as absl writes them."""
    return [f"--{name}={value}" for name, value in values.items()]


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()
