"""The reference experiment as Keras 3 `fit` writes it, for comparison.

    python -m benchmarks.keras_fit --dataset=FOLDER --data_pct=10 \\
        --backbone=MobileNetV2 --backbone_args=alpha=0.35 --weights=FILE \\
        --inference_mode=wrapped --json=OUT.json

FOLDER holds train/CLASS and test/CLASS.

--inference_mode=as_written calls `base(x, training=False)` in a functional
model, as the tutorials do; Keras 3 `fit` overrides that False with its own
`training=True`. --inference_mode=wrapped hides the call in a layer, where it is
kept. `batchnorm_max_change` in the result tells the two apart.

Two things differ from the tutorials: Keras 3 has no RandomHeight and
RandomWidth, so a second RandomZoom with two independent factors stands in; and
each epoch is validated on shuffled photos, since the first quarter of the test
folder holds the first classes only. The final figures are of all test photos.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

import keras
import numpy as np
import tensorflow as tf

from benchmarks import choose_photos, class_names, link_photos
from trainer.config.fields import IMAGENET
from trainer.errors import TrainerError, UsageError
from trainer.model import lite
from trainer.model.backbones import find_backbone
from trainer.model.weights.load import load_weights
from trainer.model.weights.plan import plan_weights

__all__ = ["main", "parse", "run"]

_VALIDATION_FRACTION = 0.25


class Classifier(NamedTuple):
    """The whole model, and the backbone inside it."""

    model: keras.Model
    base: keras.Model


class InferenceBase(keras.layers.Layer):
    """A backbone without a `training` argument for `fit` to override."""

    def __init__(self, base: keras.Model) -> None:
        super().__init__(name="inference_base")
        self.base = base

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Feature maps (n, h, w, c) of images (n, height, width, 3)."""
        return self.base(images, training=False)


class StepClock(keras.callbacks.Callback):
    """Notes how long each training batch takes, input and callbacks included.

    From the end of the batch before it: what `fit` does between two batches
    is part of its price.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._began = 0.0

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        self._began = time.perf_counter()

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._began)
        self._began = now


def read_photos(
    folder: Path, args: argparse.Namespace, shuffle: bool
) -> tf.data.Dataset:
    """Batches of images in [0, 255], float32, and one-hot labels."""
    return keras.utils.image_dataset_from_directory(
        str(folder),
        label_mode="categorical",
        batch_size=args.batch_size,
        image_size=(args.image_size, args.image_size),
        interpolation="bilinear",
        shuffle=shuffle,
        seed=args.seed,
    )


def application(backbone: str) -> ModuleType:
    """The module of keras.applications that defines a backbone."""
    for module in vars(keras.applications).values():
        if isinstance(module, ModuleType) and hasattr(module, backbone):
            return module
    raise UsageError(f"--backbone={backbone!r}: not in keras.applications")


def constructor(
    backbone: str,
) -> tuple[Callable[..., keras.Model], Callable[[Any], Any]]:
    """Returns a backbone's constructor and its preprocessing function."""
    if backbone in lite.SCALES:
        return lite.constructor(backbone), lambda pixels: pixels
    module = application(backbone)
    return getattr(module, backbone), module.preprocess_input


def _load_published(base: keras.Model, name: str) -> None:
    """Loads the weights that the trainer takes for --weights=imagenet."""
    backbone = find_backbone(name)
    plan = plan_weights(IMAGENET, backbone=backbone, weights_origin=None)
    load_weights(base, plan, backbone=backbone, backbone_args={})


