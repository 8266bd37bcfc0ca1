r"""The reference experiment written with Keras 3 `fit`, for comparison.

    python -m benchmarks.keras_fit --dataset=FOLDER --data_pct=10 \
        --backbone=MobileNetV2 --backbone_args=alpha=0.35 --weights=FILE \
        --inference_mode=wrapped --json=OUT.json

FOLDER holds train/CLASS and test/CLASS.

--inference_mode=as_written calls `base(x, training=False)` in a functional
model, as the tutorials do; Keras 3 `fit` overrides that False with its own
`training=True`. --inference_mode=wrapped hides the call in a layer, where `fit`
cannot override it. `batchnorm_max_change` in the result shows whether BatchNorm
was in inference mode.

--recipe=best fine-tunes with the parts of this trainer's recipe `best` that
Keras provides. Adam trains the head, because Keras cannot solve it exactly.

Two things differ from the tutorials. Keras 3 has no RandomHeight and
RandomWidth, so a second RandomZoom with two independent factors replaces them.
Each epoch is validated on shuffled photos, since the first quarter of the test
folder contains only the first classes. The final metrics are for all test
photos.
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
from pathlib import Path
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

from benchmarks import choose_photos, class_names, link_photos
from benchmarks.fit_model import Classifier, build, moving_statistics
from benchmarks.fit_recipe import BEST, adamw, mirrored_accuracy
from trainer.config.fields import BEST_RECIPE, IMAGENET, TUTORIAL
from trainer.errors import TrainerError, UsageError

__all__ = ["main", "parse", "run"]

_VALIDATION_FRACTION = 0.25


class StepClock(keras.callbacks.Callback):
    """Measures each training batch, input and callbacks included.

    A batch begins when the previous batch ends, so its time includes the work
    of `fit` between two batches.
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
    """Reads batches of float32 images in [0, 255] and one-hot labels."""
    return keras.utils.image_dataset_from_directory(
        str(folder),
        label_mode="categorical",
        batch_size=args.batch_size,
        image_size=(args.image_size, args.image_size),
        interpolation="bilinear",
        crop_to_aspect_ratio=args.recipe == BEST_RECIPE,
        shuffle=shuffle,
        seed=args.seed,
    )


def _compile(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, smoothing: float
) -> None:
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=smoothing),
        metrics=["accuracy"],
        # "auto" would compile models without augmentation, which is slow on a
        # CPU.
        jit_compile=False,
    )


def _tested(
    classifier: Classifier,
    test: tf.data.Dataset,
    before: list[np.ndarray],
    *,
    best: bool,
) -> dict[str, Any]:
    """Returns the metrics of trained weights; see `train_stage`.

    Args:
      classifier: trained.
      test: batches of all test photos.
      before: the moving statistics before the training.
      best: whether it was trained with `--recipe=best`.
    """
    loss, accuracy = classifier.model.evaluate(test, verbose=0)
    if best:
        accuracy = mirrored_accuracy(classifier.model, test)
    after = moving_statistics(classifier.base)
    changes = [np.abs(a - b).max() for a, b in zip(after, before, strict=True)]
    weights = classifier.model.trainable_variables
    return {
        "trainable_params": sum(math.prod(w.shape) for w in weights),
        "test_loss": loss,
        "test_accuracy": accuracy,
        "batchnorm_max_change": float(max(changes, default=0.0)),
    }


def _validation(
    folder: Path, steps: int, args: argparse.Namespace
) -> dict[str, Any]:
    """Returns what `fit` validates on after each epoch; {} for no steps.

    The recipe has many short epochs, and nothing to choose by validation.
    """
    if not steps:
        return {}
    photos = read_photos(folder, args, shuffle=True)
    return {"validation_data": photos, "validation_steps": steps}


