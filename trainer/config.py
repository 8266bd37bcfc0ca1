"""What a run is asked to do: one frozen dataclass, checked when it is made.

Every flag is a field here, and its default, its help and what a change of it
means are written here and nowhere else. No TensorFlow is imported: a bad run
dies before TensorFlow starts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from typing import Any

from trainer.errors import UsageError
from trainer.legal import check_choice, check_range
from trainer.unfreeze import parse_unfreeze

FEATURE_EXTRACT = "feature_extract"
FINETUNE = "finetune"
EVALUATE = "evaluate"
PREDICT = "predict"
EXPORT = "export"
STUDY = "study"
TRAINING_STAGES = (FEATURE_EXTRACT, FINETUNE)
USING_STAGES = (EVALUATE, PREDICT, EXPORT)  # Need a workdir, train nothing.
STAGES = (*TRAINING_STAGES, STUDY, *USING_STAGES)
# A study decides by itself what sets its models apart.
_FIT_STAGES = (*TRAINING_STAGES, STUDY)
_DATA_STAGES = (*_FIT_STAGES, EVALUATE, EXPORT)

# What a change of a field does to a run: RESULT changes its figures,
# NUMERICS only their last bits, FREE nothing that is kept.
RESULT, NUMERICS, FREE = "result", "numerics", "free"

_DEFAULT_LEARNING_RATE = {FEATURE_EXTRACT: 1e-3, FINETUNE: 1e-4}


def _flag(
    default: Any,
    effect: str,
    help_text: str,
    *,
    choices: tuple[str, ...] = (),
    stages: tuple[str, ...] = STAGES,
) -> Any:
    """A field with what flags.py and the checks need to know of it.

    `stages` are those that read the flag; giving it to another is an error.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "effect": effect,
            "help": help_text,
            "choices": choices,
            "stages": stages,
        },
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One run. Fields that are None are decided later; see `resolved`.

    Raises:
      UsageError: when made from values that are not legal.
    """

    stage: str = _flag(
        FINETUNE,
        RESULT,
        "What to do: train a head on the frozen backbone, fine-tune, or do the"
        " five-model study; or evaluate, predict with or export what a workdir"
        " holds.",
        choices=STAGES,
    )
    dataset: str = _flag(
        "",
        RESULT,
        "A folder (train/CLASS/*.jpg beside test/ or val/, or CLASS/*.jpg"
        " alone), a TFDS name such as tf_flowers, food10 (ten classes of TFDS"
        " food101), or demo: as many classes drawn on first use, offline.",
        stages=_DATA_STAGES,
    )
    tfds_data_dir: str | None = _flag(
        None,
        FREE,
        "Where TFDS keeps its data; TFDS's own default if unset.",
        stages=_DATA_STAGES,
    )
    data_pct: float = _flag(
        100.0,
        RESULT,
        "Percentage of the training samples of each class to train on,"
        " 0 < x <= 100; fractions are allowed.",
        stages=TRAINING_STAGES,
    )
    test_fraction: float = _flag(
        0.2,
        RESULT,
        "Fraction of each class kept for testing where the data has no split"
        " of its own.",
        stages=_FIT_STAGES,
    )
    on_bad_image: str = _flag(
        "fail",
        RESULT,
        "What to do about a picture that cannot be read: stop before training"
        " or leave it out.",
        choices=("fail", "skip"),
        stages=_DATA_STAGES,
    )
    backbone: str = _flag(
        "EfficientNetB0",
        RESULT,
        "A classifier of keras.applications, by its own name.",
        stages=_FIT_STAGES,
    )
    backbone_args: str = _flag(
        "",
        RESULT,
        "Arguments of the backbone's constructor, such as alpha=0.35; several"
        " are separated by commas.",
        stages=_FIT_STAGES,
    )
    weights: str = _flag(
        "imagenet",
        RESULT,
        "Backbone weights: imagenet (downloaded by Keras), none, or a file:"
        " .weights.h5, legacy .h5, .keras, or a TF checkpoint.",
        stages=_FIT_STAGES,
    )
    weights_origin: str | None = _flag(
        None,
        RESULT,
        "Which form of EfficientNetB0..B7 a weights file was saved from:"
        " built with weights='imagenet' or with weights=None.",
        choices=("imagenet", "keras_none"),
        stages=_FIT_STAGES,
    )
    image_size: int | None = _flag(
        None,
        RESULT,
        "Side of the square picture, px; the backbone's own if unset.",
        stages=_FIT_STAGES,
    )
    batch_size: int = _flag(
        32,
        RESULT,
        "Examples a step, over all replicas together.",
        stages=(*_FIT_STAGES, EVALUATE, PREDICT),
    )
    epochs: int = _flag(
        5,
        RESULT,
        "Epochs of the stage named by --stage.",
        stages=_FIT_STAGES,
    )
    head_epochs: int = _flag(
        5,
        RESULT,
        "Epochs of the feature_extract stage that finetune does first when it"
        " starts from nothing, 0 leaves it out; in a study, of models 0 to 2.",
        stages=(FINETUNE, STUDY),
    )
    learning_rate: float | None = _flag(
        None,
        RESULT,
        "Adam's learning rate in the stage named by --stage; 1e-3 for"
        " feature_extract and 1e-4 for finetune if unset.",
        stages=_FIT_STAGES,
    )
    head_learning_rate: float = _flag(
        1e-3,
        RESULT,
        "Adam's learning rate in the feature_extract stage that finetune does"
        " first; in a study, of models 0 to 2.",
        stages=(FINETUNE, STUDY),
    )
    augment: bool = _flag(
        True,
        RESULT,
        "Flip, rotate, zoom and stretch training pictures.",
        stages=TRAINING_STAGES,
    )
    unfreeze: str = _flag(
        "last:10",
        RESULT,
        "Backbone layers that finetune trains: last:N, all, none, from:LAYER"
        " (inclusive), or regex:PATTERN matched against whole layer names.",
        stages=(FINETUNE, STUDY),
    )
    clip_global_norm: float | None = _flag(
        None,
        RESULT,
        "Scale gradients down to this global norm; no clipping if unset.",
        stages=_FIT_STAGES,
    )
    validation_fraction: float = _flag(
        0.25,
        RESULT,
        "Fraction of the test batches to validate on each epoch, where the"
        " data has no validation split.",
        stages=_FIT_STAGES,
    )
    seed: int = _flag(
        0,
        RESULT,
        "Decides the subset, the order, the augmentation and the fresh"
        " weights.",
        stages=_FIT_STAGES,
    )
    workdir: str | None = _flag(
        None,
        FREE,
        "Folder of the run; runs/DATASET-BACKBONE-STAGE-PCT-HASH if unset.",
    )
    init_from: str | None = _flag(
        None,
        RESULT,
        "Workdir of another run to take the weights from (warm start).",
        stages=TRAINING_STAGES,
    )
    init_from_checkpoint: str = _flag(
        "last",
        RESULT,
        "Which weights a stage takes from the stage or run before it.",
        choices=("last", "best"),
        stages=TRAINING_STAGES,
    )
    checkpoint: str = _flag(
        "last",
        FREE,
        "Which checkpoint of the workdir to use.",
        choices=("last", "best"),
        stages=USING_STAGES,
    )
    inputs: str | None = _flag(
        None,
        FREE,
        "What to predict: a picture, a folder, a glob in quotes, or - for a"
        " list of paths on standard input.",
        stages=(PREDICT,),
    )
    output: str | None = _flag(
        None,
        FREE,
        "Where predictions go, a CSV file (standard output if unset), or where"
        " the export goes, a folder (WORKDIR/export if unset).",
        stages=(PREDICT, EXPORT),
    )
    top_k: int | None = _flag(
        None,
        FREE,
        "Classes a prediction names, the most probable first; 5, or all where"
        " there are fewer, if unset.",
        stages=(PREDICT,),
    )
    checkpoint_every_steps: int = _flag(
        0,
        FREE,
        "Save every this many steps too; 0 saves at the end of each epoch"
        " only.",
        stages=_FIT_STAGES,
    )
    keep_checkpoints: int = _flag(
        3,
        FREE,
        "Latest checkpoints to keep, besides the best one.",
        stages=_FIT_STAGES,
    )
    log_every_steps: int = _flag(
        10,
        FREE,
        "Write training figures every this many steps, besides each epoch.",
        stages=_FIT_STAGES,
    )
    precision: str = _flag(
        "auto",
        RESULT,
        "Arithmetic of the model; auto is float32, except on TPU.",
        choices=("auto", "float32", "bfloat16"),
        stages=_FIT_STAGES,
    )
    xla: str = _flag(
        "auto",
        NUMERICS,
        "Compile the step with XLA; auto does so on accelerators.",
        choices=("auto", "on", "off"),
        stages=(*_FIT_STAGES, EVALUATE, PREDICT),
    )
    strategy: str = _flag(
        "auto",
        NUMERICS,
        "How to use the devices; auto mirrors over several GPUs, else takes"
        " one device.",
        choices=("auto", "one_device", "mirrored"),
        stages=(*_FIT_STAGES, EVALUATE),
    )
    logical_cpus: int = _flag(
        1,
        NUMERICS,
        "Split the CPU into this many devices, to try --strategy=mirrored"
        " without GPUs.",
        stages=(*_FIT_STAGES, EVALUATE),
    )
    models: str = _flag(
        "0,1,2,3,4",
        FREE,
        "Models of the study, separated by commas; 3 and 4 bring 2 along.",
        stages=(STUDY,),
    )
    seeds: int = _flag(
        1,
        FREE,
        "How often the study is done, with --seed and those after it.",
        stages=(STUDY,),
    )
    dry_run: bool = _flag(
        False,
        FREE,
        "Print the plan (layers, parameters, samples, steps, devices) and"
        " stop before training.",
        stages=_FIT_STAGES,
    )

    def __post_init__(self) -> None:
        for name, field in FIELDS.items():
            value = getattr(self, name)
            check_choice(name, value, field.metadata["choices"])
            check_range(name, value, field.default)
        parse_unfreeze(self.unfreeze)
        self.model_numbers()
        if self.stage in _FIT_STAGES and not self.dataset:
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
                "--inputs='': --stage=predict needs pictures; give a file, a"
                " folder, a glob in quotes, or - for a list on standard input"
            )
        for name in ("tfds_data_dir", "workdir", "init_from"):
            if getattr(self, name) == "":
                raise UsageError(
                    f"--{name}='': an empty path; give a folder, or leave the"
                    " flag out"
                )

    def resolved(self, image_px: int) -> Config:
        """This run with nothing left open but the workdir.

        Args:
          image_px: the backbone's own image size.
        """
        return dataclasses.replace(
            self,
            learning_rate=self.learning_rate
            or _DEFAULT_LEARNING_RATE.get(self.stage),
            image_size=self.image_size or image_px,
            precision="float32" if self.precision == "auto" else self.precision,
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
            if fields.get(name) and os.path.exists(fields[name]):
                fields[name] = os.path.abspath(fields[name])
        text = json.dumps(fields, sort_keys=True)
        digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
        source = os.path.basename(os.path.abspath(self.dataset))
        parts = [source, self.backbone, self.stage]
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
            learning_rate=self.learning_rate,
            unfreeze=self.unfreeze if self.stage == FINETUNE else "none",
        )
        if self.stage == FEATURE_EXTRACT or not self.head_epochs:
            return (own,)
        head = StageSpec(
            stage=FEATURE_EXTRACT,
            epochs=self.head_epochs,
            learning_rate=self.head_learning_rate,
            unfreeze="none",
        )
        return (head, own)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageSpec:
    """What sets one stage of a run apart from another."""

    stage: str
    epochs: int
    learning_rate: float
    unfreeze: str


FIELDS = {field.name: field for field in dataclasses.fields(Config)}


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
