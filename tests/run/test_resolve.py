"""Tests of how unset flags are resolved."""

from __future__ import annotations

import dataclasses

import pytest

from trainer.config import Config
from trainer.run.resolve import default_workdir, introduction, resolve


def make(**values):
    return Config(**{"dataset": "photos", **values})


@pytest.mark.parametrize(
    ("batch_size", "scale_lr", "factor"),
    [(32, True, 1.0), (256, True, 8.0), (8, True, 0.25), (256, False, 1.0)],
)
def test_scale_lr_scales_every_learning_rate(batch_size, scale_lr, factor):
    config = make(
        batch_size=batch_size, scale_lr=scale_lr, head_learning_rate=0.01
    )
    assert config.rate_factor == factor
    # A study resolves twice; the rates are scaled once.
    head, own = resolve(resolve(config, 224), 224).stages()
    assert head.learning_rate == 0.01 * factor
    assert own.learning_rate == 1e-4 * factor
    given = make(batch_size=batch_size, scale_lr=scale_lr, learning_rate=0.5)
    assert resolve(given, 224).stages()[-1].learning_rate == 0.5 * factor


def test_auto_precision_is_bfloat16_on_a_tpu():
    assert resolve(make(), 224, on_tpu=True).precision == "bfloat16"
    plain = resolve(make(precision="float32"), 224, on_tpu=True)
    assert plain.precision == "float32"


@pytest.mark.parametrize(
    ("stage", "asked", "rate"),
    [
        ("feature_extract", None, 1e-3),
        ("finetune", None, 1e-4),
        ("finetune", 0.5, 0.5),
    ],
)
def test_the_default_learning_rate_depends_on_the_stage(stage, asked, rate):
    config = resolve(make(stage=stage, learning_rate=asked), 224)
    assert config.stages()[-1].learning_rate == rate


def test_finetune_without_weights_trains_the_head_first():
    config = make(head_epochs=2, head_learning_rate=0.01, epochs=7)
    head, own = resolve(config, 224).stages()
    assert dataclasses.astuple(head) == (
        *("feature_extract", 2, 0.01, "none"),
        *("adam", 0, 0, 1),
    )
    assert dataclasses.astuple(own) == (
        *("finetune", 7, 1e-4, "last:10"),
        *("adam", 0, 0, 1),
    )
    alone = resolve(make(head_epochs=0), 224).stages()
    assert [spec.stage for spec in alone] == ["finetune"]


def test_solved_head_is_one_epoch_of_its_own_stage():
    config = make(head_solver="lbfgs", epochs=7)
    head, own = resolve(config, 224).stages()
    assert head.solved
    assert head.epochs == 1
    assert not own.solved
    assert own.epochs == 7
    config = make(head_solver="lbfgs", epochs=7, stage="feature_extract")
    (alone,) = resolve(resolve(config, 224), 224).stages()
    assert alone.solved
    assert alone.epochs == 1


def test_resolved_fills_in_the_image_size():
    assert resolve(make(), 300).image_size == 300
    assert resolve(make(image_size=96), 300).image_size == 96
    assert resolve(make(), 224).precision == "float32"


@pytest.mark.parametrize(
    ("fields", "backbone", "image_px", "said"),
    [
        ({}, "EfficientNetLite0", 128, "--backbone not given: EfficientNetL"),
        ({"image_size": 64}, "EfficientNetLite0", 64, "--backbone not given"),
        ({"weights": "none"}, "EfficientNetLite0", 128, "--backbone not gi"),
        (
            {"dataset": "photos"},
            "EfficientNetB0",
            224,
            "--weights not given: imagenet (downloaded by Keras",
        ),
        ({"backbone": "MobileNetV2"}, "MobileNetV2", 128, "given: imagenet"),
        (
            {"dataset": "photos", "backbone": "EfficientNetLite0"},
            "EfficientNetLite0",
            224,
            "",
        ),
    ],
)
def test_the_demo_has_its_own_default_backbone(
    fields, backbone, image_px, said
):
    config = Config(**fields)
    resolved = resolve(config, 224)
    assert (resolved.backbone, resolved.image_size) == (backbone, image_px)
    assert resolved.weights == fields.get("weights", "imagenet")
    text = "\n".join(introduction(config))
    assert said in text
    demo = config.dataset == "demo"
    assert ("this is the demo" in text) is demo
    # A resolved configuration has no defaults to explain.
    assert " not given" not in "\n".join(introduction(resolved))


def test_a_folder_named_demo_is_not_the_demo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert resolve(Config(), 224).backbone == "EfficientNetB0"


def test_the_default_workdir_depends_on_each_result_field():
    base = resolve(make(head_solver="lbfgs", optimizer="sgd"), 224)
    other = {str: "other", int: 3, float: 0.5, bool: False}
    legal = {
        "stage": "feature_extract",
        "on_bad_image": "skip",
        "on_duplicate": "skip",
        "weights_origin": "imagenet",
        "unfreeze": "all",
        "init_from_checkpoint": "best",
        "precision": "bfloat16",
        "feature_dtype": "float16",
        "image_size": 96,
        "learning_rate": 0.5,
        "clip_global_norm": 1.0,
        "init_from": "elsewhere",
        "scale_lr": True,
        "head_solver": "adam",
        "head_l2": "0.5",
        "validation": "auto",
        "class_weights": "balanced",
        "monitor": "loss",
        "patience": 3,
        "time_limit": 0.5,
        "optimizer": "adamw",
        "schedule": "cosine",
        "augment": "mild",
        "mix": "mixup:0.2",
        "exif": "apply",
        "background": "black",
        "resize": "pad",
        "columns": "path=file",
        "group_by": "parent",
        "shots": 3,
        "tta": "flip",
        "train_split": "good",
        "val_split": "holdout",
        "test_split": "none",
    }
    names = set()
    fields = base.result_fields()
    # Several labels need a table and another --monitor.
    del fields["task"]
    table = dataclasses.replace(base, dataset="t.csv", monitor="loss")
    several = dataclasses.replace(table, task="multilabel")
    assert default_workdir(several) != default_workdir(table)
    for name in fields:
        value = legal.get(name) or other[type(getattr(base, name))]
        changed = dataclasses.replace(base, **{name: value})
        names.add(default_workdir(changed))
    assert len(names | {default_workdir(base)}) == len(fields) + 1
    assert default_workdir(base).startswith(
        "runs/photos-EfficientNetB0-finetune-100pct-"
    )
    same = dataclasses.replace(base, keep_checkpoints=9, xla="on")
    assert default_workdir(same) == default_workdir(base)


def test_probes_of_the_same_data_share_a_default_workdir():
    first = make(stage="probe", backbones="VGG16")
    second = make(stage="probe", backbones="VGG16,VGG19")
    assert default_workdir(first) == default_workdir(second)
    assert default_workdir(first).startswith("runs/photos-probe-100pct-")
    other = make(stage="probe", data_pct=10.0)
    assert default_workdir(other) != default_workdir(first)
