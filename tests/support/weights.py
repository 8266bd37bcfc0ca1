"""Loads weights files, and reports how they are rejected."""

from __future__ import annotations

import pathlib

import keras
import pytest

from trainer.errors import TrainerError
from trainer.model.backbones import find_backbone
from trainer.model.weights.load import load_weights
from trainer.model.weights.plan import plan_weights

BACKBONE = find_backbone("MobileNetV2")


def load(path: pathlib.Path, model: keras.Model) -> None:
    """Loads a file into a model as `--weights` does."""
    plan = plan_weights(str(path), backbone=BACKBONE, weights_origin=None)
    load_weights(model, plan, backbone=BACKBONE, backbone_args={})


def refusal(path: pathlib.Path, model: keras.Model) -> str:
    """Returns why a file is rejected, without the flag that names it."""
    with pytest.raises(TrainerError) as caught:
        load(path, model)
    flag, _, rest = str(caught.value).partition(": ")
    assert flag.startswith(f"--weights={str(path)!r}"[:-1])
    assert rest.isprintable()
    return rest
