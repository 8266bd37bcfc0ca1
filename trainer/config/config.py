"""The configuration of a run: a frozen dataclass that checks its values.

This module does not import TensorFlow, which takes seconds, so that an illegal
value stops the run at once.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from trainer.config.checks import check_fields
from trainer.config.fields import (
    ADAM,
    BEST,
    FEATURE_EXTRACT,
    FIELDS,
    FINETUNE,
    LAST,
    LBFGS,
    OFF,
    RESULT,
    TUTORIAL,
    Fields,
)
from trainer.config.mixing import Mixing, parse_mix
from trainer.config.ranges import parse_models
from trainer.config.split_names import SplitNames
from trainer.config.unfreeze import UnfreezePart, parse_parts
from trainer.config.validation import (
    KFOLD,
    TEST,
    ValidationRule,
    parse_validation,
)

_AUGMENT_BEFORE = {"true": TUTORIAL, "false": OFF}
# The batch size for which the default learning rates were chosen.
_REFERENCE_BATCH = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Fields):
    """The flags of one run as given; None means unset.

    Raises:
      UsageError: a value is illegal.
    """

    def __post_init__(self) -> None:
        # Up to 0.1.0 the flag was true or false.
        policy = _AUGMENT_BEFORE.get(str(self.augment).lower(), self.augment)
        object.__setattr__(self, "augment", policy)
        check_fields(self)

    @property
    def augments(self) -> bool:
        """Whether training images change from epoch to epoch."""
        return self.augment != OFF or self.mix != OFF or self.erasing > 0

    @property
    def mixing(self) -> Mixing | None:
        """The parsed --mix; None for off."""
        return parse_mix(self.mix)

    @property
    def rate_factor(self) -> float:
        """The factor of every learning rate; 1 without --scale_lr."""
        return self.batch_size / _REFERENCE_BATCH if self.scale_lr else 1.0

    @property
    def split_names(self) -> SplitNames:
        """The folders that --train_split, --val_split and --test_split name."""
        return SplitNames(
            train=self.train_split,
            validation=self.val_split,
            test=self.test_split,
        )

    @property
    def validation_rule(self) -> ValidationRule | None:
        """The parsed --validation; None if it is unset."""
        if self.validation is None:
            return None
        return parse_validation(self.validation)

    @property
    def honest_validation(self) -> bool:
        """Whether no test image is used for a choice during training.

        True if --validation is given and is not test.
        """
        return self.validation not in (None, TEST)

    @property
    def runs_folds(self) -> bool:
        """Whether --validation=kfold:K asks for several runs."""
        rule = self.validation_rule
        return rule is not None and rule.mode == KFOLD

    @property
    def finetune_parts(self) -> dict[str, UnfreezePart]:
        """The parts of finetune in order, by stage name.

        The stages are `finetune-1`, `finetune-2` and so on, or `finetune` if
        there is only one part.
        """
        parts = parse_parts(self.unfreeze) or (
            UnfreezePart(rule=self.unfreeze, epochs=self.epochs),
        )
        if len(parts) == 1:
            return {FINETUNE: parts[0]}
        return {f"{FINETUNE}-{n}": part for n, part in enumerate(parts, 1)}

    @property
    def last_stage(self) -> str:
        """The name of the stage whose result is the result of the run."""
        if self.stage != FINETUNE:
            return self.stage
        return list(self.finetune_parts)[-1]

    @property
    def last_epochs(self) -> int:
        """The epochs of `last_stage`, before --min_steps raises them."""
        if self.stage != FINETUNE:
            return self.epochs
        return self.finetune_parts[self.last_stage].epochs

    def result_fields(self) -> dict[str, Any]:
        """Returns the fields that change the metrics of the run.

        If `init_from_checkpoint` is unset, it has the checkpoint that a later
        stage of this run starts from.
        """
        fields = {
            name: getattr(self, name)
            for name, field in FIELDS.items()
            if field.metadata["effect"] == RESULT
            and self.stage in field.metadata["stages"]
        }
        if "init_from_checkpoint" in fields:
            of_result = BEST if self.honest_validation else LAST
            fields["init_from_checkpoint"] = (
                self.init_from_checkpoint or of_result
            )
        return fields

    def to_json(self) -> dict[str, Any]:
        """Returns all fields as JSON-serializable values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Config:
        """Returns the configuration from `to_json`; ignores unknown keys."""
        return cls(**{k: v for k, v in values.items() if k in FIELDS})

    def model_numbers(self) -> tuple[int, ...]:
        """Returns the sorted numbers of `--models`."""
        return parse_models(self.models)


