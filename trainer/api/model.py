"""The classifier of a run, for predictions."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.api.flags import Config
from trainer.api.quiet import interruptible, quiet
from trainer.config.fields import OFF, PREDICT
from trainer.native_logs import native_notes_hidden
from trainer.native_memory import long_lived_imports
from trainer.run.early import check_paths

if TYPE_CHECKING:
    from trainer.results.novelty import Novelty
    from trainer.results.predict import Decide
    from trainer.run.trained import Trained


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction for one file.

    Attributes:
      path: as given.
      probabilities: float32 (classes,), in the order of `Model.class_names`;
        None if the file cannot be read. They sum to 1, unless an image may
        have several labels.
      labels: the most probable class; or, if an image may have several labels,
        those whose probability reaches their threshold.
      error: why the file cannot be read; empty if it can.
      decision: accepted, unsure or unlike, if the model was loaded with
        `min_confidence` or `reject`; else empty.
    """

    path: str
    probabilities: np.ndarray | None
    labels: tuple[str, ...]
    error: str
    decision: str

    @property
    def label(self) -> str | None:
        """The only or first label; None without any."""
        return self.labels[0] if self.labels else None

    @property
    def probability(self) -> float | None:
        """The largest probability; None if the file cannot be read."""
        if self.probabilities is None:
            return None
        return float(self.probabilities.max())


class Model:
    """The classifier of a run.

    Attributes:
      class_names: in the order of the probabilities.
      workdir: of the run.
    """

    def __init__(
        self, trained: Trained, decide: Decide | None, novelty: Novelty | None
    ) -> None:
        """Wraps a trained classifier; `trainer.load` calls this."""
        self._trained = trained
        self._decide = decide
        self._novelty = novelty
        self.class_names = trained.class_names
        self.workdir = trained.workdir.path

    def predict(
        self, paths: Iterable[str | os.PathLike[str]]
    ) -> list[Prediction]:
        """Returns a prediction for each file, in order.

        Args:
          paths: of images; a file that cannot be read gets an error.
        """
        from trainer.run.label_thresholds import trained_thresholds
        from trainer.run.use import file_predictor

        given = [os.fspath(path) for path in paths]
        if not given:
            return []
        trained = self._trained
        several = trained.classifier.multilabel
        thresholds = trained_thresholds(trained) if several else None
        with quiet(verbose=False), interruptible(), native_notes_hidden():
            predictor = file_predictor(trained, len(given), self._novelty)
            found = list(predictor.predict(given))
        return [
            Prediction(
                path=path,
                probabilities=prediction.probabilities,
                labels=self._labels(prediction.probabilities, thresholds),
                error=prediction.error,
                decision=self._decide(prediction) if self._decide else "",
            )
            for path, prediction in zip(given, found, strict=True)
        ]

    def _labels(
        self, probabilities: np.ndarray | None, thresholds: np.ndarray | None
    ) -> tuple[str, ...]:
        if probabilities is None:
            return ()
        if thresholds is None:
            return (self.class_names[int(probabilities.argmax())],)
        hits = np.flatnonzero(probabilities >= thresholds)
        return tuple(self.class_names[hit] for hit in hits)


def load(workdir: str | os.PathLike[str], **flags: Any) -> Model:
    """Loads the classifier of a run, to predict with it.

    Args:
      workdir: of the run.
      **flags: of `--stage=predict`, such as `checkpoint` or `tta`.

    Raises:
      UsageError: a flag is invalid, or the folder does not exist.
      TrainerError: the run cannot be used.
    """
    # The files are given later; "-" is a legal value that names none.
    config = Config(stage=PREDICT, workdir=workdir, inputs="-", **flags)
    check_paths(config.values)
    with quiet(verbose=False), interruptible():
        with native_notes_hidden(), long_lived_imports():
            from trainer.run.prediction_rows import decision
            from trainer.run.rejection import fitted_novelty, without_head
            from trainer.run.trained import open_trained
        trained = open_trained(config.values, config.given)
        novelty = None
        if config.values.reject != OFF:
            trained = without_head(trained)
            novelty = fitted_novelty(trained, config.given)
        return Model(trained, decision(config.values), novelty)
