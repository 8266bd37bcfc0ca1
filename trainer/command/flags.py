"""Defines the command-line flags with absl, and builds a `Config` from them.

This is the only module that defines absl flags. Their names, defaults and texts
are those of `config.fields`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl import app, flags
from absl import logging as absl_logging  # Defines --verbosity.

from trainer.command.completion import bash_completion
from trainer.command.version import version_text
from trainer.config import Config, checked, type_name, usage
from trainer.config.fields import FIELDS, STAGES
from trainer.errors import TrainerError, UsageError, one_line, untrusted
from trainer.storage import files

__all__ = ["config_from_flags", "define", "parse", "wants_traceback"]

_FLAGS = flags.FLAGS
_DEFINE: dict[str, Callable[..., Any]] = {
    "str": flags.DEFINE_string,
    "int": flags.DEFINE_integer,
    "float": flags.DEFINE_float,
    "bool": flags.DEFINE_bool,
}
_MAX_FLAGFILE_BYTES = 1 << 20
_LEGAL = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false (--name or --noname)",
}


class _HelpFlag(flags.BooleanFlag):
    """A flag that prints a text on standard output and exits with 0."""

    def __init__(
        self,
        name: str,
        short_name: str | None,
        text: Callable[[], str],
        help_text: str = "show help",
    ) -> None:
        # absl's own help flags exit with 1 and do not group the flags.
        super().__init__(
            name, False, help_text, short_name, allow_override=True
        )
        self._text = text

    def parse(self, arg: str | bool) -> None:
        """Prints the text if the flag is given as true."""
        if self._parse(arg):
            print(self._text())
            sys.exit(0)


def define(flag_values: flags.FlagValues = _FLAGS) -> None:
    """Defines one absl flag for each field of `Config`, and the help flags."""
    for name, field in FIELDS.items():
        # Config checks the choices, so that all errors have one format.
        # --stage has no default, so that nothing is trained by accident.
        default = None if name == "stage" else field.default
        _DEFINE[type_name(name)](
            name, default, field.metadata["help"], flag_values=flag_values
        )

    def full_help() -> str:
        modules = flag_values.get_help().strip().split("\n\n")
        others = (m for m in modules if not m.startswith(f"{__name__}:"))
        return "\n\n".join((usage.help_text(), *others))

    for name, short_name, text in (
        ("help", "h", usage.help_text),
        ("helpshort", "?", usage.help_text),
        ("helpfull", None, full_help),
    ):
        flag = _HelpFlag(name, short_name, text)
        flags.DEFINE_flag(flag, flag_values=flag_values)
    flags.DEFINE_flag(
        _HelpFlag("version", None, version_text, "show the version"),
        flag_values=flag_values,
    )
    flags.DEFINE_flag(
        _HelpFlag(
            "completion",
            None,
            bash_completion,
            "show a script that completes the flags in bash",
        ),
        flag_values=flag_values,
    )


def parse(
    argv: Sequence[str], flag_values: flags.FlagValues = _FLAGS
) -> list[str]:
    """Parses argv, for `absl.app.run(flags_parser=...)`.

    For an invalid flag it prints one line and exits with 2; absl's own parser
    prints two lines and exits with 1.

    Args:
      argv: the program's name and its arguments.
      flag_values: receives the values of the flags.

    Returns:
      The program's name; any other argument that is not a flag is an error.
    """
    if len(argv) == 1:
        print(usage.start_text(), file=sys.stderr)
        sys.exit(UsageError.exit_status)
    try:
        _check_flagfiles(argv)
    except TrainerError as error:
        _exit_usage(str(error))
    try:
        rest = flag_values(list(argv))
    except flags.UnrecognizedFlagError as error:
        hint = usage.hint_for(error.flagname)
        _exit_usage(
            f"--{error.flagname}: no such flag; {hint}{'; ' if hint else ''}"
            "--help lists the flags"
        )
    except flags.Error as error:
        _exit_usage(_explain(" ".join(str(error).split())))
    if not _FLAGS["verbosity"].present:
        # absl's default also shows the warnings of other libraries. What the
        # user needs is printed, not logged.
        absl_logging.set_verbosity(absl_logging.ERROR)
    if len(rest) > 1:
        hint = usage.hint_for_word(rest[1])
        _exit_usage(f"{rest[1]!r}: not a flag; {hint}; see --help")
    return rest


def _check_flagfiles(
    argv: Sequence[str], seen: frozenset[str] = frozenset()
) -> None:
    """Checks that each --flagfile is a text file before absl opens it.

    absl would block forever on a pipe, and print a traceback for binary
    content.

    Args:
      argv: arguments, or the lines of a flag file.
      seen: the flag files that include this one. They are skipped, because
        absl itself reports a cycle.

    Raises:
      TrainerError: a flag file cannot be read or is not text.
    """
    for number, argument in enumerate(argv):
        match = re.fullmatch(r"--?flagfile(?:=(.*))?", argument.strip())
        if argument.strip() == "--":
            return
        if not match:
            continue
        following = argv[number + 1] if number + 1 < len(argv) else ""
        name = os.path.expanduser((match[1] or following).strip())
        if not name or name in seen:
            continue
        remedy = "give a text file with one flag per line"
        with untrusted(f"--flagfile={name!r}", remedy):
            if files.stat(name).st_size > _MAX_FLAGFILE_BYTES:
                raise ValueError("too large")
            text = files.read(name).decode("utf-8")
            if "\0" in text:
                raise ValueError("not text")
        _check_flagfiles(text.splitlines(), seen | {name})


def _explain(message: str) -> str:
    """Returns one line for absl's message, with the legal values if known."""
    illegal = re.match(r"flag --(\w+)=(.*?): ", message)
    if illegal and illegal[1] in FIELDS:
        legal = _LEGAL[type_name(illegal[1])]
        return f"--{illegal[1]}={illegal[2]!r}: not {legal}; see --help"
    return f"{message.rstrip('.')}; see --help"


def _exit_usage(message: str) -> NoReturn:
    print(f"error: {one_line(message)}", file=sys.stderr)
    sys.exit(UsageError.exit_status)


def config_from_flags(
    flag_values: flags.FlagValues = _FLAGS,
) -> tuple[Config, frozenset[str]]:
    """Builds the configuration from the parsed flags.

    Args:
      flag_values: the parsed flags.

    Returns:
      The configuration, and the names of the flags given explicitly.

    Raises:
      UsageError: --stage is not given, a value is illegal, or the stage does
        not read a given flag.
    """
    values: dict[str, Any] = {n: flag_values[n].value for n in FIELDS}
    if values["stage"] is None:
        raise UsageError(
            f"--stage: not given; give one of {', '.join(STAGES)}, for example"
            " --stage=finetune to train"
        )
    given = frozenset(name for name in FIELDS if flag_values[name].present)
    return checked(values, given), given


def wants_traceback() -> bool:
    """Returns whether --verbosity is high enough to show all tracebacks."""
    return absl_logging.get_verbosity() >= absl_logging.DEBUG


def run(main: Callable[[list[str]], None]) -> NoReturn:
    """Parses the command line and runs `main` under absl."""
    app.define_help_flags()  # Before `define`, which replaces some of them.
    define()
    app.run(main, flags_parser=parse)
    raise AssertionError("app.run does not return")
