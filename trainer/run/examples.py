"""Test images that a report shows: confident mistakes, and what decided."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.check import read_encoded_image
from trainer.data.rendering import Rendering, render
from trainer.data.samples import Samples
from trainer.model.activation import class_activations
from trainer.model.classifier import Classifier
from trainer.native_logs import native_notes_hidden
from trainer.results.calibration import probabilities
from trainer.results.page.images import data_uri, overlaid

MISTAKES, PAIRS = 12, 4


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Predicted:
    """The predictions for the test samples of a run.

    Attributes:
      samples: the n samples.
      guesses: int (n,), the predicted classes.
      confidence: float (n,), the probability of the predicted class.
    """

    samples: Samples
    guesses: np.ndarray
    confidence: np.ndarray

    @classmethod
    def of_logits(cls, samples: Samples, logits: np.ndarray) -> Predicted:
        """Returns the predictions of logits (n, classes)."""
        with np.errstate(invalid="ignore"):
            confidence = probabilities(logits).max(axis=1)
        return cls(
            samples=samples,
            guesses=logits.argmax(axis=1),
            confidence=confidence,
        )

    def most_confident(self, *, correct: bool) -> list[int]:
        """Returns the rows that are correct, or wrong, most confident first.

        Rows of equal confidence are in the order of their ids.
        """
        right = self.guesses == self.samples.labels
        rows = np.flatnonzero(right == correct).tolist()
        ids = self.samples.ids
        return sorted(rows, key=lambda row: (-self.confidence[row], ids[row]))

    def pairs(self) -> list[tuple[int | None, int | None]]:
        """Returns wrong and right rows of the same class, at most four pairs.

        A pair is a mistake of a class and the correct prediction of the same
        rank; None if there are fewer. First is the most confident one of each
        class with a mistake, then of the other classes; then the second ones.
        """
        labels = self.samples.labels
        wrong: dict[int, list[int]] = {}
        for row in self.most_confident(correct=False):
            wrong.setdefault(int(labels[row]), []).append(row)
        right: dict[int, list[int]] = {}
        for row in self.most_confident(correct=True):
            right.setdefault(int(labels[row]), []).append(row)
        classes = list(dict.fromkeys([*wrong, *right]))
        found = [
            (_at(wrong.get(label, []), rank), _at(right.get(label, []), rank))
            for rank in range(PAIRS)
            for label in classes
        ]
        return [pair for pair in found if pair != (None, None)][:PAIRS]


def _at(rows: Sequence[int], rank: int) -> int | None:
    return rows[rank] if rank < len(rows) else None


class ExampleReader:
    """Reads the images of examples, as the classifier sees them."""

    def __init__(
        self,
        predicted: Predicted,
        class_names: Sequence[str],
        *,
        image_px: int,
        rendering: Rendering,
    ) -> None:
        """Creates the reader.

        Args:
          predicted: the predictions.
          class_names: in the order of the labels.
          image_px: side of the images.
          rendering: how they are decoded and resized.
        """
        self._predicted = predicted
        self._names = class_names
        self._image_px = image_px
        self._rendering = rendering
        # A mistake may be shown twice.
        self._read: dict[int, np.ndarray] = {}

    def mistakes(self) -> list[dict[str, Any]]:
        """Returns the most confident mistakes, with their images."""
        rows = self._predicted.most_confident(correct=False)[:MISTAKES]
        return [
            {**self._facts(row), "image": data_uri(self._pixels(row))}
            for row in rows
        ]

    def activations(self, classifier: Classifier) -> list[list[dict[str, Any]]]:
        """Returns examples with their class activation maps.

        Args:
          classifier: has the weights of the predictions.

        Returns:
          Wrong and right examples, pair by pair.
        """
        pairs = [
            [row for row in pair if row is not None]
            for pair in self._predicted.pairs()
        ]
        rows = [row for pair in pairs for row in pair]
        labels = [list(dict.fromkeys(self._classes(row))) for row in rows]
        pixels = np.stack([self._pixels(row) for row in rows])
        maps = class_activations(classifier, pixels, labels)
        found = {
            row: self._with_maps(row, of, own)
            for row, of, own in zip(rows, labels, maps, strict=True)
        }
        return [[found[row] for row in pair] for pair in pairs]

    def _with_maps(
        self, row: int, labels: Sequence[int], maps: np.ndarray
    ) -> dict[str, Any]:
        pixels = self._pixels(row)
        return {
            **self._facts(row),
            "image": data_uri(pixels),
            "maps": [
                (self._names[label], data_uri(overlaid(pixels, found)))
                for label, found in zip(labels, maps, strict=True)
            ],
        }

    def _classes(self, row: int) -> tuple[int, int]:
        """Returns the predicted and the true class."""
        true = self._predicted.samples.labels[row]
        return int(self._predicted.guesses[row]), int(true)

    def _facts(self, row: int) -> dict[str, Any]:
        guess, true = self._classes(row)
        return {
            "id": self._predicted.samples.ids[row],
            "true": self._names[true],
            "predicted": self._names[guess],
            "confidence": float(self._predicted.confidence[row]),
            "correct": guess == true,
        }

    def _pixels(self, row: int) -> np.ndarray:
        """Returns float32 (px, px, 3) in 0..255.

        Raises:
          OSError, tf.errors.OpError: the image cannot be read any more.
        """
        if row not in self._read:
            encoded = read_encoded_image(self._predicted.samples, row)
            with native_notes_hidden():
                # Eagerly, because tracing takes longer than all these images.
                image = render(
                    tf.constant(encoded or b""), self._image_px, self._rendering
                )
            self._read[row] = image.numpy()
        return self._read[row]