def build(args: argparse.Namespace, num_classes: int) -> Classifier:
    """Builds the classifier, with its backbone loaded and frozen.

    Raises:
      TrainerError: the weights do not fit the backbone.
    """
    construct, preprocess = constructor(args.backbone)
    shape = (args.image_size, args.image_size, 3)
    kwargs = {"weights": None, "input_shape": shape, **args.backbone_args}
    base = construct(include_top=False, **kwargs)
    try:
        if str(args.weights) == IMAGENET:
            _load_published(base, args.backbone)
        else:
            base.load_weights(args.weights)
    except (OSError, ValueError) as error:
        # Keras quotes whole arrays.
        reason = " ".join(str(error).split())[:160]
        raise TrainerError(
            f"--weights={str(args.weights)!r}: not of {args.backbone} without"
            f" its top; give weights that are; Keras says: {reason}"
        ) from error
    base.trainable = False
    inputs = keras.Input(shape)
    x = inputs
    if args.augment:
        x = keras.layers.RandomFlip("horizontal")(x)
        x = keras.layers.RandomRotation(0.2)(x)
        x = keras.layers.RandomZoom(0.2)(x)
        # For RandomHeight(0.2) and RandomWidth(0.2).
        x = keras.layers.RandomZoom(0.2, width_factor=0.2)(x)
    x = preprocess(x)
    if args.inference_mode == "wrapped":
        x = InferenceBase(base)(x)
    else:
        x = base(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(num_classes, activation="softmax")(x)
    return Classifier(keras.Model(inputs, outputs), base)


def moving_statistics(base: keras.Model) -> list[np.ndarray]:
    """Copies of every BatchNorm's moving mean and moving variance."""
    return [
        np.array(variable.numpy())
        for layer in base.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        for variable in (layer.moving_mean, layer.moving_variance)
    ]


def train_stage(
    classifier: Classifier,
    photos: Path,
    epochs: range,
    learning_rate: float,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Compiles, fits and evaluates, with what is trainable now.

    Args:
      photos: the folder of training photos.
      epochs: numbers of the epochs; `fit` counts on from stage to stage.

    Returns:
      The stage's figures. `seconds` is the time of `fit`, validation included;
      `step_seconds` the mean of a training batch, the first left out;
      `images` what went through the classifier, evaluation included;
      `batchnorm_max_change` the largest change of a moving mean or variance.
    """
    train = read_photos(photos, args, shuffle=True)
    test = read_photos(args.dataset / "test", args, shuffle=False)
    val = read_photos(args.dataset / "test", args, shuffle=True)
    classifier.model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.CategoricalCrossentropy(),
        metrics=["accuracy"],
        # "auto" would compile where there is no augmentation: slow on a CPU.
        jit_compile=False,
    )
    before = moving_statistics(classifier.base)
    clock = StepClock()
    validated = max(1, int(_VALIDATION_FRACTION * len(test)))
    started = time.perf_counter()
    history = classifier.model.fit(
        train,
        epochs=epochs.stop,
        initial_epoch=epochs.start,
        validation_data=val,
        validation_steps=validated,
        callbacks=[clock],
        verbose=2,
    ).history
    seconds = time.perf_counter() - started
    loss, accuracy = classifier.model.evaluate(test, verbose=0)
    after = moving_statistics(classifier.base)
    changes = [np.abs(a - b).max() for a, b in zip(after, before, strict=True)]
    weights = classifier.model.trainable_variables
    return {
        "train_examples": len(train.file_paths),
        "test_examples": len(test.file_paths),
        "trainable_params": sum(math.prod(w.shape) for w in weights),
        "test_loss": loss,
        "test_accuracy": accuracy,
        "batchnorm_max_change": float(max(changes, default=0.0)),
        "history": history,
        "seconds": seconds,
        "step_seconds": statistics.fmean(clock.seconds[1:] or clock.seconds),
        "images": len(epochs)
        * (
            len(train.file_paths)
            + min(validated * args.batch_size, len(test.file_paths))
        )
        + len(test.file_paths),
    }


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Trains the head, then fine-tunes; returns the figures of both stages.

    Raises:
      TrainerError: a list or the weights cannot be used.
    """
    keras.utils.set_random_seed(args.seed)
    train = args.dataset / "train"
    first = choose_photos(train, args.train_list, args.data_pct, args.seed)
    second = choose_photos(
        train, args.finetune_list, args.finetune_pct, args.seed
    )
    classifier = build(args, len(class_names(train)))
    stages = {}
    with tempfile.TemporaryDirectory() as folder:
        photos = link_photos(train, first, Path(folder) / "feature_extract")
        epochs = range(args.head_epochs)
        if args.start_from:
            classifier.model.load_weights(args.start_from)
        else:
            stages["feature_extract"] = train_stage(
                classifier, photos, epochs, args.head_learning_rate, args
            )
        if args.save_to:
            classifier.model.save_weights(args.save_to)
        if args.epochs:
            classifier.base.trainable = True
            for layer in classifier.base.layers[: -args.unfreeze_last]:
                layer.trainable = False
            photos = link_photos(train, second, Path(folder) / "finetune")
            epochs = range(epochs.stop, epochs.stop + args.epochs)
            stages["finetune"] = train_stage(
                classifier, photos, epochs, args.learning_rate, args
            )
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    return {"arguments": vars(args), "versions": versions, "stages": stages}


def _backbone_args(text: str) -> dict[str, Any]:
    pairs = [item.split("=") for item in text.split(",") if item]
    return {name.strip(): ast.literal_eval(value) for name, value in pairs}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


def parse(argv: list[str]) -> argparse.Namespace:
    """The arguments; the defaults are the reference experiment's.

    Raises:
      UsageError: one is missing or not legal, or names no such path.
    """
    parser = _Parser(prog="keras_fit", allow_abbrev=False)
    add = parser.add_argument
    add("--dataset", type=Path, required=True)
    add("--weights", type=Path, required=True, help="of the backbone, no top")
    add("--json", type=Path, required=True, help="file for the result")
    add("--backbone", default="EfficientNetB0")
    add("--backbone_args", type=_backbone_args, default={}, help="NAME=VALUE")
    add("--inference_mode", choices=("as_written", "wrapped"), required=True)
    add("--image_size", type=int, default=224, help="pixels")
    add("--batch_size", type=int, default=32)
    add("--seed", type=int, default=0)
    add("--data_pct", type=float, default=100, help="of each class")
    add("--train_list", type=Path, help="CLASS/NAME lines, for --data_pct")
    add("--finetune_pct", type=float, help="if not as --data_pct")
    add("--finetune_list", type=Path, help="if not as --train_list")
    add("--head_epochs", type=int, default=5)
    add("--head_learning_rate", type=float, default=1e-3)
    add("--epochs", type=int, default=5, help="of fine-tuning")
    add("--learning_rate", type=float, default=1e-4, help="of fine-tuning")
    add("--unfreeze_last", type=int, default=10, help="layers")
    add("--save_to", type=Path, help="file for the weights after the head")
    add("--start_from", type=Path, help="such a file, instead of a head")
    add("--noaugment", dest="augment", action="store_false")
    args = parser.parse_args(argv)
    if args.finetune_pct is None:
        args.finetune_list = args.finetune_list or args.train_list
        args.finetune_pct = args.data_pct
    _check(args)
    return args


def _check(args: argparse.Namespace) -> None:
    for name in ("image_size", "batch_size", "head_epochs", "unfreeze_last"):
        if getattr(args, name) < 1:
            raise UsageError(f"--{name}: give a whole number from 1 on")
    if args.epochs < 0:
        raise UsageError("--epochs: give a whole number from 0 on")
    for name in ("data_pct", "finetune_pct"):
        if not 0 < getattr(args, name) <= 100:
            raise UsageError(f"--{name}: give a number in (0, 100]")
    for split in (args.dataset / "train", args.dataset / "test"):
        if not split.is_dir():
            raise UsageError(f"--dataset: no folder {str(split)!r}; make it")
    for file in (
        args.weights,
        args.train_list,
        args.finetune_list,
        args.start_from,
    ):
        if file and not file.is_file():
            raise UsageError(f"{str(file)!r}: no such file; give one that is")


def main(argv: list[str]) -> None:
    """Runs the experiment and writes its figures as JSON."""
    try:
        args = parse(argv)
        result = json.dumps(run(args), indent=2, default=str)
    except TrainerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(result + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
