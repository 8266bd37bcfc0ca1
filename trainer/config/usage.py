"""The text of --help, and hints after a mistyped flag."""

from __future__ import annotations

import difflib
import os
import sys
import textwrap
from collections.abc import Iterator, Mapping

from trainer.config.fields import FIELDS, STAGES

COMMAND = "transfer-trainer"


def command_name() -> str:
    """Returns how the program was started, for commands to copy."""
    name = os.path.basename(sys.argv[0]).removesuffix(".exe")
    return COMMAND if name == COMMAND else "python main.py"


def start_text() -> str:
    """Returns a short usage."""
    name = command_name()
    return f"""\
usage: {name} --stage=STAGE [--flag=value ...]
try the demo:     {name} --stage=finetune --data_pct=10
use your photos:  {name} --stage=finetune --dataset=FOLDER
list the flags:   {name} --help (--helpfull: also absl's flags)"""


# The groups of --help, in the order in which a new user needs them.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Most used": (
        "stage",
        "recipe",
        "dataset",
        "data_pct",
        "backbone",
        "unfreeze",
        "epochs",
        "batch_size",
        "learning_rate",
        "workdir",
    ),
    "Data": (
        "tfds_data_dir",
        "seed",
    ),
    "Images": (
        "image_size",
        "exif",
        "background",
        "resize",
        "augment",
        "augment_kernel",
    ),
    "Tables, groups and shots": ("columns", "task", "group_by", "shots"),
    "Faulty images": ("on_bad_image", "on_duplicate", "write_list"),
    "Splits": (
        "train_split",
        "val_split",
        "test_split",
        "test_fraction",
        "validation",
        "validation_fraction",
    ),
    "Model and first weights": (
        "weights",
        "backbone_args",
        "weights_origin",
        "init_from",
        "init_from_checkpoint",
    ),
    "Recipe": (
        "optimizer",
        "momentum",
        "weight_decay",
        "schedule",
        "warmup",
        "min_steps",
        "backbone_lr_scale",
        "layer_decay",
        "ema",
        "tta",
    ),
    "Regularization": ("label_smoothing", "mix", "erasing", "dropout"),
    "Training": (
        "scale_lr",
        "accumulate_steps",
        "class_weights",
        "clip_global_norm",
        "on_nonfinite",
        "precision",
    ),
    "The best weights, and when to stop": (
        "monitor",
        "patience",
        "time_limit",
    ),
    "The head, which trains first": (
        "head_epochs",
        "head_learning_rate",
        "head_solver",
        "head_l2",
        "head_views",
    ),
    "Checkpoints and logs": (
        "checkpoint_every_steps",
        "keep_checkpoints",
        "log_every_steps",
        "steps_per_loop",
        "profile",
        "dry_run",
    ),
    "Using a trained model": (
        "checkpoint",
        "strict_classes",
        "inputs",
        "output",
        "top_k",
        "min_confidence",
        "reject",
        "port",
    ),
    "Export": ("export_formats", "quantize", "force"),
    "Several models": (
        "models",
        "seeds",
        "backbones",
        "budget",
        "workdirs",
        "runs",
    ),
    "Devices": (
        "strategy",
        "gpus",
        "tpu",
        "logical_cpus",
        "xla",
        "deterministic",
    ),
    "Speed": (
        "trunk_engine",
        "trunk_block",
        "feature_dtype",
        "fold_batch_norm",
        "quick_gradients",
    ),
    "Cache": (
        "cache",
        "cache_dir",
        "cache_ram_mib",
        "cache_disk_mib",
        "decode_cache",
    ),
}

