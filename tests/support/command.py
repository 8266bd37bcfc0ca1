"""Runs the command line in the process of the test."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
from unittest import mock

from absl import flags as absl_flags

from trainer.command import flags, program


@dataclasses.dataclass(frozen=True, kw_only=True)
class Said:
    """The exit status, standard output and standard error of a command."""

    status: int
    out: str
    err: str


def command(*arguments: str) -> Said:
    """Runs `python main.py ARGUMENTS` with new flag values.

    An exception that main.py does not catch, which would be a traceback in a
    process, is raised here too.
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
            program.main(flags.parse(["main.py", *arguments], values))
        except SystemExit as end:
            status = int(end.code or 0)
    return Said(status=status, out=_text(out), err=_text(err))


def arguments(values: dict[str, object]) -> list[str]:
    """Returns `--name=value` for each value."""
    return [f"--{name}={value}" for name, value in values.items()]


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()
