"""Tests of which flags of a stored run an evaluation uses."""

from __future__ import annotations

from typing import Any

from trainer.config import Config
from trainer.config.fields import FIELDS, FREE
from trainer.run.trained import _run_here


def test_use_reads_only_result_flags_from_a_workdir() -> None:
    """Checks every flag by its effect, so that a new one is covered."""
    stored = Config(stage="finetune", **_OTHER)
    asked = Config(stage="evaluate", workdir="here")
    run = _run_here(stored, asked, frozenset({"stage", "workdir"}))
    for name, field in FIELDS.items():
        value = getattr(run, name)
        if name == "accumulate_steps":
            assert value == 1
        elif name == "batch_size":
            assert value == stored.batch_size // stored.accumulate_steps
        elif field.metadata["effect"] == FREE or name in _NEVER:
            assert value == getattr(asked, name), name
        else:
            assert value == getattr(stored, name), name


_NEVER = ("weights", "init_from")
# Another value than the default for every flag, where there is one.
_OTHER: dict[str, Any] = {
    "dataset": "photos",
    "tfds_data_dir": "t",
    "data_pct": 5.0,
    "columns": "path=file",
    "group_by": "parent",
    "test_fraction": 0.4,
    "train_split": "t",
    "val_split": "v",
    "test_split": "none",
    "on_bad_image": "skip",
    "on_duplicate": "skip",
    "write_list": "list.csv",
    "strict_classes": True,
    "backbone": "VGG16",
    "backbone_args": "a=1",
    "weights": "none",
    "image_size": 33,
    "exif": "apply",
    "background": "black",
    "resize": "pad",
    "batch_size": 12,
    "epochs": 7,
    "head_epochs": 2,
    "learning_rate": 0.5,
    "head_learning_rate": 0.25,
    "head_solver": "lbfgs",
    "head_l2": "0.25",
    "recipe": "best",
    "optimizer": "sgd",
    "momentum": 0.5,
    "weight_decay": 0.1,
    "schedule": "step",
    "warmup": 3.0,
    "min_steps": 8,
    "backbone_lr_scale": 0.5,
    "layer_decay": 0.75,
    "label_smoothing": 0.2,
    "mix": "mixup:0.5",
    "erasing": 0.5,
    "dropout": 0.25,
    "ema": 0.9,
    "class_weights": "balanced",
    "head_views": 4,
    "scale_lr": True,
    "accumulate_steps": 3,
    "augment": "mild",
    "unfreeze": "all",
    "clip_global_norm": 2.0,
    "validation": "train:0.2",
    "backbones": "VGG16,VGG19",
    "monitor": "loss",
    "patience": 2,
    "time_limit": 1.5,
    "validation_fraction": 0.5,
    "seed": 3,
    "workdir": "there",
    "init_from": "i",
    "init_from_checkpoint": "best",
    "checkpoint": "best",
    "inputs": "in",
    "output": "out",
    "top_k": 3,
    "export_formats": "keras,tflite",
    "quantize": "int8",
    "force": True,
    "min_confidence": 0.5,
    "reject": "auto",
    "port": 1,
    "tta": "flip",
    "workdirs": "a,b",
    "runs": "r",
    "checkpoint_every_steps": 4,
    "keep_checkpoints": 5,
    "on_nonfinite": "rollback",
    "log_every_steps": 6,
    "steps_per_loop": 7,
    "profile": "2,3",
    "precision": "float32",
    "xla": "off",
    "trunk_engine": "graph",
    "trunk_block": 8,
    "feature_dtype": "float16",
    "fold_batch_norm": False,
    "quick_gradients": "off",
    "augment_kernel": "gather",
    "cache": "ram",
    "cache_dir": "c",
    "cache_ram_mib": 9,
    "cache_disk_mib": 10,
    "decode_cache": False,
    "strategy": "one_device",
    "gpus": "1",
    "logical_cpus": 2,
    "deterministic": "off",
    "models": "2",
    "seeds": 2,
    "budget": 4.0,
    "dry_run": True,
}


def test_the_table_names_every_flag() -> None:
    # --shots excludes another --data_pct, several labels --class_weights.
    assert FIELDS.keys() - _OTHER.keys() == {
        *("stage", "tpu", "weights_origin", "shots", "task")
    }
    for name, value in _OTHER.items():
        assert value != FIELDS[name].default, name
