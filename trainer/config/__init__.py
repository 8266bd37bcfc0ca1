"""The flags of a run: their table, their legal values, and `Config`."""

from trainer.config.config import Config, ResolvedConfig, StageSpec
from trainer.config.given import (
    check_embed,
    check_given,
    check_parts,
    check_predict,
    check_search,
    check_solved_head,
    check_validation,
)

__all__ = [
    "Config",
    "ResolvedConfig",
    "StageSpec",
    "check_embed",
    "check_given",
    "check_parts",
    "check_predict",
    "check_search",
    "check_solved_head",
    "check_validation",
]
