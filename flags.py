"""The command line: the only absl definitions, and flags -> Config."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl import app, flags
from absl import logging as absl_logging  # Defines --verbosity.

from trainer.config import Config, check_given
from trainer.config.fields import FIELDS
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
_PATHS = (
    "cache_dir",
    "dataset",
    "init_from",
    "inputs",
    "output",
    "tfds_data_dir",
    "weights",
    "workdir",
)
_MAX_FLAGFILE_BYTES = 1 << 20
_LEGAL = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false (--name or --noname)",
}


def define(flag_values: flags.FlagValues = _FLAGS) -> None:
    """Defines one absl flag for each field of `Config`."""
    for name, field in FIELDS.items():
        choices = field.metadata["choices"]
        text = field.metadata["help"]
        if choices:
            text += f" One of: {', '.join(choices)}."
        # Choices are checked by Config, so that all errors read alike.
        _DEFINE[_kind(name)](name, field.default, text, flag_values=flag_values)
        # --help shows the flags of the main module only.
        flag_values.register_key_flag_for_module(sys.argv[0], flag_values[name])


def parse(
    argv: Sequence[str], flag_values: flags.FlagValues = _FLAGS
) -> list[str]:
    """Parses argv, for `absl.app.run(flags_parser=...)`.

    absl's own parser answers a bad flag with two lines and status 1; this one
    prints one line and exits with 2.
    """
    try:
        _check_flagfiles(argv)
    except TrainerError as error:
        _exit_usage(str(error))
    try:
        rest = flag_values(list(argv))
    except flags.Error as error:
        _exit_usage(_explain(" ".join(str(error).split())))
    if not _FLAGS["verbosity"].present:
        # absl's default shows the notes of every library that logs with it;
        # what a person has to know is printed.
        absl_logging.set_verbosity(absl_logging.ERROR)
    if len(rest) > 1:
        _exit_usage(
            f"{rest[1]!r}: not a flag; every option is written"
            " --name=value; see --help"
        )
    return rest


def _check_flagfiles(
    argv: Sequence[str], seen: frozenset[str] = frozenset()
) -> None:
    """Checks that each --flagfile is a text, before absl opens it.

    A pipe would never end, and other content is a traceback.

    Args:
      argv: arguments, or the lines of a flag file.
      seen: flag files that led here; absl ends a circle by itself.

    Raises:
      TrainerError: one cannot be read, or is no text.
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
                raise ValueError("no text")
        _check_flagfiles(text.splitlines(), seen | {name})


def _explain(message: str) -> str:
    """Absl's message as one line that says what is legal."""
    unknown = re.match(
        r"Unknown command line flag '(.*?)'\.?(?: Did you mean: (.*?) \?)?",
        message,
    )
    if unknown:
        near = f"; did you mean --{unknown[2]}?" if unknown[2] else ""
        return f"--{unknown[1]}: no such flag{near}; --help lists the flags"
    illegal = re.match(r"flag --(\w+)=(.*?): ", message)
    if illegal and illegal[1] in FIELDS:
        kind = _LEGAL[_kind(illegal[1])]
        return f"--{illegal[1]}={illegal[2]!r}: not {kind}; see --help"
    return f"{message.rstrip('.')}; see --help"


def _kind(name: str) -> str:
    return str(FIELDS[name].type).removesuffix(" | None")


def _exit_usage(message: str) -> NoReturn:
    print(f"error: {one_line(message)}", file=sys.stderr)
    sys.exit(UsageError.exit_status)


def config_from_flags(
    flag_values: flags.FlagValues = _FLAGS,
) -> tuple[Config, frozenset[str]]:
    """The run that the parsed flags describe.

    Returns:
      The configuration, and the names of the flags given explicitly.

    Raises:
      UsageError: a value is not legal, or a flag is given that the stage does
        not read.
    """
    values: dict[str, Any] = {n: flag_values[n].value for n in FIELDS}
    for name in _PATHS:
        if values[name]:
            values[name] = _without_tilde(name, values[name])
    given = frozenset(name for name in FIELDS if flag_values[name].present)
    config = Config(**values)
    check_given(config.stage, given)
    return config, given


def _without_tilde(name: str, path: str) -> str:
    """Expands ~, which shells leave to the program in --name=~/folder.

    Raises:
      UsageError: there is no such home. A folder called ~ would be made.
    """
    expanded = os.path.expanduser(path)
    if expanded.startswith("~") and not os.path.lexists(expanded):
        user = expanded.partition("/")[0]
        raise UsageError(
            f"--{name}={path!r}: no home folder is known for {user}; give the"
            f" whole path, or ./{path} for something of that name here"
        )
    return expanded


def wants_traceback() -> bool:
    """Whether --verbosity asks for the traceback of an expected error."""
    return absl_logging.get_verbosity() >= absl_logging.DEBUG


def run(main: Callable[[list[str]], None]) -> NoReturn:
    """Parses the command line and runs `main` under absl."""
    define()
    app.run(main, flags_parser=parse)
    raise AssertionError("app.run does not return")
