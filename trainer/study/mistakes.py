"""The most confident mistakes of a trained model, as thumbnails."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
from matplotlib.image import imsave

from trainer.config import Config
from trainer.config.fields import EVALUATE
from trainer.data.batches import evaluation_batches
from trainer.data.order import Shard
from trainer.data.reading import image_blocks
from trainer.data.rendering import rendering_of
from trainer.data.samples import Samples
from trainer.distribute.strategies import ONE_DEVICE
from trainer.run.prepare import read_manifest
from trainer.run.trained import Trained, open_fast_paths, open_trained
from trainer.train.steps import make_prediction_function
from trainer.workdir import MANIFEST

_BATCH = 32


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Mistake:
    """A test sample with a wrong prediction.

    Attributes:
      sample_id: id of the sample.
      true: its class.
      predicted: the class with the highest probability.
      probability: the probability of the predicted class, in [0, 1].
      png: the image as the model saw it.
    """

    sample_id: str
    true: str
    predicted: str
    probability: float
    png: bytes


def find_mistakes(config: Config, count: int = 12) -> list[Mistake]:
    """Finds the most confident wrong predictions on the final split.

    Args:
      config: the configuration of a finished training run, with its workdir.
      count: the largest number of mistakes to return.

    Returns:
      Mistakes by descending probability, then by sample id.
    """
    config = dataclasses.replace(
        config,
        stage=EVALUATE,
        checkpoint="last",
        # Prediction runs on one device and not on a TPU.
        strategy=ONE_DEVICE,
        gpus=None,
        tpu=None,
    )
    trained = open_trained(
        config, frozenset({"stage", "strategy", "workdir", "dataset"})
    )
    manifest = read_manifest(trained.run, trained.workdir.read_json(MANIFEST))
    final = manifest.final
    probabilities = _probabilities(trained, final)
    guesses = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(guesses != final.labels)
    rows = sorted(
        wrong.tolist(),
        key=lambda row: (-probabilities[row, guesses[row]], final.ids[row]),
    )[:count]
    images = image_blocks(
        final,
        np.array(rows, np.int64),
        image_px=trained.classifier.image_px,
        block=1,
        rendering=rendering_of(trained.run),
    )
    return [
        Mistake(
            sample_id=final.ids[row],
            true=trained.class_names[final.labels[row]],
            predicted=trained.class_names[guesses[row]],
            probability=float(probabilities[row, guesses[row]]),
            png=_png(block[0]),
        )
        for row, block in zip(rows, images.as_numpy_iterator(), strict=True)
    ]


def _probabilities(trained: Trained, samples: Samples) -> np.ndarray:
    """Returns float32 (n, classes), in the order of the samples."""
    # Reuses the features that the run's evaluation cached.
    partition, inputs = open_fast_paths(trained, images=len(samples))
    forward = make_prediction_function(
        trained.classifier, partition, xla=trained.runtime.xla
    )
    batches = evaluation_batches(
        samples,
        reading=inputs.evaluation(samples, again=False),
        shard=Shard(global_batch=_BATCH, num_replicas=1),
    )
    found = [forward(batch).numpy() for batch in batches]
    return np.concatenate(found)[: len(samples)]


def _png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    imsave(stream, image, format="png")
    return stream.getvalue()
