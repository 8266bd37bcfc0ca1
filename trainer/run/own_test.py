"""Decides whether an evaluation is the final one of a run, done again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.data.manifest import Manifest
from trainer.errors import TrainerError
from trainer.run.trained import Trained
from trainer.workdir import MANIFEST, RESULT
from trainer.workdir.stored import TestedSample, tested_samples


def is_own_test(
    trained: Trained, manifest: Manifest, stored: Mapping[str, Any]
) -> bool:
    """Returns whether predictions of the manifest are those of predictions.csv.

    They are if the run is finished, the checkpoint is its last, and the test
    samples are the run's own, unchanged.

    Args:
      trained: the trained classifier.
      manifest: the manifest of the data to evaluate on.
      stored: the JSON of the run's manifest, or {}.
    """
    # All processes must agree, because they evaluate together.
    own = _is_own_test(trained, manifest, stored)
    return bool(trained.runtime.processes.chief_value(float(own)))


def _is_own_test(
    trained: Trained, manifest: Manifest, stored: Mapping[str, Any]
) -> bool:
    workdir, final = trained.workdir, manifest.final
    try:
        result = workdir.read_json(RESULT) or {}
        earlier = tested_samples(
            workdir.file(MANIFEST), stored, manifest.final_split
        )
    except TrainerError:
        return False
    if (result.get("stage"), result.get("steps"), trained.which) != (
        trained.stage,
        trained.step,
        "last",
    ):
        return False
    samples = map(TestedSample, final.labels.tolist(), final.digests)
    return earlier == dict(zip(final.ids, samples, strict=True))
