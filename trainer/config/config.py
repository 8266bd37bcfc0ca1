"""What a run is asked to do: one frozen dataclass, checked when it is made.

A bad run dies before TensorFlow starts, so none is imported here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterator
from typing import Any

from trainer.config.fields import (
    DEFAULT_BACKBONE,
    DEMO,
    DEMO_BACKBONE,
    DEMO_IMAGE_PX,
    FEATURE_EXTRACT,
    FIELDS,
    FINETUNE,
    FIT_STAGES,
    IMAGENET,
    PREDICT,
    RESULT,
    STUDY,
    TPU,
    USING_STAGES,
    Fields,
)
from trainer.config.ranges import check_choice, check_range, parse_gpus
from trainer.config.unfreeze import parse_unfreeze
from trainer.errors import UsageError
from trainer.storage import files

_PRECISION = {False: "float32", True: "bfloat16"}
_PATTERN = frozenset("*?[\\")
# The batch that learning rates are meant for.
_REFERENCE_BATCH = 32
_DEFAULT_LEARNING_RATE = {FEATURE_EXTRACT: 1e-3, FINETUNE: 1e-4}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Fields):
    """One run. Fields that are None are decided later; see `resolved`.

    Raises:
      UsageError: when made from values that are not legal.
    """

    def __post_init__(self) -> None:
        for name, field in FIELDS.items():
            value = getattr(self, name)
            check_choice(name, value, field.metadata["choices"])
            check_range(name, value, field.default)
        parse_unfreeze(self.unfreeze)
        self.model_numbers()
        self._check_devices()
        if self.stage in FIT_STAGES and not self.dataset:
            raise UsageError(
                "--dataset='': no data named; give a folder of photos"
                " (train/CLASS/*.jpg or CLASS/*.jpg), a TFDS name such as"
                " tf_flowers, food10 or demo"
            )
        if self.stage in USING_STAGES and not self.workdir:
            raise UsageError(
                f"--workdir='': --stage={self.stage} needs the workdir of the"
                f" run to {self.stage}; give --workdir=FOLDER"
            )
        if self.stage == PREDICT and not self.inputs:
            raise UsageError(
                "--inputs='': --stage=predict needs images; give a file, a"
                " folder, a glob in quotes, or - for a list on standard input"
            )
        for name in FIELDS.keys() - {"dataset", "inputs"}:
            value = getattr(self, name)
            if isinstance(value, str) and not value.isascii():
                _check_utf8(name, value)
        for name in ("tfds_data_dir", "workdir", "init_from"):
            if getattr(self, name) == "":
                raise UsageError(
                    f"--{name}='': an empty path; give a folder, or leave the"
                    " flag out"
                )
        if self.cache_dir and files.is_remote(self.cache_dir):
            raise UsageError(
                f"--cache_dir={self.cache_dir!r}: a URL, and the cache needs"
                " a local disk; give a folder on a disk of this machine,"
                " or leave the flag out"
            )
        for name in ("workdir", "init_from"):
            path = getattr(self, name) or ""
            if set(path) & _PATTERN:
                raise UsageError(
                    f"--{name}={path!r}: TensorFlow takes paths with any of"
                    f" {' '.join(sorted(_PATTERN))} for patterns, and would not"
                    " find its checkpoints again; give a path without"
                )

    def _check_devices(self) -> None:
        if self.batch_size % self.accumulate_steps:
            raise UsageError(
                f"--accumulate_steps={self.accumulate_steps}: does not divide"
                f" --batch_size={self.batch_size}, which is taken in so many"
                " equal parts; give a divisor of it"
            )
        if self.gpus is not None:
            parse_gpus(self.gpus)
        if self.tpu is None:
            named = "--strategy=tpu" if self.strategy == TPU else ""
        else:
            named = f"--tpu={self.tpu!r}"
            if not self.tpu.strip() or self.strategy not in ("auto", TPU):
                other = f" with --strategy={self.strategy}"
                raise UsageError(
                    f"{named}: not possible{other * bool(self.tpu.strip())};"
                    " give local or a TPU's name, with --strategy=tpu or auto"
                )
        if named and self.gpus is not None:
            raise UsageError(
                f"{named}: not possible with --gpus={self.gpus}; leave one of"
                " them out"
            )
        if named and self.xla == "off":
            raise UsageError(
                f"--xla=off: not possible with {named}, whose runtime always"
                " compiles; give auto"
            )

    @property
    def rate_factor(self) -> float:
        """What learning rates are multiplied by."""
        return self.batch_size / _REFERENCE_BATCH if self.scale_lr else 1.0

    def resolved(self, image_px: int, *, on_tpu: bool = False) -> Config:
        """This run with nothing left open but the workdir.

        Args:
          image_px: the backbone's own image size.
          on_tpu: whether a TPU trains.
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
        """The backbone that was given, or the data set's own."""
        default = DEMO_BACKBONE if self._is_demo() else DEFAULT_BACKBONE
        return self.backbone or default

    def _is_demo(self) -> bool:
        # A folder of that name is somebody's photos.
        return self.dataset == DEMO and not files.is_dir(DEMO)

    def introduction(self) -> Iterator[str]:
        """What the run chose for want of a flag, before anything else."""
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
        """The fields that change the figures of the run."""
        return {
            name: getattr(self, name)
            for name, field in FIELDS.items()
            if field.metadata["effect"] == RESULT
            and self.stage in field.metadata["stages"]
        }

    def default_workdir(self) -> str:
        """`runs/DATASET-BACKBONE-STAGE-PCT-HASH`, from a resolved run."""
        fields = self.result_fields()
        for name in ("dataset", "weights", "init_from"):
            # One folder named in two ways is one folder.
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
        """All fields, as JSON holds them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Config:
        """The run that `to_json` wrote; unknown fields are left out."""
        return cls(**{k: v for k, v in values.items() if k in FIELDS})

    def model_numbers(self) -> tuple[int, ...]:
        """The models of the study, sorted.

        Raises:
          UsageError: they are not numbers from 0 to 4.
        """
        found = sorted({text.strip() for text in self.models.split(",")})
        if not set(found) <= set("01234"):
            raise UsageError(
                f"--models={self.models!r}: must be numbers from 0 to 4,"
                " separated by commas, such as 0,2,3"
            )
        return tuple(int(text) for text in found)

    def stages(self) -> tuple[StageSpec, ...]:
        """The stages of a resolved run that starts from nothing."""
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
    """What sets one stage of a run apart from another.

    Attributes:
      stage: its name.
      epochs: how many.
      learning_rate: Adam's, scaled where that is asked for.
      unfreeze: the rule for its layers.
    """

    stage: str
    epochs: int
    learning_rate: float
    unfreeze: str


def _check_utf8(name: str, value: str) -> None:
    """TensorFlow takes no other paths; of photos only Python reads names."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"--{name}={value!r}: not UTF-8; rename it, or give another"
        ) from None


def check_given(stage: str, given: frozenset[str]) -> None:
    """Refuses flags that the stage would parse and never read.

    Args:
      stage: a legal stage.
      given: names of the flags that were given explicitly.

    Raises:
      UsageError: naming the first such flag.
    """
    for name in sorted(given & FIELDS.keys()):
        stages = FIELDS[name].metadata["stages"]
        if stage not in stages:
            raise UsageError(
                f"--{name}: not read by --stage={stage}, only by"
                f" {', '.join(stages)}; leave it out"
            )