# See `StageSpec.at_least`.
_STEPS_APART, _VALIDATIONS = 20, 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageSpec:
    """The settings that differ between the stages of one run.

    Attributes:
      stage: the name of the stage, and of its folder.
      epochs: the number of epochs.
      learning_rate: Adam's learning rate, after --scale_lr.
      unfreeze: the rule that chooses the trainable layers.
      solver: adam, or lbfgs for a head that is solved exactly, in one epoch
        of one step and without a learning rate.
      views: number of views of each image to cache; 0 caches none.
      part: the number of the part of finetune, from 1; 0 if there are no parts.
      validate_every: epochs from one validation and checkpoint to the next.
    """

    stage: str
    epochs: int
    learning_rate: float
    unfreeze: str
    solver: str = ADAM
    views: int = 0
    part: int = 0
    validate_every: int = 1

    @property
    def solved(self) -> bool:
        """Whether the head is solved exactly."""
        return self.solver == LBFGS

    def at_least(self, steps: int, epoch_steps: int) -> StageSpec:
        """Returns the stage with enough epochs for a number of steps.

        If there are so few photos that it needs more epochs, the stage does not
        validate after each, which would take longer than the training: at least
        20 steps apart, but ten times in all.

        Args:
          steps: the value of --min_steps; a solved head has no steps.
          epoch_steps: number of steps per epoch.
        """
        if self.solved:
            return self
        epochs = -(-steps // epoch_steps)
        if epochs <= self.epochs:
            return self
        apart = min(-(-_STEPS_APART // epoch_steps), epochs // _VALIDATIONS)
        return dataclasses.replace(
            self, epochs=epochs, validate_every=max(apart, 1)
        )

    @property
    def views_read(self) -> int:
        """Number of augmented views that the stage reads; 0 without views."""
        return self.views if self.solved else min(self.views, self.epochs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResolvedConfig(Config):
    """A configuration with a value for each unset flag; see `run.resolve`.

    Attributes:
      backbone: the name of the backbone.
      weights: imagenet, none or a file.
      image_size: side of the images, in pixels.
      learning_rate: None for a study, in which each stage has its own rate.
      workdir: the folder of the run.
    """

    backbone: str
    weights: str
    image_size: int
    workdir: str

    def stages(self) -> tuple[StageSpec, ...]:
        """Returns the stages of a run that starts without earlier weights."""
        own = self.own_stages()
        if self.stage == FEATURE_EXTRACT or not self.head_epochs:
            return own
        head = StageSpec(
            stage=FEATURE_EXTRACT,
            epochs=1 if self.head_solver == LBFGS else self.head_epochs,
            learning_rate=self.head_learning_rate * self.rate_factor,
            unfreeze="none",
            solver=self.head_solver,
            views=self.head_views,
        )
        return (head, *own)

    def own_stages(self) -> tuple[StageSpec, ...]:
        """Returns the stages of --stage itself, without training the head.

        There is one stage, or one for each part of --unfreeze.
        """
        assert self.learning_rate is not None
        rate = self.learning_rate * self.rate_factor
        if self.stage == FEATURE_EXTRACT:
            head = StageSpec(
                stage=FEATURE_EXTRACT,
                epochs=self.epochs,
                learning_rate=rate,
                unfreeze="none",
                solver=self.head_solver,
                views=self.head_views,
            )
            return (head,)
        parts = self.finetune_parts
        return tuple(
            StageSpec(
                stage=name,
                epochs=part.epochs,
                learning_rate=rate,
                unfreeze=part.rule,
                part=number if len(parts) > 1 else 0,
            )
            for number, (name, part) in enumerate(parts.items(), 1)
        )
