"""The table of flags: names, defaults, help, and the effect of a change.

This is the only place that states them. TensorFlow is not imported.
"""

from __future__ import annotations

import dataclasses
from typing import Any

FEATURE_EXTRACT = "feature_extract"
FINETUNE = "finetune"
EVALUATE = "evaluate"
PREDICT = "predict"
EXPORT = "export"
SERVE = "serve"
REPORT = "report"
STUDY = "study"
COMPARE = "compare"
LIST_RUNS = "list_runs"
SOUP = "soup"
LR_FIND = "lr_find"
PROBE = "probe"
CHECK_DATA = "check_data"
SEARCH = "search"
EMBED = "embed"
# The dataset that this program draws, its default backbone and image size, and
# the default backbone for all other datasets.
DEMO = "demo"
DEMO_BACKBONE = "EfficientNetLite0"
DEMO_IMAGE_PX = 128
DEFAULT_BACKBONE = "EfficientNetB0"
IMAGENET = "imagenet"
AUTO = "auto"
ADAM, LBFGS = "adam", "lbfgs"
LAST, BEST = "last", "best"
LOSS, ACCURACY, MAP = "loss", "accuracy", "map"
# The metrics of --monitor, and how they are printed.
MONITOR_NAMES = {
    ACCURACY: "accuracy",
    LOSS: "loss",
    "macro_f1": "macro F1",
    "balanced_accuracy": "balanced accuracy",
    MAP: "mAP",
}
SINGLE, MULTILABEL = "single", "multilabel"
EXACT_MATCH = "exact_match"
ADAMW, SGD, LAMB = "adamw", "sgd", "lamb"
OPTIMIZER_TITLES = {ADAM: "Adam", ADAMW: "AdamW", SGD: "SGD", LAMB: "LAMB"}
OPTIMIZERS = tuple(OPTIMIZER_TITLES)
CONSTANT, COSINE, LINEAR, STEPWISE = "constant", "cosine", "linear", "step"
SCHEDULES = (CONSTANT, COSINE, LINEAR, STEPWISE)
TUTORIAL, QUICK, BEST_RECIPE = "tutorial", "quick", "best"
OFF, MILD, TRIVIAL = "off", "mild", "trivial"
FLIP = "flip"
SAVED_MODEL, KERAS_FORMAT, TFLITE, ONNX = (
    "saved_model",
    "keras",
    "tflite",
    "onnx",
)
INT8, FLOAT16 = "int8", "float16"
APPLY, IGNORE = "apply", "ignore"
WHITE = "white"
JSON_LINES = ".jsonl"
STRETCH, CROP, PAD = "stretch", "crop", "pad"
AUGMENT = (OFF, TUTORIAL, MILD, TRIVIAL)
RECIPE_NAMES = (TUTORIAL, QUICK, BEST_RECIPE)
NONE, BALANCED = "none", "balanced"
TPU, LOCAL = "tpu", "local"
TRAINING_STAGES = (FEATURE_EXTRACT, FINETUNE)
# Read a workdir, train nothing.
USING_STAGES = (EVALUATE, PREDICT, EXPORT, SERVE)
# All stages with --workdir. `compare` reads --workdirs, and `list_runs` --runs.
_WORKDIR_STAGES = (
    *TRAINING_STAGES,
    STUDY,
    CHECK_DATA,
    PROBE,
    LR_FIND,
    SEARCH,
    SOUP,
    *USING_STAGES,
    REPORT,
    EMBED,
)
STAGES = (*_WORKDIR_STAGES, COMPARE, LIST_RUNS)
# Each of these stages reads the flags of the other one, except where `_flag`
# says otherwise.
_READS_LIKE = {
    SOUP: EVALUATE,
    REPORT: EVALUATE,
    LR_FIND: FINETUNE,
    SEARCH: FINETUNE,
}
# A study sets data_pct and similar flags itself, for each of its models.
FIT_STAGES = (*TRAINING_STAGES, STUDY)
_DATA_STAGES = (*FIT_STAGES, CHECK_DATA, PROBE, EVALUATE, EXPORT, EMBED)
# The stages that build a backbone by name.
_BACKBONE_STAGES = (*FIT_STAGES, CHECK_DATA, EMBED)
_CACHE_STAGES = (*FIT_STAGES, CHECK_DATA, PROBE, EVALUATE, EMBED)

