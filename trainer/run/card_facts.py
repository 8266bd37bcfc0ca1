"""The facts of a run for the model card of its export."""

from __future__ import annotations

import dataclasses
import os
import platform
from importlib import metadata
from typing import Any

from trainer.config import Config
from trainer.config.fields import IMAGENET, NONE, OFF, SOUP, TRAINING_STAGES
from trainer.config.usage import COMMAND
from trainer.data.manifest import Manifest
from trainer.learning.start import result_checkpoint
from trainer.model.backbone_table import LITE_SCALES
from trainer.results.calibration import Calibration
from trainer.results.data_line import data_facts, data_line
from trainer.results.export_card import CardFacts
from trainer.run.repeat import repeat_command
from trainer.run.trained import Trained
from trainer.workdir import CONFIG, RESULT
from trainer.workdir.stored import stored_config

_PATHS = ("dataset", "weights", "init_from", "tfds_data_dir", "workdir")


def card_facts(
    trained: Trained, manifest: Manifest | None, calibration: Calibration
) -> CardFacts:
    """Returns what model_card.md says about the run.

    Folders are left out of paths, because the card is for other people.

    Args:
      trained: the trained classifier.
      manifest: the run's samples; None if they cannot be read.
      calibration: of the run.
    """
    workdir = trained.workdir
    stored = workdir.read_json(CONFIG) or {}
    config = stored_config(workdir.file(CONFIG), stored["config"])
    config = _without_folders(config)
    result = workdir.read_json(RESULT) or {}
    # The metrics are those of one checkpoint.
    same = (
        result.get("stage") == trained.stage
        and result.get("tta", OFF) == trained.run.tta
        and trained.which == result_checkpoint(workdir, trained.stage)
    )
    return CardFacts(
        title=trained.title,
        data=_data(result, manifest),
        model=(
            f"{config.backbone}, {trained.classifier.image_px} px, first"
            f" weights: {config.weights}"
        ),
        command=_command(config, SOUP in stored),
        result=result if same else {},
        licence=_licence(config),
        temperature=_temperature(calibration),
        versions=_versions(),
    )


def _without_folders(config: Config) -> Config:
    changes: dict[str, Any] = {
        name: os.path.basename(str(value).rstrip("/"))
        for name in _PATHS
        if (value := getattr(config, name)) is not None
    }
    return dataclasses.replace(config, **changes)


def _data(result: dict[str, object], manifest: Manifest | None) -> str:
    name = str(result.get("dataset", ""))
    if manifest is None:
        return name and f"{name}, {result.get('train_examples')} images"
    line = data_line(data_facts(manifest)).partition(": ")[2]
    return f"{manifest.name}: {line}"


def _command(config: Config, soup: bool) -> str:
    if soup or config.stage not in TRAINING_STAGES:
        return f"--stage={SOUP if soup else config.stage}"
    return repeat_command(config)


def _licence(config: Config) -> str:
    if config.weights == NONE:
        return "None: training began with random weights."
    if config.weights == IMAGENET and config.backbone in LITE_SCALES:
        return (
            "Apache-2.0. They were trained on ImageNet, and ported from"
            " Google's TPU repository."
        )
    if config.weights == IMAGENET:
        return (
            "Not recorded. Keras distributes them; they were trained on"
            " ImageNet. See https://keras.io/api/applications/."
        )
    return f"Not recorded: they came from a file, {config.weights}."


def _temperature(calibration: Calibration) -> str:
    if calibration.fitted:
        return (
            "Probabilities are not calibrated. Their logarithms, divided by the"
            f" temperature {calibration.temperature:.3g} and passed through a"
            " softmax, are."
        )
    return "Probabilities are not calibrated; they may be too confident."


def _versions() -> dict[str, str]:
    names = (COMMAND, "tensorflow", "keras", "numpy")
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return {**found, "Python": platform.python_version()}
