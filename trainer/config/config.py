"""The configuration of a run: a frozen dataclass that checks its values.

A wrong value stops the run before TensorFlow starts: nothing here imports it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterator
from typing import Any

from trainer.config.checks import check_fields
from trainer.config.fields import (
    DEFAULT_BACKBONE,
    DEMO,
    DEMO_BACKBONE,
    DEMO_IMAGE_PX,
    FEATURE_EXTRACT,
    FIELDS,
    FINETUNE,
    IMAGENET,
    RESULT,
    STUDY,
    Fields,
)
from trainer.config.ranges import parse_models
from trainer.storage import files

_PRECISION = {False: "float32", True: "bfloat16"}
# The batch size that the default learning rates were chosen for.
_REFERENCE_BATCH = 32
_DEFAULT_LEARNING_RATE = {FEATURE_EXTRACT: 1e-3, FINETUNE: 1e-4}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Fields):
    """The configuration of one run; `resolved` decides fields that are None.

    Raises:
      UsageError: a value is illegal.
    """

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def rate_factor(self) -> float:
        """The factor on every learning rate; 1 without --scale_lr."""
        return self.batch_size / _REFERENCE_BATCH if self.scale_lr else 1.0

    def resolved(self, image_px: int, *, on_tpu: bool = False) -> Config:
        """Returns this configuration with all fields decided but the workdir.

        Args:
          image_px: the backbone's own image size, in pixels.
          on_tpu: whether the run trains on a TPU.
        """
        own_px = DEMO_IMAGE_PX if self._is_demo() else image_px
        return dataclasses.replace(
            self,
            backbone=self.backbone_name,
            weights=self.weights or IMAGENET,
            learning_rate=self.learning_rate
            or _DEFAULT_LEARNING_RATE.get(self.stage),
            image_size=self.image_size or own_px,
            precision=_PRECISION[on_tpu]
            if self.precision == "auto"
            else self.precision,
        )

    @property
    def backbone_name(self) -> str:
        """The name of the given backbone, or of the dataset's default."""
        default = DEMO_BACKBONE if self._is_demo() else DEFAULT_BACKBONE
        return self.backbone or default

    def _is_demo(self) -> bool:
        # A folder called "demo" holds somebody's photos.
        return self.dataset == DEMO and not files.is_dir(DEMO)

    def introduction(self) -> Iterator[str]:
        """Yields lines about the defaults that the run uses."""
        if self._is_demo():
            yield (
                "this is the demo, ten dishes drawn by a program; for your own"
                " photos give --dataset=FOLDER, for Food-101 --dataset=food10"
            )
            if self.backbone is None:
                yield (
                    f"--backbone not given: {DEMO_BACKBONE}, whose ImageNet"
                    " weights are installed with this program; for other data"
                    f" it is {DEFAULT_BACKBONE}"
                )
        if self.weights is None and self.backbone_name != DEMO_BACKBONE:
            yield (
                "--weights not given: imagenet (downloaded by Keras;"
                " --weights=FILE takes others, and"
                f" --backbone={DEMO_BACKBONE} needs no network)"
            )

    def result_fields(self) -> dict[str, Any]:
        """Returns the fields that change the metrics of the run."""
        return {
            name: getattr(self, name)
            for name, field in FIELDS.items()
            if field.metadata["effect"] == RESULT
            and self.stage in field.metadata["stages"]
        }

    def default_workdir(self) -> str:
        """Returns `runs/DATASET-BACKBONE-STAGE-PCT-HASH` of a resolved run."""
        fields = self.result_fields()
        for name in ("dataset", "weights", "init_from"):
            # Two spellings of one path must give the same hash.
            path = fields.get(name)
            if path and (files.is_remote(path) or files.exists(path)):
                fields[name] = files.absolute(path)
        text = json.dumps(fields, sort_keys=True)
        digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
        source = os.path.basename(files.absolute(self.dataset))
        parts = [source, self.backbone_name, self.stage]
        if self.stage != STUDY:
            parts.append(f"{self.data_pct:g}pct")
        name = "-".join((*parts, digest))
        return os.path.join("runs", re.sub(r"[^\w.-]+", "_", name))

    def to_json(self) -> dict[str, Any]:
        """Returns all fields as values that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Config:
        """Returns the configuration that `to_json` wrote; skips other keys."""
        return cls(**{k: v for k, v in values.items() if k in FIELDS})

    def model_numbers(self) -> tuple[int, ...]:
        """Returns the sorted numbers of the study's models."""
        return parse_models(self.models)

    def stages(self) -> tuple[StageSpec, ...]:
        """Returns the stages of a resolved run without earlier weights."""
        assert self.learning_rate is not None
        own = StageSpec(
            stage=self.stage,
            epochs=self.epochs,
            learning_rate=self.learning_rate * self.rate_factor,
            unfreeze=self.unfreeze if self.stage == FINETUNE else "none",
        )
        if self.stage == FEATURE_EXTRACT or not self.head_epochs:
            return (own,)
        head = StageSpec(
            stage=FEATURE_EXTRACT,
            epochs=self.head_epochs,
            learning_rate=self.head_learning_rate * self.rate_factor,
            unfreeze="none",
        )
        return (head, own)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageSpec:
    """The settings that differ between the stages of one run.

    Attributes:
      stage: the name of the stage.
      epochs: the number of epochs.
      learning_rate: Adam's learning rate, scaled if --scale_lr is given.
      unfreeze: the rule that chooses the trainable layers.
    """

    stage: str
    epochs: int
    learning_rate: float
    unfreeze: str
