"""The backbones by name: constructor, pixel contract and image sizes."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras

from trainer.errors import UsageError, shortened
from trainer.model import lite
from trainer.model.architectures import with_imagenet_rescaling
from trainer.model.backbone_table import (
    BACKBONES,
    Backbone,
    no_such_backbone,
)

# The two forms of EfficientNetB0..B7, and the form of everything else.
FORM_IMAGENET = "imagenet"
FORM_KERAS_NONE = "keras_none"
FORM_NA = "n/a"

# Constructor arguments that the trainer sets itself; include_preprocessing
# among them, because it would change the pixel contract.
_OWN_ARGS = (
    "include_top",
    "weights",
    "input_shape",
    "input_tensor",
    "pooling",
    "classes",
    "classifier_activation",
    "name",
    "include_preprocessing",
)


def backbone_names() -> tuple[str, ...]:
    """Returns the legal values of `--backbone` for this Keras, sorted."""
    return tuple(
        sorted(
            name
            for name in BACKBONES
            if name in lite.SCALES or hasattr(keras.applications, name)
        )
    )


def find_backbone(name: str) -> Backbone:
    """Returns the backbone with this name.

    Raises:
      UsageError: there is no such backbone; the message lists similar names and
        all legal names.
    """
    names = backbone_names()
    if name in names:
        return BACKBONES[name]
    raise no_such_backbone(name, names)


def parse_backbone_args(text: str) -> dict[str, Any]:
    """Parses `alpha=0.35,dropout=0.1`; values are Python literals.

    Raises:
      UsageError: the text does not have this form.
    """
    error = UsageError(
        f"--backbone_args={text!r}: not of the form NAME=VALUE,NAME=VALUE with"
        " each value a number, a quoted string, True, False, None or a tuple;"
        " write for example alpha=0.35"
    )
    try:
        # Python's call syntax handles commas inside tuples and strings, and
        # rejects repeated names.
        call = ast.parse(f"f({text})", mode="eval").body
        # "a=1)+g(b=2" parses too, but is not one call.
        if not isinstance(call, ast.Call) or call.args:
            raise error
        values = {
            keyword.arg: ast.literal_eval(keyword.value)
            for keyword in call.keywords
        }
    except (SyntaxError, ValueError, TypeError, MemoryError) as cause:
        raise error from cause
    args = {name: value for name, value in values.items() if name is not None}
    if len(args) != len(call.keywords) or not isinstance(call.func, ast.Name):
        raise error
    return args


def check_backbone(
    name: str, backbone_args: Mapping[str, Any], image_px: int
) -> None:
    """Checks a backbone's name, arguments and image size before it is built.

    Raises:
      UsageError: the name is unknown, the constructor does not take an
        argument, the trainer sets it itself, or the image is too small.
    """
    backbone = find_backbone(name)
    if image_px < backbone.min_image_px:
        raise UsageError(
            f"--image_size={image_px}: too small for {name}, which takes"
            f" images of at least {backbone.min_image_px} px; give"
            f" --image_size={backbone.min_image_px} or more (its default is"
            f" {backbone.image_px})"
        )
    legal = [
        parameter
        for parameter in inspect.signature(_constructor(name)).parameters
        if parameter not in _OWN_ARGS
    ]
    remedy = (
        f"legal for {name}: {', '.join(legal)}"
        if legal
        else f"{name} takes no arguments: leave the flag out"
    )
    for argument, value in backbone_args.items():
        if argument in _OWN_ARGS:
            why = "is set by the trainer itself"
        elif argument not in legal:
            why = f"is not an argument of {name}"
        else:
            continue
        raise UsageError(
            f"--backbone_args={argument}={value!r}: {argument} {why}; {remedy}"
        )


def build_backbone(
    name: str, backbone_args: Mapping[str, Any], image_px: int, *, form: str
) -> keras.Model:
    """Builds a backbone without top and pooling, with random weights.

    Call `keras.utils.clear_session()` first: Keras numbers automatic layer
    names across models.

    Args:
      name: a legal backbone name.
      backbone_args: arguments that `check_backbone` accepted.
      image_px: side of the images.
      form: FORM_IMAGENET for EfficientNetB0..B7 as weights="imagenet" builds
        them, FORM_KERAS_NONE as weights=None does; FORM_NA for all others.

    Raises:
      UsageError: the constructor rejects a value.
    """
    if (form == FORM_NA) == find_backbone(name).has_imagenet_form:
        raise ValueError(f"form={form!r} is not a form of {name}")
    try:
        model = _constructor(name)(
            weights=None,
            include_top=False,
            input_shape=(image_px, image_px, 3),
            **backbone_args,
        )
    except (ValueError, TypeError, ArithmeticError) as error:
        if not backbone_args:
            raise
        given = ",".join(f"{k}={v!r}" for k, v in backbone_args.items())
        reason = shortened(" ".join(str(error).split()))
        raise UsageError(
            f"--backbone_args={given}: {name} cannot be built with"
            f" --image_size={image_px} ({reason}); give values that"
            f" keras.applications.{name} takes"
        ) from error
    return with_imagenet_rescaling(model) if form == FORM_IMAGENET else model


def _constructor(name: str) -> Callable[..., keras.Model]:
    """Returns the function that builds a backbone."""
    if name in lite.SCALES:
        return lite.constructor(name)
    return getattr(keras.applications, name)
