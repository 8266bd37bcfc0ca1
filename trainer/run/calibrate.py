"""The temperature of a run: fitted at its end, read when it is used."""

from __future__ import annotations

from typing import Any

from trainer.config.fields import LAST, OFF
from trainer.data.manifest import UNTESTED, Manifest
from trainer.data.samples import Samples
from trainer.errors import TrainerError
from trainer.results.calibration import (
    MIN_EXAMPLES,
    Calibration,
    fit_temperature,
)
from trainer.results.evaluate import Evaluator
from trainer.results.evaluation import Evaluation
from trainer.results.multilabel import MultilabelEvaluation
from trainer.results.scores import score_metrics
from trainer.run.trained import Trained
from trainer.workdir import RESULT


def final_metrics(
    manifest: Manifest,
    evaluator: Evaluator,
    evaluation: Evaluation | MultilabelEvaluation,
) -> dict[str, Any]:
    """Returns the metrics of a finished run, for result.json.

    All processes must call it, because they evaluate together.

    Args:
      manifest: the samples of the run.
      evaluator: of the final classifier, as it is tested.
      evaluation: of the final samples, with outputs.
    """
    if isinstance(evaluation, MultilabelEvaluation):
        return evaluation.to_json()
    return with_scores(manifest.final, evaluation, _fitted(manifest, evaluator))


def _fitted(manifest: Manifest, evaluator: Evaluator) -> Calibration:
    """Fits the temperature on the validation samples."""
    if manifest.final_split == UNTESTED or manifest.validates_on_final:
        return Calibration(
            why_not="the validation images are those of the test"
        )
    samples = manifest.validation
    if len(samples) < MIN_EXAMPLES:
        return Calibration(
            why_not=f"there are only {len(samples)} validation images;"
            f" {MIN_EXAMPLES} are needed"
        )
    found = evaluator.evaluate(samples, outputs=True)
    assert found.outputs is not None
    return fit_temperature(found.outputs, samples.labels)


def with_scores(
    samples: Samples,
    evaluation: Evaluation | MultilabelEvaluation,
    calibration: Calibration,
) -> dict[str, Any]:
    """Returns all metrics, under the keys of result.json.

    Args:
      samples: those of the evaluation.
      evaluation: with outputs.
      calibration: the temperature of the run; not used if an image may have
        several labels.
    """
    if isinstance(evaluation, MultilabelEvaluation):
        return evaluation.to_json()
    assert evaluation.outputs is not None
    return {
        **evaluation.to_json(),
        "calibration": calibration.to_json(),
        **score_metrics(
            samples.labels,
            evaluation.outputs,
            evaluation.class_names,
            calibration,
        ),
    }


def stored_calibration(trained: Trained) -> Calibration:
    """Returns the temperature in result.json, if it is of these weights.

    It is of the checkpoint that the result is of, with the same --tta.
    """
    if trained.classifier.multilabel:
        return Calibration(why_not="an image may have several labels")
    try:
        result = trained.workdir.read_json(RESULT) or {}
    except TrainerError as error:
        return Calibration(why_not=str(error))
    stored = result.get("calibration")
    if stored is None:
        return Calibration(why_not="the run has stored none")
    calibration = Calibration.from_json(stored)
    if not calibration.fitted:
        return calibration
    own = (trained.stage, trained.which, trained.step, trained.run.tta)
    of_result = (
        result["stage"],
        result.get("result_checkpoint", LAST),
        result.get("result_step", result["steps"]),
        result.get("tta", OFF),
    )
    if own != of_result:
        return Calibration(
            why_not="it was fitted on another checkpoint or another --tta"
        )
    return calibration
