"""The value of `--backbones`: backbones with arguments and weights."""

from __future__ import annotations

import dataclasses
import re

from trainer.errors import UsageError

_FORM = (
    "NAME, NAME:ARGUMENT=VALUE or NAME:weights=FILE, separated by commas, such"
    " as EfficientNetLite0,MobileNetV2:alpha=0.35:weights=FILE"
)
_NAME = re.compile(r"\w+")
_ARGUMENT = re.compile(r"\w+=[^,]+")
_WEIGHTS, _ORIGIN = "weights=", "weights_origin="


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """One backbone of `--backbones`, as given.

    Attributes:
      label: the text of this backbone in the flag.
      name: its name.
      backbone_args: as the flag of that name takes them; "" for none.
      weights: as the flag of that name takes them; None if not given.
      weights_origin: as the flag of that name takes it; None if not given.
    """

    label: str
    name: str
    backbone_args: str = ""
    weights: str | None = None
    weights_origin: str | None = None


def parse_backbones(text: str) -> tuple[BackboneSpec, ...]:
    """Parses the value of `--backbones`.

    A backbone is NAME, followed by `:ARGUMENT=VALUE` for each argument of its
    constructor. `:weights_origin=FORM` may follow, and `:weights=FILE` comes
    last, because a file may be a URL, which has a colon. A file name with a
    comma cannot be given.

    Args:
      text: the value of the flag.

    Returns:
      The backbones in the given order. Their names are not checked.

    Raises:
      UsageError: the text does not have this form, or names a backbone twice.
    """
    found = [_parse(part.strip(), text) for part in text.split(",")]
    labels = [spec.label for spec in found]
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise UsageError(
            f"--backbones={text!r}: names {twice[0]} twice; give each once"
        )
    return tuple(found)


def _parse(part: str, text: str) -> BackboneSpec:
    """Parses one backbone of a text."""
    rest, has_weights, weights = part.partition(f":{_WEIGHTS}")
    name, *arguments = rest.split(":")
    if not _NAME.fullmatch(name):
        raise _illegal(text, f"{part!r} does not begin with a name")
    if has_weights and not weights:
        raise _illegal(text, f"{part!r} names no weights")
    origin = None
    if arguments and arguments[-1].startswith(_ORIGIN):
        origin = arguments.pop().removeprefix(_ORIGIN)
        if origin not in ("imagenet", "keras_none"):
            raise _illegal(
                text, f"{part!r}: {_ORIGIN}imagenet or {_ORIGIN}keras_none"
            )
    for argument in arguments:
        if not _ARGUMENT.fullmatch(argument):
            raise _illegal(text, f"{argument!r} is not ARGUMENT=VALUE")
    return BackboneSpec(
        label=part,
        name=name,
        backbone_args=",".join(arguments),
        weights=weights or None,
        weights_origin=origin,
    )


def _illegal(text: str, what: str) -> UsageError:
    return UsageError(f"--backbones={text!r}: {what}; give {_FORM}")
