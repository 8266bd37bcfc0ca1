"""The flags of a run: their table, their legal values, and `Config`."""

from trainer.config.checked import checked
from trainer.config.config import Config, ResolvedConfig, StageSpec

__all__ = ["Config", "ResolvedConfig", "StageSpec", "checked"]
