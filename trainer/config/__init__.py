"""The flags of a run: their table, their legal values, and `Config`."""

from trainer.config.checks import (
    check_embed,
    check_given,
    check_solved_head,
    check_validation,
)
from trainer.config.config import Config, ResolvedConfig, StageSpec

__all__ = [
    "Config",
    "ResolvedConfig",
    "StageSpec",
    "check_embed",
    "check_given",
    "check_solved_head",
    "check_validation",
]
