"""`--weights`: which file and which architecture, then loading it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from trainer.config.fields import IMAGENET
from trainer.errors import TrainerError, UsageError, untrusted
from trainer.model import lite
from trainer.model.backbones import (
    FORM_IMAGENET,
    FORM_KERAS_NONE,
    FORM_NA,
    Backbone,
)
from trainer.model.weights import torch_file
from trainer.model.weights.checkpoint import (
    TF_CHECKPOINT,
    checkpoint_files,
    checkpoint_prefix,
    pairs_in_checkpoint,
)
from trainer.model.weights.forms import form_of_file
from trainer.model.weights.hdf5 import (
    KERAS,
    LEGACY_H5,
    hdf5_kind,
    keras_config,
    open_hdf5,
    pairs_in_legacy_h5,
    pairs_in_weights_h5,
)
from trainer.model.weights.saved_weights import (
    LayerPair,
    assign_weights,
    read_pairs,
)
from trainer.storage import files

NONE = "none"
PACKAGE = "package"
# What --weights=demo was, up to version 0.1: a backbone of the project's own.
RETIRED = "demo"

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_ZIP_MAGIC = b"PK\x03\x04"
_UNREADABLE = "give a file you may read"
_KINDS_OF_FILE = "a .weights.h5, legacy .h5 or .keras file or a TF checkpoint"


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightsPlan:
    """Where the backbone's weights come from; decided before it is built.

    Attributes:
      kind: "imagenet", "package", "none", "weights_h5", "legacy_h5", "keras"
        or "tf_checkpoint".
      path: the file, or the checkpoint's prefix; None without one.
      form: which architecture to build, for `backbones.build_backbone`.
      why: one line for the log.
      flag: what the flag said, where that is not the path.
    """

    kind: str
    path: str | None
    form: str
    why: str
    flag: str | None = None

    @property
    def label(self) -> str:
        """What messages call it: the flag with the file, or the kind."""
        if self.flag:
            return f"--weights={self.flag}"
        return f"--weights={self.path!r}" if self.path else self.kind


def plan_weights(
    weights: str, *, backbone: Backbone, weights_origin: str | None
) -> WeightsPlan:
    """Looks at the flag and the file; reads no arrays.

    Args:
      weights: "imagenet", "none" or a path.
      backbone: what the weights are for.
      weights_origin: FORM_IMAGENET, FORM_KERAS_NONE or None.

    Raises:
      UsageError: no such path; the form cannot be told, or is not the one
        that `weights_origin` says, or does not apply.
      TrainerError: the file holds no weights.
    """
    origin = f"--weights_origin={weights_origin}"
    if weights_origin is not None and not backbone.has_imagenet_form:
        raise UsageError(
            f"{origin}: {backbone.name} has one form only; the flag is for"
            " EfficientNetB0..B7: leave it out"
        )
    if weights in (IMAGENET, NONE):
        if weights_origin is not None:
            raise UsageError(
                f"{origin}: says how a weights file was saved, and"
                f" --weights={weights} names no file: leave it out"
            )
        if weights == IMAGENET:
            return _imagenet_plan(backbone)
        form = FORM_KERAS_NONE if backbone.has_imagenet_form else FORM_NA
        return WeightsPlan(kind=NONE, path=None, form=form, why="random")
    if weights == RETIRED and not files.exists(weights):
        # A run that was started with them can be resumed.
        form = FORM_KERAS_NONE if backbone.has_imagenet_form else FORM_NA
        return WeightsPlan(kind=RETIRED, path=None, form=form, why="retired")
    kind, path = _kind_and_path(weights)
    form, why = FORM_NA, f"read as {kind}"
    if backbone.has_imagenet_form:
        form, how = _form(path, kind, backbone, weights_origin)
        why = f"{why}; {how}, so it was saved from the {form} form"
    return WeightsPlan(kind=kind, path=path, form=form, why=why)


def _imagenet_plan(backbone: Backbone) -> WeightsPlan:
    """Plans to take published ImageNet weights, downloaded or installed."""
    if backbone.name not in lite.SCALES:
        form = FORM_IMAGENET if backbone.has_imagenet_form else FORM_NA
        return WeightsPlan(
            kind=IMAGENET, path=None, form=form, why="downloaded by Keras"
        )
    if backbone.name not in torch_file.PUBLISHED:
        raise UsageError(
            f"--weights=imagenet: none are published as a package for"
            f" {backbone.name}; give --weights=none or a file, or --backbone="
            f"{' or '.join(torch_file.PUBLISHED)}"
        )
    return WeightsPlan(
        kind=PACKAGE,
        path=torch_file.find_weights(backbone.name),
        form=FORM_NA,
        why="ImageNet weights from the package"
        f" {torch_file.package_of(backbone.name)}",
        flag=IMAGENET,
    )


def load_weights(
    model: keras.Model,
    plan: WeightsPlan,
    *,
    backbone: Backbone,
    backbone_args: Mapping[str, Any],
) -> str:
    """Puts the planned weights into the backbone, wholly or not at all.

    Args:
      model: built in the form `plan.form`; changed in place.
      plan: from `plan_weights`.
      backbone: what `model` was built from.
      backbone_args: with what arguments.

    Returns:
      One line for the log.

    Raises:
      UsageError: there are no ImageNet weights for these arguments.
      TrainerError: a file that is damaged or fits another architecture, or a
        download that failed.
    """
    if plan.kind == NONE:
        return f"{backbone.name}: random weights"
    if plan.kind == RETIRED:
        raise UsageError(
            "--weights=demo: these weights no longer come with the project,"
            " and only a workdir that has them can go on with them; give"
            " --backbone=EfficientNetLite0, whose ImageNet weights are"
            " installed with it"
        )
    if plan.kind == PACKAGE:
        tensors = torch_file.read_weights(str(plan.path))
        with untrusted(str(plan.path), torch_file.REMEDY):
            values = lite.published_values(model, tensors)
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
        f" layers from {plan.label} ({plan.why}); anything else in it, such as"
        " a head, was left out"
    )


def weights_digest(plan: WeightsPlan) -> str | None:
    """Returns the SHA-256 of the file's content, hex; None without a file.

    Raises:
      TrainerError: the file cannot be read.
    """
    if plan.path is None:
        return None
    checkpoint = plan.kind == TF_CHECKPOINT
    digest = hashlib.sha256()
    with untrusted(plan.label, _UNREADABLE):
        for path in checkpoint_files(plan.path) if checkpoint else [plan.path]:
            for block in files.blocks(path):
                digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _pairs(model: keras.Model, plan: WeightsPlan) -> Iterator[list[LayerPair]]:
    path = str(plan.path)
    if plan.kind == TF_CHECKPOINT:
        yield pairs_in_checkpoint(plan.label, path, model)
        return
    with open_hdf5(plan.label, path, plan.kind) as file:
        legacy = plan.kind == LEGACY_H5
        find = pairs_in_legacy_h5 if legacy else pairs_in_weights_h5
        yield find(file, model)


def _kind_and_path(weights: str) -> tuple[str, str]:
    label = f"--weights={weights!r}"
    if prefix := checkpoint_prefix(weights):
        return TF_CHECKPOINT, prefix
    missing = UsageError(
        f"{label}: no such file; give imagenet, none, {_KINDS_OF_FILE}"
    )
    if not files.exists(weights):
        raise missing
    no_weights = TrainerError(
        f"{label}: holds no weights that can be read; give {_KINDS_OF_FILE}"
    )
    if files.is_dir(weights):
        raise no_weights
    with untrusted(label, _UNREADABLE):
        try:
            magic = files.read(weights, length=len(_HDF5_MAGIC))
        except FileNotFoundError:  # A link to nowhere.
            raise missing from None
    if magic == _HDF5_MAGIC:
        return hdf5_kind(label, weights), weights
    if not magic.startswith(_ZIP_MAGIC):
        raise no_weights
    keras_config(label, weights)  # refuses other zips, and Python code
    return KERAS, weights


def _form(
    path: str, kind: str, backbone: Backbone, weights_origin: str | None
) -> tuple[str, str]:
    label = f"--weights={path!r}"
    form, how = form_of_file(label, path, kind)
    if form is None and weights_origin is None:
        raise UsageError(
            f"{label}: cannot tell from which of the two forms of"
            f" {backbone.name} it was saved: it {how}; say"
            " --weights_origin=imagenet (built with weights='imagenet', with a"
            " second Rescaling layer) or --weights_origin=keras_none (built"
            " with weights=None)"
        )
    if form and weights_origin and form != weights_origin:
        raise UsageError(
            f"--weights_origin={weights_origin}: {path} was saved from the"
            f" other form of {backbone.name}: it {how}; leave the flag out or"
            f" say --weights_origin={form}"
        )
    if form:
        return form, f"it {how}"
    return str(weights_origin), f"it {how}, and --weights_origin says"


def _imagenet_model(
    model: keras.Model, backbone: Backbone, backbone_args: Mapping[str, Any]
) -> keras.Model:
    """The same backbone as Keras builds it with its ImageNet weights."""
    given = ", ".join(f"{k}={v!r}" for k, v in backbone_args.items())
    constructor = getattr(keras.applications, backbone.name)
    try:
        with warnings.catch_warnings():
            # "Weights for input shape (224, 224) will be loaded": they fit.
            warnings.simplefilter("ignore")
            return constructor(
                weights=IMAGENET,
                include_top=False,
                input_shape=tuple(model.input_shape[1:]),
                **backbone_args,
            )
    except ValueError as error:
        raise UsageError(
            f"--weights=imagenet: not to be had for {backbone.name}"
            f" ({given or 'no --backbone_args'}): {_one_line(error)}; give"
            " other --backbone_args, a file, or none"
        ) from error
    except Exception as error:  # Keras raises a bare Exception, offline.
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
    return " ".join(str(error).split())[:200]
