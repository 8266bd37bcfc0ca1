"""The absl flags of the program, one for each field of the flag table.

The code is in the package, so that the installed command has the same flags.
"""

from trainer.command.flags import (
    config_from_flags,
    define,
    parse,
    run,
    wants_traceback,
)

__all__ = ["config_from_flags", "define", "parse", "run", "wants_traceback"]
