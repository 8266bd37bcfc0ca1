"""Fine-tunes image classifiers with a plain TensorFlow 2 training loop.

    import trainer

    result = trainer.train(trainer.Config(dataset="photos", recipe="best"))
    model = trainer.load(result.workdir)
    for prediction in model.predict(["new.jpg"]):
        print(prediction.label, prediction.probability)

TensorFlow is imported when a function needs it.
"""

from trainer.api import (
    Config,
    Model,
    Prediction,
    Result,
    evaluate,
    export,
    load,
    train,
)
from trainer.errors import TrainerError, UsageError

__all__ = [
    "Config",
    "Model",
    "Prediction",
    "Result",
    "TrainerError",
    "UsageError",
    "evaluate",
    "export",
    "load",
    "train",
]
