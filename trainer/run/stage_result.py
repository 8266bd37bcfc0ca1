"""The results of a stage, for its marker and for result.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from trainer.config import Config, StageSpec
from trainer.config.fields import ACCURACY, FEATURE_EXTRACT
from trainer.data.changes import changed_files, changes_warning
from trainer.data.manifest import Manifest
from trainer.learning.stage import StageOutcome
from trainer.learning.start import stage_marker
from trainer.model.freeze import FreezePlan
from trainer.results.statistics import wilson_interval
from trainer.workdir import Workdir

# The fields of an earlier stage that result.json repeats.
_EARLIER = (
    "stage",
    "unfreeze",
    "epochs",
    "steps",
    "test_loss",
    "test_examples",
    "test_accuracy",
    "test_accuracy_interval",
    "test_map",
    "test_micro_f1",
    "train_seconds",
    "result_checkpoint",
    "result_step",
    "stopped_early",
)


def stage_result(
    config: Config,
    workdir: Workdir,
    manifest: Manifest,
    spec: StageSpec,
    plan: FreezePlan,
    outcome: StageOutcome,
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns the stage's part of result.json.

    It warns if files of the data have changed during the run.

    Args:
      config: the configuration of the run.
      workdir: the workdir of the run.
      manifest: the samples of each split.
      spec: the settings of the stage.
      plan: what the stage trained.
      outcome: how the stage ended.
      metrics: of the final samples, under the keys of result.json.
    """
    result = {
        "stage": spec.stage,
        "backbone": config.backbone,
        "dataset": manifest.name,
        "classes": list(manifest.class_names),
        "train_examples": len(manifest.train),
        "epochs": spec.epochs,
        "learning_rate": None if spec.solved else spec.learning_rate,
        "steps": outcome.step,
        "final_split": manifest.final_split,
        "tta": config.tta,
        **metrics,
        "validation_examples": len(manifest.validation),
        "validation_from_test": manifest.validation_from_test,
        "validation_source": manifest.validation_source,
        **outcome.to_json(),
        **_interval(outcome, manifest),
        "total_params": plan.total_params,
        "trainable_params": plan.trainable_params,
        "train_seconds": round(outcome.seconds, 3),
        "audit": dataclasses.asdict(outcome.audit),
    }
    changed = changed_files(manifest) if workdir.writes else []
    if changed:
        workdir.warn(changes_warning(changed))
        result["changed_files"] = changed
    if spec.part:
        result["unfreeze"] = spec.unfreeze
    earlier = _earlier_stages(config, workdir, spec.stage)
    if earlier:
        result["earlier_stages"] = earlier
    return result


def _interval(outcome: StageOutcome, manifest: Manifest) -> dict[str, Any]:
    """Returns the interval of the best validation accuracy, if there is one."""
    if ACCURACY not in outcome.best:
        return {}
    low, high = wilson_interval(
        outcome.best[ACCURACY], len(manifest.validation)
    )
    return {"best_validation_accuracy_interval": [low, high]}


def _earlier_stages(
    config: Config, workdir: Workdir, stage: str
) -> list[dict[str, Any]]:
    """Returns what result.json repeats about earlier stages."""
    names = (FEATURE_EXTRACT, *config.finetune_parts)
    markers = [
        workdir.read_json(stage_marker(name))
        for name in names[: names.index(stage)]
    ]
    # Markers of earlier versions lack some fields.
    return [
        {key: marker[key] for key in _EARLIER if key in marker}
        for marker in markers
        if marker is not None
    ]
