"""What `import trainer` offers, and what the command line runs."""

from trainer.api.flags import Config
from trainer.api.functions import evaluate, export, load, train
from trainer.api.model import Model, Prediction
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
