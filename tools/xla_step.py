"""The step that XLA compiles on a replica, and batches for comparing it."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.models import random_classifier
from trainer.data.augment import affine, draw_parameters
from trainer.learning.steps import (
    StepOutput,
    make_evaluation_step,
    make_train_step,
)
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan
from trainer.model.pixels import preprocess
from trainer.model.trunk.partition import partition_classifier

CLASSES, BATCH, SEEDS = 3, 4, (1, 2, 3)
# Number of roundings of pixels, and their relative size: half a last bit.
_NUDGES, _NUDGE = 6, 1e-7
_CALIBRATION = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
    """A comparison of a function compiled by XLA with the plain function.

    Attributes:
      seconds: time to trace, compile and run the compiled function once.
      difference: norm of the difference relative to the norm of the result,
        median over the batches; None if nothing was run.
      rounding: largest difference between two runs of the plain function whose
        pixels differ by rounding only; 0 if not measured.
    """

    seconds: float
    difference: float | None
    rounding: float = 0.0


def live_classifier(
    name: str,
    image_px: int,
    seed: int = 0,
    *,
    backbone_args: Mapping[str, Any] | None = None,
) -> Classifier:
    """Builds a classifier with random weights and varied features."""
    classifier = random_classifier(
        name, image_px, CLASSES, backbone_args=backbone_args, seed=seed
    )
    _off_the_kink(classifier.backbone, seed)
    calibrate(classifier, _images(_CALIBRATION, image_px, seed))
    return classifier


def calibrate(classifier: Classifier, images: np.ndarray) -> None:
    """Sets every BatchNorm's moving statistics to those of one batch.

    Otherwise the features of a random EfficientNet in inference mode vanish:
    their mean is about 1e-5, because all moving variances are 1.

    Args:
      classifier: changed in place.
      images: float32 (n, px, px, 3) in 0..255.
    """
    backbone = classifier.backbone
    norms = [
        layer
        for layer in backbone.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    scaled = preprocess(tf.constant(images), classifier.pixels)
    backbone(scaled, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


def _off_the_kink(backbone: keras.Model, seed: int) -> None:
    """Moves the outputs of BatchNorm away from 0, the kink of ReLU.

    BatchNorm maps a constant channel to 0 up to rounding, so rounding alone
    would decide whether the channel has a gradient.
    """
    rng = np.random.default_rng(seed)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.center:
            size = rng.uniform(0.2, 0.5, layer.beta.shape)
            layer.beta.assign(size * rng.choice((-1, 1), size.shape))


def batch_of(image_px: int, seed: int) -> dict[str, tf.Tensor]:
    """Returns a training batch like the pipeline's; the last row is padding."""
    rows = tf.range(BATCH, dtype=tf.int64)
    epoch = tf.constant(1, tf.int64)
    matrices = [affine(draw_parameters(seed, epoch, row)) for row in rows]
    return {
        "images": tf.constant(_images(BATCH, image_px, seed)),
        "labels": tf.constant(np.arange(BATCH) % CLASSES, tf.int32),
        "mask": tf.constant([1.0] * (BATCH - 1) + [0.0]),
        "matrices": tf.stack(matrices),
    }


def training_step(
    classifier: Classifier, plan: FreezePlan
) -> tuple[Callable[..., Any], list[list[Any]]]:
    """Returns a replica's training step and its arguments for each batch."""
    step = make_train_step(
        classifier,
        plan,
        kernel="gather",
        partition=partition_classifier(
            classifier, plan, fold_batch_norm=True, cut_trunk=False
        ),
    )
    values = [
        [tf.convert_to_tensor(classifier.variables[key].value) for key in keys]
        for keys in (plan.trainable, plan.frozen)
    ]
    batches = [batch_of(classifier.image_px, seed) for seed in SEEDS]
    return step, [[*values, b, tf.reduce_sum(b["mask"])] for b in batches]


