"""Loads the weights that a plan names into a backbone."""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from trainer.config.fields import IMAGENET
from trainer.errors import TrainerError, UsageError, untrusted
from trainer.model.backbones import Backbone
from trainer.model.weights import torch_file
from trainer.model.weights.checkpoint import TF_CHECKPOINT, pairs_in_checkpoint
from trainer.model.weights.hdf5 import (
    LEGACY_H5,
    open_hdf5,
    pairs_in_legacy_h5,
    pairs_in_weights_h5,
)
from trainer.model.weights.plan import NONE, PACKAGE, RETIRED, WeightsPlan
from trainer.model.weights.published import published_values
from trainer.model.weights.saved_weights import (
    LayerPair,
    assign_weights,
    read_pairs,
)


def load_weights(
    model: keras.Model,
    plan: WeightsPlan,
    *,
    backbone: Backbone,
    backbone_args: Mapping[str, Any],
) -> str:
    """Loads all planned weights into the backbone, or none of them.

    Args:
      model: a backbone in the form `plan.form`; changed in place.
      plan: from `plan_weights`.
      backbone: the description that `model` was built from.
      backbone_args: the constructor arguments that `model` was built with.

    Returns:
      One line for the log.

    Raises:
      UsageError: no ImageNet weights exist for these arguments.
      TrainerError: the file is damaged or of another architecture, or the
        download failed.
    """
    if plan.kind == NONE:
        return f"{backbone.name}: random weights"
    if plan.kind == RETIRED:
        raise UsageError(
            "--weights=demo: these weights no longer come with the project,"
            " and only a workdir that has them can resume with them; give"
            " --backbone=EfficientNetLite0, whose ImageNet weights are"
            " installed with it"
        )
    if plan.kind == PACKAGE:
        tensors = torch_file.read_weights(str(plan.path))
        with untrusted(str(plan.path), torch_file.REMEDY):
            values = published_values(model, tensors)
        assign_weights(model, values)
    elif plan.kind == IMAGENET:
        source = _imagenet_model(model, backbone, backbone_args)
        arrays = [np.asarray(value) for value in source.get_weights()]
        assign_weights(model, list(zip(model.weights, arrays, strict=True)))
    else:
        with _pairs(model, plan) as pairs:
            loaded = read_pairs(plan.label, pairs, model)
        assign_weights(model, loaded)
    layers = sum(1 for layer in model.layers if layer.weights)
    return (
        f"{backbone.name}: {model.count_params():,} parameters in {layers}"
        f" layers from {plan.label} ({plan.why}); a head in the file is"
        " not used"
    )


@contextlib.contextmanager
def _pairs(model: keras.Model, plan: WeightsPlan) -> Iterator[list[LayerPair]]:
    """Opens a weights file and yields its layers with those of the model."""
    path = str(plan.path)
    if plan.kind == TF_CHECKPOINT:
        yield pairs_in_checkpoint(plan.label, path, model)
        return
    with open_hdf5(plan.label, path, plan.kind) as file:
        legacy = plan.kind == LEGACY_H5
        find = pairs_in_legacy_h5 if legacy else pairs_in_weights_h5
        yield find(file, model)


def _imagenet_model(
    model: keras.Model, backbone: Backbone, backbone_args: Mapping[str, Any]
) -> keras.Model:
    """Returns the same backbone, built by Keras with ImageNet weights."""
    given = ", ".join(f"{k}={v!r}" for k, v in backbone_args.items())
    constructor = getattr(keras.applications, backbone.name)
    try:
        with warnings.catch_warnings():
            # Hide "Weights for input shape (224, 224) will be loaded": without
            # top, weights do not depend on the image size.
            warnings.simplefilter("ignore")
            return constructor(
                weights=IMAGENET,
                include_top=False,
                input_shape=tuple(model.input_shape[1:]),
                **backbone_args,
            )
    except ValueError as error:
        raise UsageError(
            f"--weights=imagenet: not available for {backbone.name}"
            f" ({given or 'no --backbone_args'}): {_one_line(error)}; give"
            " other --backbone_args, a file, or none"
        ) from error
    except Exception as error:  # Keras raises a bare Exception when offline.
        home = os.environ.get("KERAS_HOME", "~/.keras")
        name = re.search(r"[\w.-]+\.h5", str(error))
        raise TrainerError(
            f"--weights=imagenet: the weights of {backbone.name} cannot be"
            f" downloaded ({_one_line(error)}); put the file"
            f" {name[0] if name else 'of that name'} in {home}/models, give"
            " --weights=FILE, or give --backbone=EfficientNetLite0, whose"
            " weights need no network"
        ) from error


def _one_line(error: Exception) -> str:
    """Returns an error's text without line breaks, at most 200 characters."""
    return " ".join(str(error).split())[:200]