# The effect of changing a field: RESULT changes the metrics of a run; NUMERICS
# changes only their last bits; FREE changes nothing that is saved.
RESULT, NUMERICS, FREE = "result", "numerics", "free"


def _flag(
    default: Any,
    effect: str,
    help_text: str,
    *,
    choices: tuple[str, ...] = (),
    stages: tuple[str, ...] = STAGES,
    but: tuple[str, ...] = (),
) -> Any:
    """Returns a dataclass field with the metadata of its flag.

    Args:
      default: the flag's default; None if it is chosen later.
      effect: RESULT, NUMERICS or FREE.
      help_text: one sentence for --help.
      choices: the legal values, if they can be listed.
      stages: the stages that read the flag; any other stage rejects it. The
        stages of `_READS_LIKE` need not be listed.
      but: stages of `_READS_LIKE` that do not read the flag.
    """
    stages += tuple(
        stage
        for stage, like in _READS_LIKE.items()
        if like in stages and stage not in (*stages, *but)
    )
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
    """The flags of a run, one field each; None means unset."""

    stage: str = _flag(
        FINETUNE,
        RESULT,
        "Train, choose settings, or use trained models.",
        choices=STAGES,
    )
    recipe: str = _flag(
        TUTORIAL,
        FREE,
        "A set of defaults, which given flags override.",
        choices=RECIPE_NAMES,
        stages=TRAINING_STAGES,
    )
    dataset: str = _flag(
        DEMO,
        RESULT,
        "A folder of images (train/CLASS/*.jpg beside test/ or val/, or"
        " CLASS/*.jpg), a table of images (.csv, .tsv, .jsonl), a TFDS name,"
        " food10 (ten classes of food101), or demo (drawn offline).",
        stages=(*_DATA_STAGES, PREDICT),
    )
    task: str = _flag(
        SINGLE,
        RESULT,
        "Whether each image has one label, or any number of labels, which a"
        " table of images separates by |.",
        choices=(SINGLE, MULTILABEL),
        stages=TRAINING_STAGES,
        but=(LR_FIND, SEARCH),
    )
    tfds_data_dir: str | None = _flag(
        None,
        FREE,
        "Folder in which TFDS stores its data; TFDS's own default if unset.",
        stages=_DATA_STAGES,
    )
    data_pct: float = _flag(
        100.0,
        RESULT,
        "Percentage of each class's training samples to train on, above 0 and"
        " up to 100.",
        stages=(*TRAINING_STAGES, PROBE),
    )
    test_fraction: float = _flag(
        0.2,
        RESULT,
        "Fraction of each class held out for testing if the data has no test"
        " split.",
        stages=(*FIT_STAGES, CHECK_DATA, PROBE, EMBED),
    )
    columns: str | None = _flag(
        None,
        RESULT,
        "Names of the columns of a table of images, such as"
        " path=file,label=species; path, label, split, group and weight if"
        " unset.",
        stages=_DATA_STAGES,
    )
    group_by: str | None = _flag(
        None,
        RESULT,
        "Which images stay together in every split, subset and fold: parent"
        " (those of one folder name), regex:PATTERN (of the path), column (of"
        " a table) or none. If unset, the column group of a table that has"
        " one.",
        stages=_DATA_STAGES,
    )
    shots: int | None = _flag(
        None,
        RESULT,
        "Number of training samples of each class to train on, in place of"
        " --data_pct.",
        stages=(*TRAINING_STAGES, PROBE),
    )
    train_split: str | None = _flag(
        None,
        RESULT,
        "Folder of the training images below --dataset; */NAME: a folder in"
        " each class folder; .: each folder is a class. If unset, found by"
        " its name.",
        stages=_DATA_STAGES,
    )
    val_split: str | None = _flag(
        None,
        RESULT,
        "Folder of the validation images below --dataset, */NAME, or none. If"
        " unset, found by its name.",
        stages=_DATA_STAGES,
    )
    test_split: str | None = _flag(
        None,
        RESULT,
        "Folder of the test images below --dataset, */NAME, or none. If unset,"
        " found by its name.",
        stages=_DATA_STAGES,
    )
    on_bad_image: str = _flag(
        "fail",
        RESULT,
        "What to do with an unreadable image, or a bad row of a table: stop"
        " before training, or leave it out.",
        choices=("fail", "skip"),
        stages=(*FIT_STAGES, PROBE, EVALUATE, EXPORT),
    )
    on_duplicate: str = _flag(
        "warn",
        RESULT,
        "What to do with training images that are also validated or tested on,"
        " or that have several labels: warn, leave them out, or stop.",
        choices=("warn", "skip", "fail"),
        stages=FIT_STAGES,
    )
    backbone: str | None = _flag(
        None,
        RESULT,
        "A keras.applications classifier, or EfficientNetLite0 to 4. If unset,"
        " EfficientNetB0, or EfficientNetLite0 for the demo and check_data.",
        stages=_BACKBONE_STAGES,
    )
    backbone_args: str = _flag(
        "",
        RESULT,
        "Arguments of the backbone's constructor, separated by commas, such"
        " as alpha=0.35.",
        stages=_BACKBONE_STAGES,
    )
    weights: str | None = _flag(
        None,
        RESULT,
        "Backbone weights: imagenet (used if unset), none, or a file"
        " (.weights.h5, .h5, .keras, or a TF checkpoint).",
        stages=_BACKBONE_STAGES,
    )
    weights_origin: str | None = _flag(
        None,
        RESULT,
        "Form of EfficientNetB0 to B7 that a weights file was saved from:"
        " built with weights='imagenet' or with weights=None.",
        choices=("imagenet", "keras_none"),
        stages=_BACKBONE_STAGES,
    )
    image_size: int | None = _flag(
        None,
        RESULT,
        "Side of the square input images, in pixels; if unset, the backbone's"
        " own size, or 128 for the demo and in check_data.",
        stages=(*FIT_STAGES, CHECK_DATA, PROBE, EMBED),
    )
    exif: str | None = _flag(
        None,
        RESULT,
        "Whether to apply the EXIF orientation of photos. If unset, as the"
        " recipe says.",
        choices=(APPLY, IGNORE),
        stages=(*FIT_STAGES, PROBE, EMBED),
    )
    background: str | None = _flag(
        None,
        RESULT,
        "Colour behind transparent pixels and around padded images: white,"
        " black, or RRGGBB; off drops alpha and pads with black. If unset, as"
        " the recipe says.",
        stages=(*FIT_STAGES, PROBE, EMBED),
    )
    resize: str | None = _flag(
        None,
        RESULT,
        "How an image becomes a square: stretch it, crop its centre, or pad"
        " it. If unset, as the recipe says.",
        choices=(STRETCH, CROP, PAD),
        stages=(*FIT_STAGES, PROBE, EMBED),
    )
    batch_size: int = _flag(
        32,
        RESULT,
        "Examples per step over all replicas.",
        stages=(*FIT_STAGES, EVALUATE, PREDICT, EMBED),
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
        "Epochs of the feature_extract stage that runs first in a finetune"
        " run without earlier weights (0 skips it); in a study, epochs of"
        " models 0 to 2.",
        stages=(FINETUNE, STUDY),
    )
    learning_rate: float | None = _flag(
        None,
        RESULT,
        "Learning rate of the stage named by --stage; if unset, 1e-3"
        " for feature_extract and 1e-4 for finetune.",
        stages=FIT_STAGES,
        but=(LR_FIND,),
    )
    head_learning_rate: float = _flag(
        1e-3,
        RESULT,
        "Learning rate in the feature_extract stage that finetune runs"
        " first; in a study, of models 0 to 2.",
        stages=(FINETUNE, STUDY),
    )
    head_solver: str = _flag(
        ADAM,
        RESULT,
        "How feature_extract finds the head: Adam for some epochs, or L-BFGS"
        " to the optimum of an L2-regularised loss on un-augmented images; in"
        " a study, of models 0 to 2.",
        choices=(ADAM, LBFGS),
        stages=FIT_STAGES,
    )
    head_l2: str = _flag(
        AUTO,
        RESULT,
        "Strength of the L2 regularisation with --head_solver=lbfgs, 0 or"
        " more; auto chooses it by cross-validation on the training images.",
        stages=FIT_STAGES,
    )
    optimizer: str = _flag(
        ADAM,
        RESULT,
        "Keras optimizer that updates the weights.",
        choices=OPTIMIZERS,
        stages=TRAINING_STAGES,
    )
    momentum: float = _flag(
        0.9,
        RESULT,
        "Momentum of --optimizer=sgd.",
        stages=TRAINING_STAGES,
    )
    weight_decay: float = _flag(
        0.0,
        RESULT,
        "Weight decay, times the learning rate; not applied to bias, gamma and"
        " beta, and not for adam.",
        stages=TRAINING_STAGES,
    )
    schedule: str = _flag(
        CONSTANT,
        RESULT,
        "Learning rate during a stage: constant, down to 0 along a cosine or"
        " a line, or a tenth after 50 % and 75 % of the steps.",
        choices=SCHEDULES,
        stages=TRAINING_STAGES,
    )
    warmup: float = _flag(
        0.0,
        RESULT,
        "Steps in which the learning rate rises; below 1, a fraction of the"
        " stage.",
        stages=TRAINING_STAGES,
    )
    min_steps: int = _flag(
        0,
        RESULT,
        "Minimum number of steps of a stage; raises its epochs.",
        stages=TRAINING_STAGES,
    )
    backbone_lr_scale: float = _flag(
        1.0,
        RESULT,
        "Factor of the learning rate of all backbone layers.",
        stages=(FINETUNE,),
    )
    layer_decay: float = _flag(
        1.0,
        RESULT,
        "Factor of the learning rate per block of the backbone, from the head"
        " down.",
        stages=(FINETUNE,),
    )
    label_smoothing: float = _flag(
        0.0,
        RESULT,
        "Part of each training label that is spread over all classes.",
        stages=TRAINING_STAGES,
    )
    ema: float = _flag(
        0.0,
        RESULT,
        "Decay of a moving average of the weights, such as 0.99, which is"
        " tested and saved in place of the weights; 0 for none.",
        stages=TRAINING_STAGES,
    )
    head_views: int = _flag(
        0,
        RESULT,
        "Number of augmented views of each training image whose features are"
        " cached for feature_extract. L-BFGS solves the head on all of them;"
        " Adam uses one per epoch, in turn. 0 caches none.",
        stages=TRAINING_STAGES,
    )
    scale_lr: bool = _flag(
        False,
        RESULT,
        "Multiply all learning rates, including given ones, by --batch_size /"
        " 32 (the linear rule of Goyal et al., 2017).",
        stages=FIT_STAGES,
    )
    accumulate_steps: int = _flag(
        1,
        NUMERICS,
        "Number of equal parts in which each batch is processed to save"
        " memory; the weights are updated once, with the sum of their"
        " gradients. Must divide --batch_size.",
        stages=FIT_STAGES,
    )
    augment: str = _flag(
        TUTORIAL,
        RESULT,
        "Random changes of the training images: none, those of the Keras"
        " guide, smaller rotations and shifts, or TrivialAugment.",
        choices=AUGMENT,
        stages=TRAINING_STAGES,
    )
    mix: str = _flag(
        OFF,
        RESULT,
        "Mix each training image with another one of its batch, mixup:A or"
        " cutmix:A, with weights from Beta(A, A).",
        stages=TRAINING_STAGES,
    )
    erasing: float = _flag(
        0.0,
        RESULT,
        "Probability that a box of a training image is replaced by noise.",
        stages=TRAINING_STAGES,
    )
    dropout: float = _flag(
        0.0,
        RESULT,
        "Probability that a channel of the head's input is dropped in a"
        " training step.",
        stages=TRAINING_STAGES,
    )
    unfreeze: str = _flag(
        "last:10",
        RESULT,
        "Layers to train: none, all, last:N, from:LAYER, regex:PATTERN;"
        " parts: none@5,all@10.",
        stages=(FINETUNE, STUDY),
    )
    class_weights: str = _flag(
        NONE,
        RESULT,
        "Weight of each class in the training loss: none, balanced (all"
        " classes count the same), or a JSON file of class names and weights.",
        stages=FIT_STAGES,
    )
    clip_global_norm: float | None = _flag(
        None,
        RESULT,
        "Scale gradients down to this global norm; no clipping if unset.",
        stages=FIT_STAGES,
    )
    monitor: str = _flag(
        ACCURACY,
        RESULT,
        "Validation metric that decides which checkpoint is the best; if two"
        " are equal, the lower loss decides. With --task=multilabel: loss (if"
        " unset) or map.",
        choices=tuple(MONITOR_NAMES),
        stages=TRAINING_STAGES,
        but=(SEARCH,),
    )
    patience: int | None = _flag(
        None,
        RESULT,
        "Epochs without a better --monitor value after which a stage ends; if"
        " unset, all epochs are trained.",
        stages=TRAINING_STAGES,
    )
    time_limit: float | None = _flag(
        None,
        RESULT,
        "Minutes of training, over all stages and starts of the run, after"
        " which the run validates, saves and is complete; no limit if unset.",
        stages=TRAINING_STAGES,
        but=(SEARCH,),
    )
    validation_fraction: float = _flag(
        0.25,
        RESULT,
        "Fraction of the test batches to validate on after each epoch if the"
        " data has no validation split, or with --validation=test.",
        stages=FIT_STAGES,
        but=(SEARCH,),
    )
    validation: str | None = _flag(
        None,
        RESULT,
        "What each epoch is validated on: split (the data's validation split),"
        " train:FRACTION (a part of the training subset, held out), auto"
        " (split, or else train:0.1), kfold:K (one run per fold of the subset),"
        " fold:N/K (one of them) or test (a part of the test split). If unset,"
        " the validation split, or else test.",
        stages=TRAINING_STAGES,
    )
    seed: int = _flag(
        0,
        RESULT,
        "Seed of the subset, the order, the augmentation and new weights; in"
        " compare, of the resamples.",
        stages=(*FIT_STAGES, CHECK_DATA, PROBE, COMPARE),
    )
    workdir: str | None = _flag(
        None,
        FREE,
        "Folder of the run; runs/DATASET-BACKBONE-STAGE-PCT-HASH if unset.",
        stages=_WORKDIR_STAGES,
    )
    workdirs: str | None = _flag(
        None,
        FREE,
        "Workdirs of finished runs, separated by commas: compare compares all"
        " with the first, soup averages their weights.",
        stages=(COMPARE, SOUP),
    )
    runs: str = _flag(
        "runs",
        FREE,
        "Folder whose runs list_runs lists.",
        stages=(LIST_RUNS,),
    )
    init_from: str | None = _flag(
        None,
        RESULT,
        "Workdir of another run whose weights this run starts from.",
        stages=TRAINING_STAGES,
        but=(SEARCH,),
    )
    init_from_checkpoint: str | None = _flag(
        None,
        RESULT,
        "Checkpoint of the previous stage, or of --init_from, that a stage"
        " starts from; if unset, the one of its result.",
        choices=(LAST, BEST),
        stages=TRAINING_STAGES,
        but=(SEARCH,),
    )
    checkpoint: str | None = _flag(
        None,
        FREE,
        "Checkpoint of the workdir to use; if unset, the one of the run's"
        " result.",
        choices=(LAST, BEST),
        stages=(*USING_STAGES, EMBED),
        but=(SOUP, REPORT),
    )
    strict_classes: bool = _flag(
        False,
        FREE,
        "Whether to reject a --dataset folder whose classes are not exactly"
        " those of the run.",
        stages=(EVALUATE,),
        but=(REPORT,),
    )
    inputs: str | None = _flag(
        None,
        FREE,
        "Images to predict, or to embed: a file, a folder, a glob in quotes,"
        " or - for a list of paths on standard input.",
        stages=(PREDICT, EMBED),
    )
    output: str | None = _flag(
        None,
        FREE,
        "File for predictions: JSON lines if its suffix is .jsonl, else CSV"
        " (standard output if unset); folder for the export (WORKDIR/export if"
        " unset); JSON file for compare; FILE.html or FILE.csv for list_runs;"
        " FILE.npz for features, or a folder for TensorBoard's projector.",
        stages=(PREDICT, EXPORT, EMBED, COMPARE, LIST_RUNS),
    )
    export_formats: str = _flag(
        f"{SAVED_MODEL},{KERAS_FORMAT}",
        FREE,
        "Formats of an export, separated by commas: saved_model, keras, tflite"
        " and onnx.",
        stages=(EXPORT,),
    )
    quantize: str = _flag(
        NONE,
        FREE,
        "Number format of the tflite model: none (float32); int8 for weights"
        " and activations, measured on training photos; float16 for weights.",
        choices=(NONE, INT8, FLOAT16),
        stages=(EXPORT,),
    )
    force: bool = _flag(
        False,
        FREE,
        "Whether to export a quantized model even if it loses more than 10"
        " points of accuracy.",
        stages=(EXPORT,),
    )
    write_list: str | None = _flag(
        None,
        FREE,
        "CSV file (path,label,split) of the images in which check_data finds"
        " nothing.",
        stages=(CHECK_DATA,),
    )
    top_k: int | None = _flag(
        None,
        FREE,
        "Number of classes per prediction, most probable first; if unset, at"
        " most 5.",
        stages=(PREDICT,),
    )
    min_confidence: float | None = _flag(
        None,
        FREE,
        "Minimum probability of the best class, 0 to 1, to accept a prediction;"
        " adds the column decision.",
        stages=(PREDICT,),
    )
    reject: str = _flag(
        OFF,
        FREE,
        "Whether to mark images that are unlike the training images; auto needs"
        " the run's images, and accepts 95 % of its validation images.",
        choices=(OFF, AUTO),
        stages=(PREDICT,),
    )
    port: int = _flag(
        8000,
        FREE,
        "Port of the page on this machine; 0 chooses a free one.",
        stages=(SERVE,),
    )
    tta: str = _flag(
        OFF,
        RESULT,
        "Test-time augmentation: flip averages over an image and its mirror"
        " image.",
        choices=(OFF, FLIP),
        stages=(*FIT_STAGES, *USING_STAGES),
        but=(LR_FIND, SOUP, REPORT),
    )
    checkpoint_every_steps: int = _flag(
        0,
        FREE,
        "Steps between checkpoints, in addition to the one at the end of each"
        " epoch; 0 saves no others.",
        stages=FIT_STAGES,
        but=(SEARCH,),
    )
    keep_checkpoints: int | None = _flag(
        None,
        FREE,
        "Number of latest checkpoints to keep, besides the best one; if unset,"
        " 3 while a stage trains, and 1 when it has finished.",
        stages=FIT_STAGES,
        but=(SEARCH,),
    )
    on_nonfinite: str = _flag(
        "stop",
        FREE,
        "What to do when a loss is not finite: stop, or roll back to the last"
        " epoch boundary with half the learning rate, at most three times.",
        choices=("stop", "rollback"),
        stages=FIT_STAGES,
    )
    log_every_steps: int = _flag(
        10,
        FREE,
        "Steps between lines of training metrics, besides one per epoch.",
        stages=FIT_STAGES,
        but=(SEARCH,),
    )
    steps_per_loop: int = _flag(
        0,
        FREE,
        "Training steps per call of the graph; signals are handled between"
        " calls. 0 lets calls grow to about one second.",
        stages=FIT_STAGES,
    )
    profile: str | None = _flag(
        None,
        FREE,
        "Steps to trace for TensorBoard's profiler, as FROM,TO: 20,30 traces"
        " steps 20 to 30 of the run.",
        stages=TRAINING_STAGES,
    )
    precision: str = _flag(
        "auto",
        RESULT,
        "Number format of the model's arithmetic; auto is bfloat16 on a TPU"
        " and float32 elsewhere.",
        choices=("auto", "float32", "bfloat16"),
        stages=FIT_STAGES,
    )
    xla: str = _flag(
        "auto",
        NUMERICS,
        "Compile the step with XLA; auto does so on GPUs. A TPU always"
        " compiles.",
        choices=("auto", "on", "off"),
        stages=(*FIT_STAGES, EVALUATE, PREDICT, EMBED),
    )
    trunk_engine: str = _flag(
        "auto",
        NUMERICS,
        "What runs the frozen layers: step (inside the training step), or graph"
        " or litert (before it, on a CPU) or device (before it, on the devices"
        " of the step, compiled like it). Results before the step are cached."
        " auto is graph or litert on a CPU in float32 without XLA, step on a"
        " TPU, device otherwise.",
        choices=("auto", "step", "graph", "litert", "device"),
        stages=_CACHE_STAGES,
    )
    trunk_block: int = _flag(
        0,
        FREE,
        "Images per call of --trunk_engine=graph; 0 takes as many as fit the"
        " processor's cache.",
        stages=(*FIT_STAGES, EVALUATE),
    )
    feature_dtype: str = _flag(
        "float32",
        RESULT,
        "Number format of the frozen layers' output when it is computed"
        " before the step; float16 halves the cache but rounds the features.",
        choices=("float32", "float16"),
        stages=FIT_STAGES,
    )
    fold_batch_norm: bool = _flag(
        True,
        NUMERICS,
        "Fold each BatchNorm, which always runs in inference mode, into the"
        " convolution before it.",
        stages=(*FIT_STAGES, EVALUATE),
    )
    quick_gradients: str = _flag(
        "auto",
        NUMERICS,
        "Compute gradients of swish, biases and wide depthwise kernels with"
        " faster operations than TensorFlow's; auto does so in float32 on CPUs"
        " without XLA.",
        choices=("auto", "on", "off"),
        stages=FIT_STAGES,
    )
    augment_kernel: str = _flag(
        "auto",
        NUMERICS,
        "Kernel that warps images in augmentation: projective is faster on a"
        " CPU, gather can be compiled by XLA.",
        choices=("auto", "projective", "gather"),
        stages=FIT_STAGES,
    )
    cache: str = _flag(
        "auto",
        FREE,
        "Where to cache features of the frozen layers and decoded images; auto"
        " is disk, or ram if the disk cannot be used.",
        choices=("auto", "ram", "disk", "off"),
        stages=_CACHE_STAGES,
    )
    cache_dir: str | None = _flag(
        None,
        FREE,
        "Folder in which the cache folder transfer-trainer-cache is created,"
        " shared by all your runs; ~/.cache if unset.",
        stages=_CACHE_STAGES,
    )
    cache_ram_mib: int = _flag(
        0,
        FREE,
        "Maximum memory for the cache, in MiB; 0 is a quarter of the free"
        " memory.",
        stages=_CACHE_STAGES,
    )
    cache_disk_mib: int = _flag(
        16384,
        FREE,
        "Maximum disk space for the cache, in MiB; the least recently used"
        " entries are removed first.",
        stages=_CACHE_STAGES,
    )
    decode_cache: bool = _flag(
        True,
        FREE,
        "Cache decoded images, one byte per value, if they are read again.",
        stages=(*FIT_STAGES, EVALUATE),
    )
    strategy: str = _flag(
        "auto",
        NUMERICS,
        "How to use the devices. auto is multi_worker if TF_CONFIG,"
        " TRAINER_WORKERS (HOST:PORT,..., with the index in"
        " JOB_COMPLETION_INDEX) or Slurm names several processes; else tpu on"
        " a TPU, mirrored on several GPUs, one_device otherwise.",
        choices=("auto", "one_device", "mirrored", "multi_worker", "tpu"),
        stages=(*FIT_STAGES, EVALUATE),
    )
    gpus: str | None = _flag(
        None,
        FREE,
        "Numbers of the GPUs to use, from 0, such as 0,1; all if unset.",
        stages=(*FIT_STAGES, CHECK_DATA, PROBE, EVALUATE, PREDICT, EMBED),
    )
    tpu: str | None = _flag(
        None,
        FREE,
        "TPU to use: local (the default of --strategy=tpu), or the name or"
        " grpc:// address of a TPU on the network.",
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
        "Use only deterministic TensorFlow operations; auto does so on CPUs but"
        " not on GPUs, where it costs time.",
        choices=("auto", "on", "off"),
        stages=(*FIT_STAGES, CHECK_DATA, PROBE, EVALUATE, PREDICT, EMBED),
    )
    models: str = _flag(
        "0,1,2,3,4",
        FREE,
        "Models of the study, separated by commas; 3 and 4 also train 2.",
        stages=(STUDY,),
    )
    seeds: int = _flag(
        1,
        FREE,
        "Number of times to run the study, with --seed, --seed + 1 and so on.",
        stages=(STUDY,),
    )
    backbones: str | None = _flag(
        None,
        FREE,
        "Backbones to compare, separated by commas:"
        " NAME[:ARGUMENT=VALUE]...[:weights=FILE]. If unset, those whose"
        " ImageNet weights are on this machine.",
        stages=(PROBE,),
    )
    budget: float | None = _flag(
        None,
        FREE,
        "Minutes of wall time, over all starts of a search, that its trials"
        " may take; required.",
        stages=(SEARCH,),
    )
    dry_run: bool = _flag(
        False,
        FREE,
        "Print the plan (layers, parameters, samples, steps, devices) and"
        " stop before training.",
        stages=FIT_STAGES,
        but=(LR_FIND,),
    )


FIELDS = {field.name: field for field in dataclasses.fields(Fields)}