def train_stage(
    classifier: Classifier,
    photos: Path,
    epochs: range,
    learning_rate: float,
    args: argparse.Namespace,
    *,
    best: bool = False,
) -> dict[str, Any]:
    """Compiles, fits and evaluates; trains all currently trainable variables.

    Args:
      classifier: trained in place.
      photos: the folder of training photos.
      epochs: numbers of the epochs, counted across stages.
      learning_rate: learning rate of the optimizer.
      args: see `parse`.
      best: whether to train with `--recipe=best`.

    Returns:
      The stage's metrics. `seconds` is the time of `fit`, validation included;
      `step_seconds` the mean time of a training batch, without the first;
      `images` the number of images classified, evaluation included;
      `batchnorm_max_change` the largest change of a moving mean or variance.
    """
    test_photos = args.dataset / "test"
    train = read_photos(photos, args, shuffle=True)
    test = read_photos(test_photos, args, shuffle=False)
    if best:
        least = -(-BEST["min_steps"] // len(train))
        epochs = range(epochs.start, epochs.start + max(len(epochs), least))
        optimizer = adamw(learning_rate, len(epochs) * len(train))
        _compile(classifier.model, optimizer, BEST["label_smoothing"])
    else:
        _compile(classifier.model, keras.optimizers.Adam(learning_rate), 0.0)
    before = moving_statistics(classifier.base)
    clock = StepClock()
    steps = 0 if best else max(1, int(_VALIDATION_FRACTION * len(test)))
    started = time.perf_counter()
    history = classifier.model.fit(
        train,
        epochs=epochs.stop,
        initial_epoch=epochs.start,
        callbacks=[clock],
        verbose=2,
        **_validation(test_photos, steps, args),
    ).history
    seconds = time.perf_counter() - started
    trained, tested = len(train.file_paths), len(test.file_paths)
    validated = min(steps * args.batch_size, tested)
    return {
        "train_examples": trained,
        "test_examples": tested,
        **_tested(classifier, test, before, best=best),
        "history": history,
        "seconds": seconds,
        "step_seconds": statistics.fmean(clock.seconds[1:] or clock.seconds),
        "images": len(epochs) * (trained + validated) + tested,
    }


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Trains the head, then fine-tunes; returns the metrics of both stages.

    Raises:
      TrainerError: a list of photos or the weights are invalid.
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
            best = args.recipe == BEST_RECIPE
            frozen = (
                () if best else classifier.base.layers[: -args.unfreeze_last]
            )
            for layer in frozen:
                layer.trainable = False
            photos = link_photos(train, second, Path(folder) / "finetune")
            epochs = range(epochs.stop, epochs.stop + args.epochs)
            stages["finetune"] = train_stage(
                classifier, photos, epochs, args.learning_rate, args, best=best
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
    """Parses the arguments; defaults are those of the reference experiment.

    Raises:
      UsageError: an argument is missing or invalid, or a path does not exist.
    """
    parser = _Parser(prog="keras_fit", allow_abbrev=False)
    add = parser.add_argument
    add("--dataset", type=Path, required=True)
    add("--weights", type=Path, required=True, help="imagenet, or a file")
    add("--json", type=Path, required=True, help="file for the result")
    add("--backbone", default="EfficientNetB0")
    add("--backbone_args", type=_backbone_args, default={}, help="NAME=VALUE")
    add("--inference_mode", choices=("as_written", "wrapped"), required=True)
    add("--image_size", type=int, default=224, help="pixels")
    add("--batch_size", type=int, default=32)
    add("--seed", type=int, default=0)
    add("--data_pct", type=float, default=100, help="percentage per class")
    add("--train_list", type=Path, help="list of CLASS/NAME")
    add("--finetune_pct", type=float, help="default: --data_pct")
    add("--finetune_list", type=Path, help="default: --train_list")
    add("--head_epochs", type=int, default=5)
    add("--head_learning_rate", type=float, default=1e-3)
    add("--epochs", type=int, default=5, help="of fine-tuning")
    add("--learning_rate", type=float, default=1e-4, help="of fine-tuning")
    add("--unfreeze_last", type=int, default=10, help="layers")
    add("--save_to", type=Path, help="file for the weights after the head")
    add("--start_from", type=Path, help="file of --save_to")
    add("--noaugment", dest="augment", action="store_false")
    recipes = (TUTORIAL, BEST_RECIPE)
    add("--recipe", choices=recipes, default=TUTORIAL, help="of fine-tuning")
    args = parser.parse_args(argv)
    if args.recipe == BEST_RECIPE:
        args.epochs = BEST["epochs"]
        args.learning_rate = BEST["learning_rate"]
    if args.finetune_pct is None:
        args.finetune_list = args.finetune_list or args.train_list
        args.finetune_pct = args.data_pct
    _check(args)
    return args


def _check(args: argparse.Namespace) -> None:
    for name in ("image_size", "batch_size", "head_epochs", "unfreeze_last"):
        if getattr(args, name) < 1:
            raise UsageError(f"--{name}: give a whole number >= 1")
    if args.epochs < 0:
        raise UsageError("--epochs: give a whole number >= 0")
    for name in ("data_pct", "finetune_pct"):
        if not 0 < getattr(args, name) <= 100:
            raise UsageError(f"--{name}: give a number in (0, 100]")
    for split in (args.dataset / "train", args.dataset / "test"):
        if not split.is_dir():
            raise UsageError(f"--dataset: {str(split)!r} does not exist")
    published = str(args.weights) == IMAGENET
    for file in (
        None if published else args.weights,
        args.train_list,
        args.finetune_list,
        args.start_from,
    ):
        if file and not file.is_file():
            raise UsageError(f"{str(file)!r}: no such file")


def main(argv: list[str]) -> None:
    """Runs the experiment and writes its metrics as JSON."""
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