# Names that Keras, timm, fastai and YOLO use. They are suggested but not
# accepted, so that each flag has one spelling.
ALIASES: Mapping[str, str] = {
    "accum_freq": "accumulate_steps",
    "amp": "precision",
    "arch": "backbone",
    "architecture": "backbone",
    "base_lr": "learning_rate",
    "batch": "batch_size",
    "bs": "batch_size",
    "classes": "dataset",
    "class_weight": "class_weights",
    "clip_grad": "clip_global_norm",
    "clipnorm": "clip_global_norm",
    "ckpt": "checkpoint",
    "data": "dataset",
    "data_dir": "dataset",
    "data_path": "dataset",
    "device": "gpus",
    "devices": "gpus",
    "directory": "dataset",
    "early_stop": "patience",
    "early_stopping": "patience",
    "early_stopping_patience": "patience",
    "fp16": "precision",
    "format": "export_formats",
    "formats": "export_formats",
    "freeze": "unfreeze",
    "global_clipnorm": "clip_global_norm",
    "gpu": "gpus",
    "grad_accum_steps": "accumulate_steps",
    "gradient_accumulation_steps": "accumulate_steps",
    "images": "inputs",
    "folds": "validation",
    "img": "image_size",
    "img_size": "image_size",
    "imgsz": "image_size",
    "initial_checkpoint": "init_from",
    "input": "inputs",
    "input_size": "image_size",
    "logdir": "workdir",
    "k_fold": "validation",
    "kfold": "validation",
    "lr": "learning_rate",
    "lr0": "learning_rate",
    "max_epochs": "epochs",
    "max_time": "time_limit",
    "metric_for_best_model": "monitor",
    "mixed_precision": "precision",
    "mode": "stage",
    "model_ema": "ema",
    "model_ema_decay": "ema",
    "opt": "optimizer",
    "sched": "schedule",
    "scheduler": "schedule",
    "lr_scheduler": "schedule",
    "smoothing": "label_smoothing",
    "warmup_epochs": "warmup",
    "warmup_steps": "warmup",
    "wd": "weight_decay",
    "model": "backbone",
    "multi_label": "task",
    "multilabel": "task",
    "model_dir": "workdir",
    "n_epochs": "epochs",
    "name": "workdir",
    "num_epochs": "epochs",
    "num_train_epochs": "epochs",
    "output_dir": "workdir",
    "pct": "data_pct",
    "pretrained": "weights",
    "project": "workdir",
    "random_seed": "seed",
    "save_dir": "workdir",
    "source": "inputs",
    "test_time_augmentation": "tta",
    "valid_pct": "validation",
    "validation_split": "validation",
}
_HINTS: Mapping[str, str] = {
    # Flags of absl.
    "config": "did you mean --flagfile?",
    "noaugment": "did you mean --augment=off?",
    "verbose": "did you mean --verbosity?",
    "resume": (
        "the same command with the same --workdir resumes from the last"
        " checkpoint"
    ),
    **{name: f"did you mean --{flag}?" for name, flag in ALIASES.items()},
}
_TEXT_COLUMN, _WIDTH = 24, 80


def help_text() -> str:
    """Returns the text of --help: a short usage, and all flags by group."""
    groups = (
        "\n".join((f"{title}:", *_group_lines(names)))
        for title, names in GROUPS.items()
    )
    return "\n\n".join((start_text(), *groups))


def _group_lines(names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        field = FIELDS[name]
        shown = f"[no]{name}" if isinstance(field.default, bool) else name
        column = f"  --{shown} ".ljust(_TEXT_COLUMN)
        indent = " " * _TEXT_COLUMN
        if len(column) > _TEXT_COLUMN:
            yield column.rstrip()
            column = indent
        yield from textwrap.wrap(
            _description(name),
            _WIDTH - 1,
            initial_indent=column,
            subsequent_indent=indent,
            break_on_hyphens=False,
        )


def _description(name: str) -> str:
    """Returns the help of a flag with its choices and its default."""
    field = FIELDS[name]
    default = field.default
    if isinstance(default, bool):
        default = "on" if default else "off"
    sentences = [field.metadata["help"]]
    if field.metadata["choices"]:
        sentences.append(f"One of: {', '.join(field.metadata['choices'])}.")
    if name == "stage":
        sentences.append("Required.")
    elif default not in (None, ""):
        sentences.append(f"Default: {default}.")
    return " ".join(sentences)


def hint_for(name: str) -> str:
    """Returns a hint for an unknown flag, such as the nearest one, or "".

    Args:
      name: the name as typed, without dashes and value.
    """
    typed = name.lower().replace("-", "_")
    if typed in _HINTS:
        return _HINTS[typed]
    booleans = [n for n, f in FIELDS.items() if isinstance(f.default, bool)]
    known = [*FIELDS, *(f"no{flag}" for flag in booleans)]
    near = difflib.get_close_matches(typed, known, n=1, cutoff=0.7)
    return f"did you mean --{near[0]}?" if near else ""


def hint_for_word(word: str) -> str:
    """Returns a hint for an argument that is not a flag."""
    if word in STAGES:
        return f"did you mean --stage={word}?"
    return "every option is written --name=value"
