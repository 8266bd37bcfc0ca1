"""Commands of this program, to show."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from trainer.config.usage import command_name
from trainer.results.escaping import for_terminal


def command_line(flags: Mapping[str, Any]) -> str:
    """Returns the shell command with these flags, on one line."""
    words = (shlex.quote(f"--{name}={x}") for name, x in flags.items())
    return for_terminal(" ".join((command_name(), *words)))
