"""Every flag changed between two starts: refused, warned of, or passed."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.determinism import undone
from tests.support.photos import make_photos
from tests.support.runs import (
    lines,
    small,
)
from tests.support.tiny import tiny_backbone, use_tiny_backbone
from trainer.config import Config
from trainer.config.fields import FIELDS, FREE, NUMERICS, RESULT
from trainer.distribute import devices, strategies
from trainer.errors import TrainerError
from trainer.run import training
from trainer.run.resolve import resolve

BASE = {"backbone_args": "", "weights": "none", "epochs": 2, "data_pct": 100.0}
FILE = {"backbone": "EfficientNetB0", "weights": "{root}/ones.weights.h5"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """The new value of a flag; `both` are other flags, of both starts."""

    to: Any
    both: Mapping[str, Any] = dataclasses.field(default_factory=dict)


# A new flag needs a row in one of these, and it must be the one of its effect.
REFUSED = {
    "stage": Change(to="feature_extract"),
    "dataset": Change(to="{root}/two"),
    "data_pct": Change(to=50.0),
    "columns": Change(to="path=file"),
    "group_by": Change(to="parent"),
    "shots": Change(to=2),
    "task": Change(
        to="multilabel",
        both={"dataset": "{root}/labels.csv", "monitor": "loss"},
    ),
    "test_fraction": Change(to=0.5),
    "train_split": Change(to="train"),
    **dict.fromkeys(("val_split", "test_split"), Change(to="none")),
    **dict.fromkeys(("on_bad_image", "on_duplicate"), Change(to="skip")),
    "backbone": Change(to="EfficientNetB0"),
    "backbone_args": Change(to="alpha=0.5"),
    "weights": Change(to="{root}/ones.weights.h5"),
    "weights_origin": Change(
        to="keras_none", both={**FILE, "weights_origin": "imagenet"}
    ),
    "image_size": Change(to=48),
    "exif": Change(to="apply"),
    "background": Change(to="white"),
    "resize": Change(to="crop"),
    "batch_size": Change(to=6),
    "epochs": Change(to=1),
    "head_epochs": Change(to=2),
    "learning_rate": Change(to=0.1),
    "head_learning_rate": Change(to=0.1),
    "head_solver": Change(to="lbfgs"),
    "head_l2": Change(to="0.5", both={"head_solver": "lbfgs"}),
    "optimizer": Change(to="sgd"),
    "momentum": Change(to=0.5, both={"optimizer": "sgd"}),
    "weight_decay": Change(to=0.1, both={"optimizer": "adamw"}),
    "schedule": Change(to="cosine"),
    "warmup": Change(to=2.0),
    "min_steps": Change(to=10),
    "backbone_lr_scale": Change(to=0.5),
    "layer_decay": Change(to=0.5),
    "label_smoothing": Change(to=0.1),
    "mix": Change(to="mixup:0.2"),
    **dict.fromkeys(("erasing", "dropout"), Change(to=0.5)),
    "ema": Change(to=0.9),
    "tta": Change(to="flip"),
    "class_weights": Change(to="balanced"),
    "head_views": Change(to=2),
    "scale_lr": Change(to=True),
    "augment": Change(to=False),
    "unfreeze": Change(to="last:3"),
    "clip_global_norm": Change(to=1.0),
    "monitor": Change(to="loss"),
    "patience": Change(to=3),
    "time_limit": Change(to=0.5),
    "validation": Change(to="train:0.25"),
    "validation_fraction": Change(to=1.0),
    "seed": Change(to=3),
    "init_from": Change(to="{root}/elsewhere"),
    "init_from_checkpoint": Change(
        to="best", both={"init_from_checkpoint": "last"}
    ),
    "precision": Change(to="bfloat16"),
    "feature_dtype": Change(to="float16"),
}
WARNED = {
    # What auto means depends on the machine.
    "xla": Change(to="on", both={"xla": "off"}),
    "strategy": Change(
        to="mirrored", both={"strategy": "one_device", "logical_cpus": 2}
    ),
    "logical_cpus": Change(to=2),
    "accumulate_steps": Change(to=2),
    "deterministic": Change(to="off", both={"deterministic": "on"}),
    "trunk_engine": Change(to="step", both={"trunk_engine": "graph"}),
    "fold_batch_norm": Change(to=False),
    "quick_gradients": Change(to="off", both={"quick_gradients": "on"}),
    "augment_kernel": Change(
        to="gather", both={"augment_kernel": "projective"}
    ),
}
PASSED = {
    # The flags that it sets are compared.
    "recipe": Change(to="best"),
    "tfds_data_dir": Change(to="{root}/tfds"),
    # The folder itself was moved.
    "workdir": Change(to="{root}/moved"),
    "checkpoint": Change(to="best"),
    "strict_classes": Change(to=True),
    "inputs": Change(to="{root}/photos"),
    **dict.fromkeys(("output", "write_list"), Change(to="{root}/out")),
    "top_k": Change(to=2),
    "export_formats": Change(to="keras"),
    "quantize": Change(to="int8", both={"export_formats": "keras,tflite"}),
    "force": Change(
        to=True, both={"export_formats": "tflite", "quantize": "int8"}
    ),
    "min_confidence": Change(to=0.5),
    "reject": Change(to="auto"),
    "port": Change(to=0),
    "workdirs": Change(to="{root}/one,{root}/two"),
    "runs": Change(to="{root}/one"),
    "checkpoint_every_steps": Change(to=1),
    "keep_checkpoints": Change(to=1),
    "on_nonfinite": Change(to="rollback"),
    "log_every_steps": Change(to=5),
    "steps_per_loop": Change(to=2),
    "profile": Change(to="1,1"),
    "gpus": Change(to="0"),
    "tpu": Change(to="node-2", both={"tpu": "node-1"}),
    "models": Change(to="0"),
    "backbones": Change(to="VGG16"),
    "budget": Change(to=5.0),
    "seeds": Change(to=2),
    "dry_run": Change(to=True),
    "trunk_block": Change(to=4),
    "cache": Change(to="off"),
    "cache_dir": Change(to="{root}/cache"),
    **dict.fromkeys(("cache_ram_mib", "cache_disk_mib"), Change(to=5)),
    "decode_cache": Change(to=False),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rules")
    make_photos(folder / "photos")
    make_photos(folder / "two", classes=("left", "right"))
    photos = sorted((folder / "photos/train").glob("*/*.jpg"))
    rows = [f"{p.relative_to(folder)},{p.parent.name}" for p in photos]
    (folder / "labels.csv").write_text("\n".join(["path,label", *rows]))
    model = tiny_backbone()
    model.set_weights([np.ones(w.shape) for w in model.weights])
    model.save_weights(folder / "ones.weights.h5")
    return folder


@pytest.fixture
def start(root, monkeypatch):
    """Starts a run that ends where its training would begin."""
    use_tiny_backbone(monkeypatch)
    begun = []

    class Nothing:
        def __init__(self, *args):
            begun.append(args)

        def run(self):
            pass

    monkeypatch.setattr(training, "TrainingRun", Nothing)
    monkeypatch.setattr(training, "first_classifier", lambda *args: None)
    # A machine that has what is asked for.
    monkeypatch.setattr(devices, "show_gpus", lambda asked: None)
    device = tf.distribute.OneDeviceStrategy
    monkeypatch.setattr(strategies, "connect_tpu", lambda _: device("CPU:0"))

    def start(path: pathlib.Path, /, **values: Any) -> int:
        config = config_of(root, path, **values)
        with undone():
            training.train(config)
        return len(begun)

    return start


def config_of(
    root: pathlib.Path, path: pathlib.Path, /, **values: Any
) -> Config:
    """A run of the tiny backbone, `{root}` put in."""
    fields = {**small("{root}/photos", path), **BASE, **values}
    return Config(
        **{
            name: value.format(root=root) if isinstance(value, str) else value
            for name, value in fields.items()
        }
    )


def files(workdir: pathlib.Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in workdir.iterdir()}


def warnings(workdir: pathlib.Path) -> list[str]:
    return [
        line["text"]
        for line in lines(workdir, "events.jsonl")
        if line["event"] == "warning"
    ]


def both_and(name: str, change: Change) -> dict[str, Any]:
    return {**change.both, name: change.to}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_change_of_results_is_refused(start, root, tmp_path, name):
    change, workdir = REFUSED[name], tmp_path / "run"
    start(workdir, **change.both)
    kept = files(workdir)
    with pytest.raises(TrainerError) as error:
        start(workdir, **both_and(name, change))
    begun = resolve(config_of(root, workdir, **change.both), 32)
    asked = resolve(config_of(root, workdir, **both_and(name, change)), 32)
    old, new = getattr(begun, name), getattr(asked, name)
    assert old != new
    text = str(error.value)
    if name == "stage":
        assert f"--stage={old}, which" in text
        assert text.endswith(f"give another --workdir for --stage={new}")
    else:
        assert f"--{name} was {old!r}, is {new!r}" in text
    assert "\n" not in text
    assert files(workdir) == kept
    # The original run can still be resumed.
    assert start(workdir, **change.both) == 2


@pytest.mark.parametrize("name", sorted(WARNED))
def test_a_change_of_numerics_is_warned_of_once(start, tmp_path, capsys, name):
    change, workdir = WARNED[name], tmp_path / "run"
    start(workdir, **change.both)
    assert warnings(workdir) == []
    old = json.loads((workdir / "config.json").read_text())["environment"]
    capsys.readouterr()
    assert start(workdir, **both_and(name, change)) == 2
    new = json.loads((workdir / "config.json").read_text())["environment"]
    assert old[name] != new[name]
    (text,) = warnings(workdir)
    assert f"{name} was {old[name]!r}, is {new[name]!r}" in text
    assert capsys.readouterr().out.count(f"warning: {text}\n") == 1
    # From now on that is what it is compared with.
    assert start(workdir, **both_and(name, change)) == 3
    assert warnings(workdir) == [text]


@pytest.mark.parametrize("name", sorted(PASSED))
def test_a_change_without_effect_on_results_is_accepted(
    start, root, tmp_path, capsys, name
):
    change, workdir = PASSED[name], tmp_path / "run"
    start(workdir, **change.both)
    again = root / "moved" if name == "workdir" else workdir
    if again != workdir:
        shutil.move(workdir, again)
    capsys.readouterr()
    assert start(workdir, **both_and(name, change)) == 2
    assert warnings(again) == []
    assert workdir.exists() == (again == workdir)
    assert " was " not in capsys.readouterr().out


def test_every_flag_has_a_change_of_its_effect():
    by_effect = {RESULT: REFUSED, NUMERICS: WARNED, FREE: PASSED}
    for effect, changes in by_effect.items():
        flags = {n for n in FIELDS if FIELDS[n].metadata["effect"] == effect}
        assert changes.keys() == flags, effect


def test_several_changes_are_one_warning(start, tmp_path):
    workdir = tmp_path / "run"
    start(workdir)
    # As if written by another TensorFlow, on another machine.
    stored = json.loads((workdir / "config.json").read_text())
    stored["environment"].update(tensorflow="2.20.0", processor="abacus")
    (workdir / "config.json").write_text(json.dumps(stored))
    start(workdir, strategy="mirrored", logical_cpus=2)
    (text,) = warnings(workdir)
    for name in ("devices", "replicas", "strategy", "logical_cpus"):
        assert f"{name} was " in text
    assert "processor was 'abacus', is " in text
    assert "tensorflow was '2.20.0', is " in text


@pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")), reason="for CPUs alone"
)
def test_auto_flags_compare_by_resolved_value(start, tmp_path):
    start(tmp_path / "run")
    start(
        tmp_path / "run", xla="off", strategy="one_device", deterministic="on"
    )
    assert warnings(tmp_path / "run") == []
