"""The table of flags: names, defaults, help, and what a change means.

Nothing of it is written anywhere else. No TensorFlow is imported.
"""

from __future__ import annotations

import dataclasses
from typing import Any

FEATURE_EXTRACT = "feature_extract"
FINETUNE = "finetune"
EVALUATE = "evaluate"
PREDICT = "predict"
EXPORT = "export"
STUDY = "study"
# The data set that the project draws, what it is trained with if no flag says
# otherwise, and the backbone of every other data set.
DEMO = "demo"
DEMO_BACKBONE = "EfficientNetLite0"
DEMO_IMAGE_PX = 128
DEFAULT_BACKBONE = "EfficientNetB0"
IMAGENET = "imagenet"
AUTO = "auto"
TPU, LOCAL = "tpu", "local"
TRAINING_STAGES = (FEATURE_EXTRACT, FINETUNE)
USING_STAGES = (EVALUATE, PREDICT, EXPORT)  # Need a workdir, train nothing.
STAGES = (*TRAINING_STAGES, STUDY, *USING_STAGES)
# A study decides by itself what sets its models apart.
FIT_STAGES = (*TRAINING_STAGES, STUDY)
_DATA_STAGES = (*FIT_STAGES, EVALUATE, EXPORT)

# What a change of a field does to a run: RESULT changes its figures,
# NUMERICS only their last bits, FREE nothing that is kept.
RESULT, NUMERICS, FREE = "result", "numerics", "free"


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
class Fields:
    """A field is a flag. Those that are None are decided later."""

    stage: str = _flag(
        FINETUNE,
        RESULT,
        "What to do: train a head on the frozen backbone, fine-tune, or do the"
        " five-model study; or evaluate, predict with or export what a workdir"
        " holds.",
        choices=STAGES,
    )
    dataset: str = _flag(
        DEMO,
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
        stages=FIT_STAGES,
    )
    on_bad_image: str = _flag(
        "fail",
        RESULT,
        "What to do about an image that cannot be read: stop before training"
        " or leave it out.",
        choices=("fail", "skip"),
        stages=_DATA_STAGES,
    )
    backbone: str | None = _flag(
        None,
        RESULT,
        "A classifier of keras.applications, by its own name, or"
        " EfficientNetLite0 to EfficientNetLite4. If unset, EfficientNetLite0"
        " for --dataset=demo, else EfficientNetB0.",
        stages=FIT_STAGES,
    )
    backbone_args: str = _flag(
        "",
        RESULT,
        "Arguments of the backbone's constructor, such as alpha=0.35; several"
        " are separated by commas.",
        stages=FIT_STAGES,
    )
    weights: str | None = _flag(
        None,
        RESULT,
        "Backbone weights: imagenet (downloaded by Keras; for"
        " EfficientNetLite0 to 2 from an installed package), none, or a file:"
        " .weights.h5, legacy .h5, .keras, or a TF checkpoint. imagenet if"
        " unset.",
        stages=FIT_STAGES,
    )
    weights_origin: str | None = _flag(
        None,
        RESULT,
        "Which form of EfficientNetB0..B7 a weights file was saved from:"
        " built with weights='imagenet' or with weights=None.",
        choices=("imagenet", "keras_none"),
        stages=FIT_STAGES,
    )
    image_size: int | None = _flag(
        None,
        RESULT,
        "Side of the square image, px; if unset the backbone's own, or 128"
        " for --dataset=demo.",
        stages=FIT_STAGES,
    )
    batch_size: int = _flag(
        32,
        RESULT,
        "Examples a step, over all replicas together.",
        stages=(*FIT_STAGES, EVALUATE, PREDICT),
    )
    epochs: int = _flag(
        5,
        RESULT,
        "Epochs of the stage named by --stage.",
        stages=FIT_STAGES,
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
        stages=FIT_STAGES,
    )
    head_learning_rate: float = _flag(
        1e-3,
        RESULT,
        "Adam's learning rate in the feature_extract stage that finetune does"
        " first; in a study, of models 0 to 2.",
        stages=(FINETUNE, STUDY),
    )
    scale_lr: bool = _flag(
        False,
        RESULT,
        "Multiply the learning rates, given ones too, by --batch_size / 32"
        " (linear rule of Goyal et al., 2017).",
        stages=FIT_STAGES,
    )
    accumulate_steps: int = _flag(
        1,
        NUMERICS,
        "Take each batch in this many parts, one after the other, and update"
        " once with the sum of their gradients: the same step as in one part,"
        " in less memory. Divides --batch_size.",
        stages=FIT_STAGES,
    )
    augment: bool = _flag(
        True,
        RESULT,
        "Flip, rotate, zoom and stretch training images.",
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
        stages=FIT_STAGES,
    )
    validation_fraction: float = _flag(
        0.25,
        RESULT,
        "Fraction of the test batches to validate on each epoch, where the"
        " data has no validation split.",
        stages=FIT_STAGES,
    )
    seed: int = _flag(
        0,
        RESULT,
        "Decides the subset, the order, the augmentation and the fresh"
        " weights.",
        stages=FIT_STAGES,
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
        "What to predict: an image, a folder, a glob in quotes, or - for a"
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
        stages=FIT_STAGES,
    )
    keep_checkpoints: int = _flag(
        3,
        FREE,
        "Latest checkpoints to keep, besides the best one.",
        stages=FIT_STAGES,
    )
    on_nonfinite: str = _flag(
        "stop",
        FREE,
        "What to do when a loss is not finite: stop, or rollback to the last"
        " epoch boundary with half the learning rate, at most three times.",
        choices=("stop", "rollback"),
        stages=FIT_STAGES,
    )
    log_every_steps: int = _flag(
        10,
        FREE,
        "Write training figures every this many steps, besides each epoch.",
        stages=FIT_STAGES,
    )
    steps_per_loop: int = _flag(
        0,
        FREE,
        "Training steps in one call of the graph, fewer before the end of an"
        " epoch or a checkpoint; signals are heard between calls. 0 lets calls"
        " grow to about a second.",
        stages=FIT_STAGES,
    )
    precision: str = _flag(
        "auto",
        RESULT,
        "Arithmetic of the model; auto is float32, and bfloat16 on a TPU.",
        choices=("auto", "float32", "bfloat16"),
        stages=FIT_STAGES,
    )
    xla: str = _flag(
        "auto",
        NUMERICS,
        "Compile the step with XLA; auto does so on GPUs. A TPU's runtime"
        " always compiles.",
        choices=("auto", "on", "off"),
        stages=(*FIT_STAGES, EVALUATE, PREDICT),
    )
    trunk_engine: str = _flag(
        "auto",
        NUMERICS,
        "What runs the frozen part of the classifier: step (inside the"
        " training step), graph or litert (ahead of it, on a CPU; what they"
        " compute can be cached); auto takes step on accelerators.",
        choices=("auto", "step", "graph", "litert"),
        stages=(*FIT_STAGES, EVALUATE),
    )
    trunk_block: int = _flag(
        0,
        FREE,
        "Images that --trunk_engine=graph takes at once; 0 takes what fits a"
        " processor's cache.",
        stages=(*FIT_STAGES, EVALUATE),
    )
    feature_dtype: str = _flag(
        "float32",
        RESULT,
        "Number format of the frozen part's output where it is computed ahead"
        " of the step; float16 halves the cache and rounds what the rest of"
        " the classifier sees.",
        choices=("float32", "float16"),
        stages=FIT_STAGES,
    )
    fold_batch_norm: bool = _flag(
        True,
        NUMERICS,
        "Fold BatchNorm, which is always in inference mode, into the"
        " convolution before it.",
        stages=(*FIT_STAGES, EVALUATE),
    )
    quick_gradients: str = _flag(
        "auto",
        NUMERICS,
        "Compute gradients of swish and the like, biases and wide depthwise"
        " kernels by quicker operations than TensorFlow's own; auto does so in"
        " float32 on CPUs, without XLA.",
        choices=("auto", "on", "off"),
        stages=FIT_STAGES,
    )
    augment_kernel: str = _flag(
        "auto",
        NUMERICS,
        "How images are warped: projective, which is faster on a CPU, or"
        " gather, which XLA compiles.",
        choices=("auto", "projective", "gather"),
        stages=FIT_STAGES,
    )
    cache: str = _flag(
        "auto",
        FREE,
        "Where to keep features of the frozen part, and decoded images: auto"
        " (on disk where that works, else in memory), ram, disk or off.",
        choices=("auto", "ram", "disk", "off"),
        stages=(*FIT_STAGES, EVALUATE),
    )
    cache_dir: str | None = _flag(
        None,
        FREE,
        "Folder in which the cache's own folder, transfer-trainer-cache, is"
        " made; your runs share it. ~/.cache if unset.",
        stages=(*FIT_STAGES, EVALUATE),
    )
    cache_ram_mib: int = _flag(
        0,
        FREE,
        "What the cache may take of memory, MiB; 0 is a quarter of what is"
        " free.",
        stages=(*FIT_STAGES, EVALUATE),
    )
    cache_disk_mib: int = _flag(
        16384,
        FREE,
        "What the cache may take on disk, MiB; the least recently used goes.",
        stages=(*FIT_STAGES, EVALUATE),
    )
    decode_cache: bool = _flag(
        True,
        FREE,
        "Keep decoded images, a byte a value, where they are read again.",
        stages=(*FIT_STAGES, EVALUATE),
    )
    strategy: str = _flag(
        "auto",
        NUMERICS,
        "How to use the devices; auto takes several processes where TF_CONFIG,"
        " TRAINER_WORKERS (HOST:PORT,... with the index in"
        " JOB_COMPLETION_INDEX) or Slurm names them, else a TPU if there is"
        " one, else mirrors over several GPUs, else takes one device.",
        choices=("auto", "one_device", "mirrored", "multi_worker", "tpu"),
        stages=(*FIT_STAGES, EVALUATE),
    )
    gpus: str | None = _flag(
        None,
        FREE,
        "Numbers of the GPUs to use, from 0, such as 0,1; all if unset.",
        stages=(*FIT_STAGES, EVALUATE, PREDICT),
    )
    tpu: str | None = _flag(
        None,
        FREE,
        "Which TPU: local, that of this machine, which --strategy=tpu takes if"
        " unset, or the name or grpc:// address of one on the network.",
        stages=(*FIT_STAGES, EVALUATE),
    )
    logical_cpus: int = _flag(
        1,
        NUMERICS,
        "Split the CPU into this many devices, to try --strategy=mirrored"
        " without GPUs.",
        stages=(*FIT_STAGES, EVALUATE),
    )
    deterministic: str = _flag(
        "auto",
        NUMERICS,
        "Have TensorFlow use operations only that repeat bit for bit; auto does"
        " so on the CPU, and not with GPUs, where it takes time.",
        choices=("auto", "on", "off"),
        stages=(*FIT_STAGES, EVALUATE, PREDICT),
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
        stages=FIT_STAGES,
    )


FIELDS = {field.name: field for field in dataclasses.fields(Fields)}
