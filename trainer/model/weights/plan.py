"""The plan of `--weights`: the file to load and the form to build."""

from __future__ import annotations

import dataclasses
import hashlib

from trainer.config.fields import IMAGENET
from trainer.errors import TrainerError, UsageError, untrusted
from trainer.model import lite
from trainer.model.backbones import (
    FORM_IMAGENET,
    FORM_KERAS_NONE,
    FORM_NA,
    Backbone,
)
from trainer.model.weights.checkpoint import (
    TF_CHECKPOINT,
    checkpoint_files,
    checkpoint_prefix,
)
from trainer.model.weights.forms import form_of_file
from trainer.model.weights.hdf5 import KERAS, hdf5_kind, keras_config
from trainer.model.weights.published import (
    PUBLISHED,
    find_weights,
    package_of,
)
from trainer.storage import files

NONE = "none"
PACKAGE = "package"
# The value of --weights for a backbone that came with version 0.1.
RETIRED = "demo"

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_ZIP_MAGIC = b"PK\x03\x04"
_UNREADABLE = "give a file you may read"
_KINDS_OF_FILE = "a .weights.h5, legacy .h5 or .keras file or a TF checkpoint"


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightsPlan:
    """The source of a backbone's weights, chosen before it is built.

    Attributes:
      kind: "imagenet", "package", "none", "weights_h5", "legacy_h5", "keras"
        or "tf_checkpoint"; "demo" in workdirs of version 0.1.
      path: the file, or the checkpoint's prefix; None if there is no file.
      form: the architecture to build; see `backbones.build_backbone`.
      why: the evidence for kind and form, for the log.
      flag: the value of --weights, if it is not the path.
    """

    kind: str
    path: str | None
    form: str
    why: str
    flag: str | None = None

    @property
    def label(self) -> str:
        """The name of these weights in messages."""
        if self.flag:
            return f"--weights={self.flag}"
        return f"--weights={self.path!r}" if self.path else self.kind


def plan_weights(
    weights: str, *, backbone: Backbone, weights_origin: str | None
) -> WeightsPlan:
    """Makes the plan from the flag and the file's metadata; reads no arrays.

    Args:
      weights: "imagenet", "none" or a path.
      backbone: the backbone to load the weights into.
      weights_origin: FORM_IMAGENET, FORM_KERAS_NONE or None.

    Raises:
      UsageError: the path is missing; the form is unknown or contradicts
        `weights_origin`; or `weights_origin` is given for a backbone with one
        form.
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
        # Not an error yet: a run that started with these weights can resume.
        form = FORM_KERAS_NONE if backbone.has_imagenet_form else FORM_NA
        return WeightsPlan(kind=RETIRED, path=None, form=form, why="retired")
    kind, path = _kind_and_path(weights)
    form, why = FORM_NA, f"read as {kind}"
    if backbone.has_imagenet_form:
        form, how = _form(path, kind, backbone, weights_origin)
        why = f"{why}; {how}, so it was saved from the {form} form"
    return WeightsPlan(kind=kind, path=path, form=form, why=why)


def _imagenet_plan(backbone: Backbone) -> WeightsPlan:
    """Plans to use published ImageNet weights, downloaded or installed."""
    if backbone.name not in lite.SCALES:
        form = FORM_IMAGENET if backbone.has_imagenet_form else FORM_NA
        return WeightsPlan(
            kind=IMAGENET, path=None, form=form, why="downloaded by Keras"
        )
    if backbone.name not in PUBLISHED:
        raise UsageError(
            f"--weights=imagenet: none are published as a package for"
            f" {backbone.name}; give --weights=none or a file, or --backbone="
            f"{' or '.join(PUBLISHED)}"
        )
    return WeightsPlan(
        kind=PACKAGE,
        path=find_weights(backbone.name),
        form=FORM_NA,
        why=f"ImageNet weights from the package {package_of(backbone.name)}",
        flag=IMAGENET,
    )


def weights_digest(plan: WeightsPlan) -> str | None:
    """Returns the SHA-256 of the file's content as hex, None without a file.

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


def _kind_and_path(weights: str) -> tuple[str, str]:
    """Returns the kind of a weights file, and its path or prefix.

    Raises:
      UsageError: there is no such file.
      TrainerError: the file holds no weights, or cannot be read.
    """
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
    # Raises for other zip files, and for files with Python code.
    keras_config(label, weights)
    return KERAS, weights


def _form(
    path: str, kind: str, backbone: Backbone, weights_origin: str | None
) -> tuple[str, str]:
    """Returns the form that a file was saved from, and the evidence.

    Raises:
      UsageError: the form is unknown, or contradicts `weights_origin`.
    """
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
