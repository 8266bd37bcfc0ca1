"""The training loss of a run."""

from __future__ import annotations

from trainer.config import Config
from trainer.data.manifest import Manifest
from trainer.learning.class_weights import class_weights
from trainer.learning.losses import TrainingLoss


def training_loss(config: Config, manifest: Manifest) -> TrainingLoss:
    """Returns the loss that the flags ask for.

    Raises:
      UsageError, TrainerError: see `class_weights`.
    """
    return TrainingLoss(
        smoothing=config.label_smoothing,
        class_weights=class_weights(
            config.class_weights, manifest.train, manifest.class_names
        ),
    )
