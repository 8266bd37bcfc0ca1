"""The flags of a run: their table, their legal values, and `Config`."""

from trainer.config.checked import checked, type_name
from trainer.config.config import Config, ResolvedConfig, StageSpec

__all__ = ["Config", "ResolvedConfig", "StageSpec", "checked", "type_name"]
