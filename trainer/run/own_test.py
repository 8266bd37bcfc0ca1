"""Writes predictions.csv again when a finished run is evaluated again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.config.fields import OFF
from trainer.data.manifest import WHOLE_FOLDER, Manifest
from trainer.errors import TrainerError
from trainer.results.escaping import for_terminal
from trainer.results.evaluation import Evaluation
from trainer.results.multilabel import MultilabelEvaluation
from trainer.results.predictions_file import write_predictions
from trainer.run.trained import Trained
from trainer.workdir import MANIFEST, PREDICTIONS, RESULT
from trainer.workdir.stored import TestedSample, tested_samples


def why_not_own_test(
    trained: Trained, manifest: Manifest, stored: Mapping[str, Any]
) -> str:
    """Returns why an evaluation is not the final one of the run; "" if it is.

    It is if the run is finished, its result is of the checkpoint, and the test
    samples are the run's own, unchanged. Only then its predictions are those
    of predictions.csv.

    Args:
      trained: the trained classifier.
      manifest: the manifest of the data to evaluate on.
      stored: the JSON of the run's manifest, or {}.
    """
    why = _why_not(trained, manifest, stored)
    # All processes must agree, because they evaluate together.
    own = bool(trained.runtime.processes.chief_value(float(not why)))
    return "" if own else why or "the processes see different files"


def _why_not(
    trained: Trained, manifest: Manifest, stored: Mapping[str, Any]
) -> str:
    workdir, final = trained.workdir, manifest.final
    if manifest.final_split == WHOLE_FOLDER:
        return "these are not the images that the run was tested on"
    try:
        result = workdir.read_json(RESULT) or {}
        earlier = tested_samples(
            workdir.file(MANIFEST), stored, manifest.final_split
        )
    except TrainerError as error:
        return str(error)
    if result.get("stage") != trained.stage:
        return "the run is not finished"
    # An earlier version had no checkpoint but the last as its result.
    which = result.get("result_checkpoint", "last")
    if trained.which != which:
        return (
            f"--checkpoint={trained.which} is not the checkpoint of the run's"
            " result"
        )
    # An earlier version tested without it.
    if trained.run.tta != result.get("tta", OFF):
        return f"the run was not tested with --tta={trained.run.tta}"
    if trained.step != result.get("result_step", result.get("steps")):
        return "the run is not finished"
    samples = map(TestedSample, final.label_values(), final.digests)
    if earlier != dict(zip(final.ids, samples, strict=True)):
        return "these are not the images that the run was tested on"
    return ""


def refresh_predictions(
    trained: Trained,
    manifest: Manifest,
    evaluation: Evaluation | MultilabelEvaluation,
    why_not: str,
) -> None:
    """Writes predictions.csv, or prints why not.

    Args:
      trained: the trained classifier.
      manifest: the manifest of the data.
      evaluation: with outputs, if `why_not` is empty.
      why_not: from `why_not_own_test`.

    Raises:
      OSError: the file cannot be written.
    """
    if why_not:
        print(f"{PREDICTIONS}: not written, because {for_terminal(why_not)}")
        return
    workdir = trained.workdir
    write_predictions(workdir, manifest.final, evaluation)
    print(f"predictions: {for_terminal(workdir.file(PREDICTIONS))}")
