"""The backbone that is trained, and its weights as files."""

from __future__ import annotations

import hashlib
import os
import tempfile
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf

from trainer.model.backbones import (
    FORM_KERAS_NONE,
    build_backbone,
    find_backbone,
)
from trainer.model.classifier import Classifier, derived_seed, make_classifier
from trainer.model.weights import load_weights, plan_weights

NAME = "EfficientNetB0"


def random_classifier(
    num_classes: int,
    *,
    image_px: int,
    seed: int,
    strategy: tf.distribute.Strategy,
    calm: bool = True,
) -> Classifier:
    """The backbone with random weights, and a head.

    Args:
      num_classes: outputs of the head.
      image_px: side of the pictures.
      seed: of the weights.
      strategy: to make them under.
      calm: begins with closed residual branches and without stochastic depth,
        a remedy for overfitting: drawn pictures do not run out. Else all is as
        Keras makes it.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(derived_seed(seed, "backbone"))
    with strategy.scope():
        backbone = build_backbone(NAME, {}, image_px, form=FORM_KERAS_NONE)
        if calm:
            _calm(backbone)
        return make_classifier(
            backbone,
            pixels=find_backbone(NAME).pixels,
            num_classes=num_classes,
            seed=seed,
        )


def _calm(backbone: keras.Model) -> None:
    """Stochastic depth off, and residual branches closed.

    A branch whose last BatchNorm has gamma 0 begins as the identity. So the
    gradient's norm is 8 at first; with all branches open it is 40.
    """
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
        elif isinstance(layer, keras.layers.Add):
            block = layer.name.removesuffix("_add")
            gamma = backbone.get_layer(f"{block}_project_bn").gamma
            gamma.assign(tf.zeros_like(gamma.value))


def save_backbone(trained: keras.Model, path: str) -> None:
    """Writes a compact `.weights.h5` of the backbone as Keras builds it.

    Kernels become float16. Vectors stay float32: a variance of BatchNorm may
    be too small for float16, and they are few.

    Args:
      trained: as `random_classifier` builds it.
      path: replaced in one move.
    """
    keras.utils.clear_session()
    backbone = build_backbone(
        NAME, {}, trained.input_shape[1], form=FORM_KERAS_NONE
    )
    backbone.set_weights(trained.get_weights())
    partial = f"{path}.partial"
    with tempfile.TemporaryDirectory() as folder:
        plain = os.path.join(folder, "plain.weights.h5")
        backbone.save_weights(plain)
        with (
            h5py.File(plain, "r") as source,
            h5py.File(partial, "w", libver="latest") as target,
        ):
            _copy_compact(source, target)
    os.replace(partial, path)


def _copy_compact(source: h5py.Group, target: h5py.Group) -> None:
    for name, value in source.attrs.items():
        target.attrs[name] = value
    for name, item in source.items():
        if isinstance(item, h5py.Group):
            _copy_compact(item, target.create_group(name))
            continue
        array = np.asarray(item)
        if array.ndim > 1 and array.dtype == np.float32:
            array = array.astype(np.float16)
        # Filters need chunks, which scalars and small vectors do not repay.
        packed = array.size > 4096
        target.create_dataset(
            name,
            data=array,
            **(
                {"compression": "gzip", "compression_opts": 9, "shuffle": True}
                if packed
                else {}
            ),
        )


def load_backbone(path: str, image_px: int) -> keras.Model:
    """The backbone with the weights of a file, through the trainer's reader."""
    known = find_backbone(NAME)
    plan = plan_weights(path, backbone=known, weights_origin=FORM_KERAS_NONE)
    keras.utils.clear_session()
    model = build_backbone(NAME, {}, image_px, form=plan.form)
    load_weights(model, plan, backbone=known, backbone_args={})
    return model


def calibrate(backbone: keras.Model, images: np.ndarray) -> None:
    """Sets every BatchNorm's moving statistics to those of some pictures.

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


def file_facts(path: str) -> dict[str, Any]:
    """Its name, size and SHA-256."""
    with open(path, "rb") as stream:
        content = stream.read()
    return {
        "file": os.path.basename(path),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
