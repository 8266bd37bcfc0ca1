"""The five models of the reference experiment."""

from __future__ import annotations

import dataclasses
import os

from trainer.config import ResolvedConfig
from trainer.config.fields import FEATURE_EXTRACT, FINETUNE, OFF, TUTORIAL

# The fine-tuned models start from the weights of this model.
BASE_MODEL = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyModel:
    """The settings in which the models of the study differ.

    Attributes:
      number: 0 to 4.
      stage: feature_extract, or finetune from model 2's last weights.
      data_pct: percentage of the training samples.
      augment: whether training images are augmented.
      published: test accuracy published for ten classes of Food-101
        (EfficientNetV2-B0, TensorFlow 2.12); that of model 0 is a validation
        accuracy on a quarter of the test split.
    """

    number: int
    stage: str
    data_pct: float
    augment: bool
    published: float

    @property
    def title(self) -> str:
        """The name of the model in a table."""
        plain = "" if self.augment else ", no augmentation"
        return f"{self.stage}, {self.data_pct:g} % of the data{plain}"


MODELS = (
    StudyModel(
        number=0,
        stage=FEATURE_EXTRACT,
        data_pct=10.0,
        augment=False,
        published=0.857,
    ),
    StudyModel(
        number=1,
        stage=FEATURE_EXTRACT,
        data_pct=1.0,
        augment=True,
        published=0.419,
    ),
    StudyModel(
        number=2,
        stage=FEATURE_EXTRACT,
        data_pct=10.0,
        augment=True,
        published=0.822,
    ),
    StudyModel(
        number=3,
        stage=FINETUNE,
        data_pct=10.0,
        augment=True,
        published=0.850,
    ),
    StudyModel(
        number=4,
        stage=FINETUNE,
        data_pct=100.0,
        augment=True,
        published=0.916,
    ),
)


def models_to_train(numbers: tuple[int, ...]) -> tuple[StudyModel, ...]:
    """Returns the requested models and their base models, in order."""
    wanted = set(numbers)
    if any(MODELS[number].stage == FINETUNE for number in numbers):
        wanted.add(BASE_MODEL)
    return tuple(MODELS[number] for number in sorted(wanted))


def model_workdir(study: str, seed: int, number: int) -> str:
    """Returns the workdir of one model, below that of the study."""
    return os.path.join(study, f"seed{seed}", f"model{number}")


def model_config(
    config: ResolvedConfig, model: StudyModel, seed: int
) -> ResolvedConfig:
    """Returns the configuration of the run that trains one model.

    Args:
      config: the configuration of the study.
      model: the model to train.
      seed: the seed of the run.
    """
    finetune = model.stage == FINETUNE
    return dataclasses.replace(
        config,
        stage=model.stage,
        data_pct=model.data_pct,
        augment=TUTORIAL if model.augment else OFF,
        seed=seed,
        epochs=config.epochs if finetune else config.head_epochs,
        learning_rate=(
            config.learning_rate if finetune else config.head_learning_rate
        ),
        workdir=model_workdir(config.workdir, seed, model.number),
        init_from=(
            model_workdir(config.workdir, seed, BASE_MODEL)
            if finetune
            else None
        ),
    )
