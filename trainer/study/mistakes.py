"""The most confident mistakes of a trained model, as thumbnails."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from matplotlib.image import imsave

from trainer.config import Config
from trainer.data.manifest import Manifest
from trainer.data.pipeline import Reading, Shard, evaluation_batches
from trainer.fields import EVALUATE
from trainer.prepare import read_manifest
from trainer.trained import Trained, open_trained
from trainer.workdir import MANIFEST

_BATCH = 32


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Mistake:
    """A test sample that was taken for something else.

    Attributes:
      sample_id: which.
      true: its class.
      predicted: what it was taken for.
      probability: of that.
      png: the picture as the model saw it.
    """

    sample_id: str
    true: str
    predicted: str
    probability: float
    png: bytes


def find_mistakes(config: Config, count: int = 12) -> list[Mistake]:
    """The wrong predictions of highest probability on the final split.

    Args:
      config: of a finished training run; its workdir is set.
      count: at most how many.
    """
    config = dataclasses.replace(config, stage=EVALUATE, checkpoint="last")
    trained = open_trained(config, frozenset({"stage", "workdir"}))
    manifest = read_manifest(trained.run, trained.workdir.read_json(MANIFEST))
    found: list[Mistake] = []
    for first, batch, probabilities in _predictions(trained, manifest):
        for row in range(len(probabilities)):
            true, guess = batch["labels"][row], probabilities[row].argmax()
            if first + row < len(manifest.final) and true != guess:
                found.append(
                    Mistake(
                        sample_id=manifest.final.ids[first + row],
                        true=trained.class_names[true],
                        predicted=trained.class_names[guess],
                        probability=float(probabilities[row][guess]),
                        png=_png(batch["images"][row]),
                    )
                )
        # Only so many are ever kept, however many mistakes there are.
        found.sort(key=lambda m: (-m.probability, m.sample_id))
        del found[count:]
    return found


def _predictions(
    trained: Trained, manifest: Manifest
) -> Iterator[tuple[int, dict[str, np.ndarray], np.ndarray]]:
    """(row of the first example, batch, probabilities) of each batch."""
    classifier = trained.classifier
    forward = tf.function(classifier.probabilities)
    batches = evaluation_batches(
        manifest.final,
        reading=Reading(image_px=classifier.image_px),
        shard=Shard(global_batch=_BATCH, num_replicas=1),
    )
    for number, batch in enumerate(batches):
        arrays = {key: value.numpy() for key, value in batch.items()}
        yield number * _BATCH, arrays, forward(batch["images"]).numpy()


def _png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    imsave(stream, np.clip(image, 0, 255).astype(np.uint8), format="png")
    return stream.getvalue()
