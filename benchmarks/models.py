"""Models with random weights, for benchmarks of speed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from trainer.model.backbones import (
    FORM_IMAGENET,
    FORM_KERAS_NONE,
    FORM_NA,
    build_backbone,
    find_backbone,
    parse_backbone_args,
)
from trainer.model.classifier import Classifier, make_classifier

__all__ = ["random_classifier", "save_random_weights"]


def random_classifier(
    backbone: str,
    image_px: int,
    num_classes: int,
    *,
    backbone_args: Mapping[str, Any] | None = None,
    seed: int = 0,
    strategy: tf.distribute.Strategy | None = None,
) -> Classifier:
    """Builds a classifier in the form that published weights have.

    Args:
      backbone: value of --backbone.
      image_px: side of the images.
      num_classes: number of classes.
      backbone_args: arguments of the backbone's constructor.
      seed: of the weights.
      strategy: creates the variables; None for the default strategy.
    """
    known = find_backbone(backbone)
    # clear_session resets the policy, so bfloat16 would be float32.
    policy = keras.config.dtype_policy()
    keras.utils.clear_session()
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(seed)
    # Not around clear_session, which would end the scope.
    with strategy.scope() if strategy else contextlib.nullcontext():
        return make_classifier(
            build_backbone(
                backbone,
                backbone_args or {},
                image_px,
                form=FORM_IMAGENET if known.has_imagenet_form else FORM_NA,
            ),
            pixels=known.pixels,
            num_classes=num_classes,
            seed=seed,
        )


def save_random_weights(
    path: str, backbone: str, backbone_args: str, image_px: str
) -> None:
    """Saves a backbone's weights in the form that Keras loads them into.

    Args:
      path: file to write, NAME.weights.h5.
      backbone: value of --backbone.
      backbone_args: value of --backbone_args.
      image_px: value of --image_size.
    """
    has_two_forms = find_backbone(backbone).has_imagenet_form
    keras.utils.set_random_seed(0)
    build_backbone(
        backbone,
        parse_backbone_args(backbone_args),
        int(image_px),
        form=FORM_KERAS_NONE if has_two_forms else FORM_NA,
    ).save_weights(path)
