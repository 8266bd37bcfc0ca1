"""The flags of a run: their table, legal values, and the configuration."""

from trainer.config.config import Config, StageSpec, check_given

__all__ = ["Config", "StageSpec", "check_given"]
