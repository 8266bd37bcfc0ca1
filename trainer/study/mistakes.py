"""The most confident mistakes of a trained model, as thumbnails."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from trainer.config import Config
from trainer.data.rendering import rendering_of
from trainer.results.predictions_file import parse_predictions
from trainer.run.examples import ExampleReader, Predicted
from trainer.run.prepare import read_manifest
from trainer.storage import files
from trainer.workdir import CONFIG, MANIFEST, PREDICTIONS, Workdir
from trainer.workdir.stored import stored_config


def find_mistakes(config: Config) -> list[dict[str, Any]]:
    """Returns the most confident wrong predictions on the final split.

    Args:
      config: the configuration of a finished training run, with its workdir.

    Returns:
      See `ExampleReader.mistakes`.

    Raises:
      TrainerError, OSError: a file of the run, or an image, cannot be read.
    """
    assert config.workdir is not None
    workdir = Workdir(config.workdir)
    stored = workdir.read_json(CONFIG) or {}
    run = stored_config(workdir.file(CONFIG), stored["config"])
    # Where the data is now, and how its checks are cached.
    run = dataclasses.replace(
        run, dataset=config.dataset, tfds_data_dir=config.tfds_data_dir
    )
    manifest = read_manifest(run, workdir.read_json(MANIFEST))
    path = workdir.file(PREDICTIONS)
    rows = parse_predictions(
        path,
        files.read(path),
        manifest.class_names,
        remedy="--stage=evaluate writes it again",
    )
    # The file has the order of the samples, but that is not checked.
    places = {name: row for row, name in enumerate(rows.ids)}
    order = np.array([places[name] for name in manifest.final.ids])
    reader = ExampleReader(
        Predicted(
            samples=manifest.final,
            guesses=rows.predicted[order],
            confidence=rows.confidence[order],
        ),
        manifest.class_names,
        image_px=run.image_size or 0,
        rendering=rendering_of(run),
    )
    return reader.mistakes()
