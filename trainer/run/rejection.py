"""The threshold of `--reject=auto`, from the photos of the run."""

from __future__ import annotations

import contextlib
import dataclasses
import sys

import numpy as np

from trainer.data.manifest import Manifest
from trainer.data.samples import Samples
from trainer.errors import TrainerError, UsageError, counted, one_line
from trainer.learning.head_features import head_features
from trainer.model.freeze import freeze_plan, set_trainable
from trainer.results.novelty import KEPT, Novelty, fit_novelty
from trainer.results.progress import ConsoleProgress
from trainer.run.prepare import read_manifest
from trainer.run.trained import Trained, open_fast_paths, with_data
from trainer.workdir import MANIFEST


def without_head(trained: Trained) -> Trained:
    """Returns the classifier with a plan whose trunk ends before the head."""
    plan = freeze_plan(trained.classifier, "none")
    set_trainable(trained.classifier, plan)
    return dataclasses.replace(trained, plan=plan)


def fitted_novelty(trained: Trained, given: frozenset[str]) -> Novelty:
    """Compares the run's training and validation photos.

    Args:
      trained: from `without_head`.
      given: names of the flags given explicitly.

    Raises:
      UsageError: an image may have several labels, or the run's photos are no
        longer there.
      TrainerError: the photos have changed since the run.
    """
    if trained.classifier.multilabel:
        raise UsageError(
            "--reject=auto: not possible with a run whose images have several"
            " labels; leave it out"
        )
    # Standard output may be the CSV file.
    with contextlib.redirect_stdout(sys.stderr):
        manifest = _manifest(trained, given)
        total = len(manifest.train) + len(manifest.validation)
        _, inputs = open_fast_paths(trained, images=total)

        def features(samples: Samples) -> np.ndarray:
            return head_features(
                samples,
                trained.classifier,
                inputs.evaluation(samples, again=False),
                batch_size=trained.run.batch_size,
                xla=trained.runtime.xla,
                report=ConsoleProgress(total).rows,
            )

        found = fit_novelty(
            features(manifest.train), features(manifest.validation)
        )
        count = counted(len(manifest.validation), "validation photo")
        of = " of the test split" if manifest.validation_from_test else ""
        print(
            f"--reject=auto: {100 * KEPT:.0f} % of {count}{of} have at least"
            f" similarity {found.threshold:.4f} to training photos"
        )
    return found


def _manifest(trained: Trained, given: frozenset[str]) -> Manifest:
    """Returns the run's own photos."""
    stored = trained.workdir.read_json(MANIFEST) or {}
    run = trained.run
    if "dataset" not in given:
        # Prints where the photos are, or says that they are gone.
        run = with_data(trained, given).run
    manifest = read_manifest(run, dict(stored))
    if manifest.fingerprint != stored.get("fingerprint"):
        raise TrainerError(
            f"--reject=auto: the photos in {one_line(run.dataset)} are not"
            " those of the run; give these as --dataset=FOLDER, or leave"
            " --reject out"
        )
    return manifest
