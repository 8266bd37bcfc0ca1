"""The step that XLA compiles on a replica, for one family, and its batches."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.data.augment import affine, draw_parameters
from trainer.model.backbones import (
    FORM_IMAGENET,
    FORM_NA,
    build_backbone,
    find_backbone,
)
from trainer.model.classifier import Classifier, make_classifier
from trainer.model.freeze import FreezePlan
from trainer.model.pixels import preprocess
from trainer.model.trunk.partition import partition_classifier
from trainer.train.steps import make_evaluation_step, make_train_step

CLASSES, BATCH, SEEDS = 3, 4, (1, 2, 3)
# How often the pixels are rounded anew, and by how much: half a last bit.
_NUDGES, _NUDGE = 6, 1e-7
_CALIBRATION = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
    """What one function made of some batches, compiled and not.

    Attributes:
      seconds: to trace, compile and run it once, compiled.
      difference: the norm of what differs, relative to the norm of all, the
        median over the batches; None where nothing was run.
      rounding: the most that it was between two runs of what is not compiled,
        where pixels differ in rounding alone; 0 where that was not tried.
    """

    seconds: float
    difference: float | None
    rounding: float = 0.0


def live_classifier(name: str, image_px: int, seed: int = 0) -> Classifier:
    """A backbone with random weights whose features are alive, and a head."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    known = find_backbone(name)
    classifier = make_classifier(
        build_backbone(
            name,
            {},
            image_px,
            form=FORM_IMAGENET if known.has_imagenet_form else FORM_NA,
        ),
        pixels=known.pixels,
        num_classes=CLASSES,
        seed=seed,
    )
    images = _images(_CALIBRATION, image_px, seed)
    _off_the_kink(classifier.backbone, seed)
    calibrate(
        classifier.backbone, preprocess(tf.constant(images), known.pixels)
    )
    return classifier


def calibrate(backbone: keras.Model, images: tf.Tensor) -> None:
    """Sets every BatchNorm's moving statistics to those of some images.

    A random EfficientNet is nearly dead in inference mode: its moving
    statistics say that activations have variance 1, and they have not.

    Args:
      backbone: changed in place.
      images: float32 (n, px, px, 3), as the backbone takes them; one batch.
    """
    norms = [
        layer
        for layer in backbone.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    backbone(images, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


def _off_the_kink(backbone: keras.Model, seed: int) -> None:
    """Moves what BatchNorm puts out away from 0, where ReLU bends.

    A channel that is the same everywhere comes out as 0 give or take rounding,
    and so would its part of the gradient come and go with rounding.
    """
    rng = np.random.default_rng(seed)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.center:
            size = rng.uniform(0.2, 0.5, layer.beta.shape)
            layer.beta.assign(size * rng.choice((-1, 1), size.shape))


def batch_of(image_px: int, seed: int) -> dict[str, tf.Tensor]:
    """A training batch as the pipeline gives it; its last row is padding."""
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
    """The replica's function of training, and its arguments by batch."""
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
    """The replica's function of evaluation, likewise."""
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
    """Runs a pure function with XLA and without.

    Args:
      step: of tensors.
      arguments: for it, by batch.
      part: what to compare of its result.
      rounds: whether to see what rounding does to it, too.
      compile_only: goes as far as HLO and runs nothing.

    Raises:
      tf.errors.OpError, ValueError: XLA refuses it.
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
    """The same arguments, pixels rounded otherwise."""

    def nudge(argument: Any) -> Any:
        if not isinstance(argument, dict):
            return argument
        images = argument["images"]
        noise = rng.standard_normal(images.shape).astype(np.float32)
        return {**argument, "images": images * (1 + _NUDGE * noise)}

    return [nudge(argument) for argument in given]


def apart(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The norm of the difference, relative to that of what is expected."""
    pairs = list(zip(found, expected, strict=True))
    # A NaN on either side must not pass for small.
    if not all(np.all(np.isfinite(array)) for pair in pairs for array in pair):
        return float("inf")
    return _norm([a - b for a, b in pairs]) / _norm(expected)


def gradients(output: Any) -> list[tf.Tensor]:
    """Those of a training step to which a path led."""
    return [part for part in output.gradients if part is not None]


def loss(output: Any) -> list[tf.Tensor]:
    """The sum of losses of a step of either kind."""
    return [getattr(output, "sums", output)["loss"]]


def _images(count: int, image_px: int, seed: int) -> np.ndarray:
    """float32 (count, px, px, 3) in 0..255: smooth, each with its own tint."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (count, 5, 5, 3))
    images = tf.image.resize(coarse, (image_px, image_px)).numpy()
    noise = rng.normal(0, 10, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.float32)


def _norm(arrays: Sequence[np.ndarray]) -> float:
    squares = (np.sum(np.square(a, dtype=np.float64)) for a in arrays)
    return float(np.sqrt(sum(squares)))
