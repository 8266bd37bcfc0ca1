"""The functions for Python programs; the command line runs stages with it."""

from trainer.api.flags import Config
from trainer.api.functions import evaluate, export, train
from trainer.api.model import Model, Prediction, load
from trainer.api.result import Result

__all__ = [
    "Config",
    "Model",
    "Prediction",
    "Result",
    "evaluate",
    "export",
    "load",
    "train",
]
