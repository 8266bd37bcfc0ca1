"""Compares exported models with the original, on the same images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from trainer.errors import TrainerError

# Largest accepted difference of a probability of a float32 model: other
# libraries sum in other orders. 1e-4 was measured on an untrained network.
MAX_DIFFERENCE = 1e-3
# A float32 model may choose another class only if the original's probabilities
# of the two are this close.
_TIE = 1e-4
# Accuracy that a quantized model may lose, in points of 100: more than the
# first is a warning, more than the second an error.
WARN_POINTS, FAIL_POINTS = 2.0, 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """A model of an export, loaded again in its own process.

    Attributes:
      name: of the format.
      file: name of the file or folder below the export.
      quantize: its number format; "none" for float32.
      size_bytes: of the file, or of all files in the folder.
      milliseconds: per image, given one at a time.
      runtime: the library that ran it, with its version.
      accuracy: share of images classified correctly; with several labels per
        image, share of those whose labels are all correct. None if the run's
        images cannot be read.
      agreement: share of images with the original's answer.
      largest_difference: of a probability from the original's.
    """

    name: str
    file: str
    quantize: str
    size_bytes: int
    milliseconds: float
    runtime: str
    accuracy: float | None
    agreement: float
    largest_difference: float

    @property
    def megabytes(self) -> float:
        """The size in MB of 1,000,000 bytes."""
        return self.size_bytes / 1e6

    @property
    def title(self) -> str:
        """The format, with its number format unless that is float32."""
        return self.name + f" {self.quantize}" * (self.quantize != "none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """All formats of an export beside the original.

    Attributes:
      metric: "accuracy", or "exact match" with several labels per image.
      accuracy: the original's; None if the run's images cannot be read.
      images: number of images.
      of_images: number of images in the split; None if they are generated.
      split: name of the split.
      formats: the models.
    """

    metric: str
    accuracy: float | None
    images: int
    of_images: int | None
    split: str
    formats: tuple[Measured, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the fields of export.json."""
        return {
            "measured_metric": self.metric,
            "measured_images": self.images,
            "measured_of": self.of_images,
            "original_accuracy": self.accuracy,
            "formats": {
                found.name: {
                    **dataclasses.asdict(found),
                    "megabytes": round(found.megabytes, 3),
                }
                for found in self.formats
            },
        }

    def on_what(self) -> str:
        """Returns the images of the measurement, as a phrase."""
        if self.of_images is None:
            return f"{self.images} generated images, so without accuracy"
        of = f" of {self.of_images:,}" * (self.of_images != self.images)
        return f"{self.images:,}{of} images of the {self.split} split"

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yields the cells of a table, the first row its head."""
        yield ("format", self.metric, "agrees", "MB", "ms/image", "loaded by")
        if self.accuracy is not None:
            yield ("original", _share(self.accuracy), "", "", "", "")
        for found in self.formats:
            yield (
                found.title,
                _share(found.accuracy),
                _share(found.agreement),
                f"{found.megabytes:.1f}",
                f"{found.milliseconds:.1f}",
                found.runtime,
            )

    def lines(self) -> Iterator[str]:
        """Yields the lines of a table for a terminal."""
        rows = list(self.rows())
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        yield f"  on {self.on_what()}:"
        for row in rows:
            cells = [
                cell.ljust(width) if place in (0, 5) else cell.rjust(width)
                for place, (cell, width) in enumerate(
                    zip(row, widths, strict=True)
                )
            ]
            yield f"  {'  '.join(cells)}".rstrip()


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.4f}"


def answers(
    probabilities: np.ndarray, thresholds: np.ndarray | None
) -> np.ndarray:
    """Returns the class of each image, or which labels it has.

    Args:
      probabilities: float32 (n, classes).
      thresholds: of each class; None if an image has one label.

    Returns:
      int (n, 1), or bool (n, classes).
    """
    if thresholds is None:
        return probabilities.argmax(axis=1)[:, np.newaxis]
    return probabilities >= thresholds


def accuracy_of(
    probabilities: np.ndarray,
    labels: np.ndarray,
    thresholds: np.ndarray | None,
) -> float:
    """Returns the share of images whose answer is the true one.

    Args:
      probabilities: float32 (n, classes).
      labels: int (n,), or 0 and 1 (n, classes).
      thresholds: see `answers`.
    """
    true = labels.reshape(len(labels), -1)
    return float((answers(probabilities, thresholds) == true).all(1).mean())


def agreement_of(
    own: np.ndarray, found: np.ndarray, thresholds: np.ndarray | None
) -> float:
    """Returns the share of images with the same answer of both models."""
    same = answers(own, thresholds) == answers(found, thresholds)
    return float(same.all(axis=1).mean())


def check_float(
    name: str,
    own: np.ndarray,
    found: np.ndarray,
    thresholds: np.ndarray | None,
) -> None:
    """Checks that a float32 model gives the original's answer to every image.

    Raises:
      TrainerError: it gives another answer that is not a tie, or a probability
        that differs by more than MAX_DIFFERENCE.
    """
    difference = largest_difference(own, found)
    # A comparison with NaN is false.
    if not difference <= MAX_DIFFERENCE:
        raise TrainerError(
            f"--export_formats: {name} does not give this trainer's predictions"
            f" (largest difference of a probability {difference:.3g}; allowed:"
            f" {MAX_DIFFERENCE:g}); nothing was exported; leave {name} out"
        )
    others = int(_differs(own, found, thresholds).sum())
    if others:
        raise TrainerError(
            f"--export_formats: {name} classifies {others} of {len(own)} images"
            f" differently from this trainer; nothing was exported; leave"
            f" {name} out"
        )


def _differs(
    own: np.ndarray, found: np.ndarray, thresholds: np.ndarray | None
) -> np.ndarray:
    """Returns which images have another answer that is not a tie, bool (n,)."""
    if thresholds is None:
        rows = np.arange(len(own))
        gap = own[rows, own.argmax(1)] - own[rows, found.argmax(1)]
        return gap > _TIE
    other = (own >= thresholds) != (found >= thresholds)
    return (other & (np.abs(own - thresholds) > _TIE)).any(axis=1)


def largest_difference(own: np.ndarray, found: np.ndarray) -> float:
    """Returns the largest difference; NaN if a probability is NaN."""
    return float(np.abs(own - found).max())


def check_quantized(
    title: str,
    accuracies: tuple[float | None, float | None],
    difference: float,
    *,
    force: bool,
) -> str | None:
    """Checks the accuracy of a quantized model.

    Args:
      title: of the model.
      accuracies: the original's and the model's; None if they are unknown.
      difference: the largest difference of a probability; not finite if the
        model is broken.
      force: whether any loss of accuracy is accepted.

    Returns:
      A warning, or None.

    Raises:
      TrainerError: the model gives NaN, or loses more than FAIL_POINTS.
    """
    if not np.isfinite(difference):
        raise TrainerError(
            f"--export_formats: {title} gives probabilities that are not"
            " numbers; nothing was exported; give another --quantize"
        )
    before, after = accuracies
    if before is None or after is None:
        return None
    # Without the rounding, 0.9 - 0.8 is more than 10 points.
    points = round(100 * (before - after), 6)
    lost = (
        f"{title} loses {points:.1f} points of accuracy ({before:.4f} to"
        f" {after:.4f})"
    )
    if points > FAIL_POINTS and not force:
        raise TrainerError(
            f"--quantize: {lost}, more than {FAIL_POINTS:g}; nothing was"
            " exported; give --quantize=float16 or none, or --force to export"
            " it anyway"
        )
    return lost if points > WARN_POINTS else None