def evaluation_step(
    classifier: Classifier, plan: FreezePlan
) -> tuple[Callable[..., Any], list[list[Any]]]:
    """Returns a replica's evaluation step and its arguments for each batch."""
    step = make_evaluation_step(
        classifier,
        CLASSES,
        partition=partition_classifier(
            classifier, plan, fold_batch_norm=True, cut_trunk=False
        ),
    )
    values = [
        tf.convert_to_tensor(v.value) for v in classifier.variables.values()
    ]
    batches = [batch_of(classifier.image_px, seed) for seed in SEEDS]
    for batch in batches:
        del batch["matrices"]
    return step, [[values, batch] for batch in batches]


def compare(
    step: Callable[..., Any],
    arguments: Sequence[Sequence[Any]],
    *,
    part: Callable[[Any], list[tf.Tensor]],
    rounds: bool = False,
    compile_only: bool = False,
) -> Compared:
    """Compares a pure function's results with XLA and without.

    Args:
      step: pure function of tensors.
      arguments: its arguments for each batch.
      part: selects the tensors to compare from its result.
      rounds: whether to measure the effect of rounding, too.
      compile_only: whether to stop at HLO and run nothing.

    Raises:
      tf.errors.OpError, ValueError: XLA does not support an operation.
    """
    compiled, plain = tf.function(step, jit_compile=True), tf.function(step)
    began = time.perf_counter()
    if compile_only:
        compiled.experimental_get_compiler_ir(*arguments[0])(stage="hlo")
        return Compared(seconds=time.perf_counter() - began, difference=None)
    compiled(*arguments[0])
    seconds = time.perf_counter() - began
    differences, roundings = [], [0.0]
    rng = np.random.default_rng(0)
    for given in arguments:
        expected = _arrays(part(plain(*given)))
        differences.append(apart(_arrays(part(compiled(*given))), expected))
        for _ in range(_NUDGES if rounds else 0):
            again = _arrays(part(plain(*_nudged(given, rng))))
            roundings.append(apart(again, expected))
    return Compared(
        seconds=seconds,
        difference=statistics.median(differences),
        rounding=max(roundings),
    )


def _arrays(tensors: list[tf.Tensor]) -> list[np.ndarray]:
    return [tensor.numpy() for tensor in tensors]


def _nudged(given: Sequence[Any], rng: np.random.Generator) -> list[Any]:
    """Returns the same arguments with pixels rounded differently."""

    def nudge(argument: Any) -> Any:
        if not isinstance(argument, dict):
            return argument
        images = argument["images"]
        noise = rng.standard_normal(images.shape).astype(np.float32)
        return {**argument, "images": images * (1 + _NUDGE * noise)}

    return [nudge(argument) for argument in given]


def apart(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Returns the norm of the difference relative to the expected norm."""
    pairs = list(zip(found, expected, strict=True))
    # Comparisons with NaN are false, so a NaN would look like no difference.
    if not all(np.all(np.isfinite(array)) for pair in pairs for array in pair):
        return float("inf")
    return _norm([a - b for a, b in pairs]) / _norm(expected)


def gradients(output: Any) -> list[tf.Tensor]:
    """Returns the gradients of a training step that are not None."""
    return [part for part in output.gradients if part is not None]


def loss(output: Any) -> list[tf.Tensor]:
    """Returns the sum of losses of a training or evaluation step."""
    sums = output.sums if isinstance(output, StepOutput) else output[0]
    return [sums["loss"]]


def _images(count: int, image_px: int, seed: int) -> np.ndarray:
    """Returns float32 (count, px, px, 3) in 0..255, smooth and tinted."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (count, 5, 5, 3))
    images = tf.image.resize(coarse, (image_px, image_px)).numpy()
    noise = rng.normal(0, 10, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.float32)


def _norm(arrays: Sequence[np.ndarray]) -> float:
    squares = (np.sum(np.square(a, dtype=np.float64)) for a in arrays)
    return float(np.sqrt(sum(squares)))
