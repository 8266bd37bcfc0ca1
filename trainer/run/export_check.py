"""Runs each model of an export in its own process, on the run's images."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from trainer.config.fields import NONE, TFLITE
from trainer.errors import TrainerError
from trainer.model.classifier import Classifier
from trainer.results.export import Formats
from trainer.results.export_files import MODELS
from trainer.results.format_check import (
    Measured,
    Measurement,
    accuracy_of,
    agreement_of,
    check_float,
    check_quantized,
    largest_difference,
)
from trainer.results.format_runners import FormatJob
from trainer.run import apart
from trainer.storage import folders

_BATCH = 32


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FormatCheck:
    """The original, and the images on which exported models are compared.

    Attributes:
      classifier: the original.
      flip: whether predictions average an image with its mirror image.
      thresholds: of each class; None if an image has one label.
      pixels: uint8 (n, px, px, 3).
      labels: of these images; None if they are generated.
      of_images: number of images in the split; None if they are generated.
      split: name of the split.
      force: whether a quantized model may lose any accuracy.
      warn: called with the text of a warning.
    """

    classifier: Classifier
    flip: bool
    thresholds: np.ndarray | None
    pixels: np.ndarray
    labels: np.ndarray | None
    of_images: int | None
    split: str
    force: bool
    warn: Callable[[str], None]

    def measure(self, folder: str, formats: Formats) -> Measurement:
        """Runs all models, and checks their answers.

        Args:
          folder: the folder of the export.
          formats: the models in it.

        Raises:
          TrainerError: a model cannot be loaded, or its answers differ.
        """
        own = self._own()
        with tempfile.TemporaryDirectory() as held:
            images = os.path.join(held, "images.npy")
            np.save(images, self.pixels)
            found = tuple(
                self._measured(folder, name, formats, images, own)
                for name in formats.names
            )
        several = self.thresholds is not None
        return Measurement(
            metric="exact match" if several else "accuracy",
            accuracy=self._accuracy(own),
            images=len(self.pixels),
            of_images=self.of_images,
            split=self.split,
            formats=found,
        )

    def _own(self) -> np.ndarray:
        """Returns the original's probabilities, float32 (n, classes)."""
        compute = tf.function(
            lambda images: self.classifier.probabilities(
                images, flip=self.flip
            ),
            autograph=False,
        )
        return np.concatenate(
            [
                compute(tf.constant(block.astype(np.float32))).numpy()
                for block in np.split(
                    self.pixels, range(_BATCH, len(self.pixels), _BATCH)
                )
            ]
        )

    def _measured(
        self,
        folder: str,
        name: str,
        formats: Formats,
        images: str,
        own: np.ndarray,
    ) -> Measured:
        path = f"{folder}/{MODELS[name]}"
        answers = os.path.join(os.path.dirname(images), f"{name}.npy")
        job = FormatJob(name, path, images, answers)
        try:
            said = apart.ask("trainer.run.format_process", job)
        except TrainerError as error:
            raise TrainerError(
                f"--export_formats: {name} cannot be loaded again ({error});"
                f" nothing was exported; leave {name} out"
            ) from error
        found = np.load(answers)
        quantize = formats.quantize if name == TFLITE else NONE
        measured = Measured(
            name=name,
            file=MODELS[name],
            quantize=quantize,
            size_bytes=_size(path),
            milliseconds=said["milliseconds"],
            runtime=said["runtime"],
            accuracy=self._accuracy(found),
            agreement=agreement_of(own, found, self.thresholds),
            largest_difference=largest_difference(own, found),
        )
        self._check(measured, own, found)
        return measured

    def _accuracy(self, probabilities: np.ndarray) -> float | None:
        if self.labels is None:
            return None
        return accuracy_of(probabilities, self.labels, self.thresholds)

    def _check(
        self, measured: Measured, own: np.ndarray, found: np.ndarray
    ) -> None:
        if measured.quantize == NONE:
            check_float(measured.name, own, found, self.thresholds)
            return
        warning = check_quantized(
            measured.title,
            (self._accuracy(own), measured.accuracy),
            measured.largest_difference,
            force=self.force,
        )
        if warning:
            self.warn(warning)


def _size(path: str) -> int:
    if os.path.isfile(path):
        return os.path.getsize(path)
    names = folders.files_below(path)
    return sum(os.path.getsize(os.path.join(path, name)) for name in names)
