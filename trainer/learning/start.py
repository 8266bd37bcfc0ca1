"""Finds where a run begins: its remaining stages, and its first weights."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from trainer.config import Config, ResolvedConfig, StageSpec
from trainer.config.fields import FEATURE_EXTRACT, FINETUNE, SINGLE
from trainer.errors import TrainerError
from trainer.learning.checkpoint_files import (
    BEST,
    LAST,
    checkpoint_step,
    find_checkpoint,
)
from trainer.storage import files
from trainer.workdir import CONFIG, MANIFEST, RESULT, Workdir
from trainer.workdir.folds import check_no_folds

_PART_FOLDER = re.compile(rf"{FINETUNE}-([1-9][0-9]{{0,6}})")


def stage_marker(stage: str) -> str:
    """Returns the name of the workdir file that marks a stage as finished."""
    return f"checkpoints/{stage}/result.json"


def stages_backwards(workdir: Workdir) -> list[str]:
    """Returns the stages that may have checkpoints in a workdir, latest first.

    The parts of a finetune run are found by their folders, so no configuration
    is needed.
    """
    folders = files.names(workdir.file("checkpoints"))
    matches = filter(None, map(_PART_FOLDER.fullmatch, folders))
    parts = sorted(matches, key=lambda match: int(match[1]), reverse=True)
    return [*(match[0] for match in parts), FINETUNE, FEATURE_EXTRACT]


def result_checkpoint(workdir: Workdir, stage: str) -> str:
    """Returns the checkpoint that the result of a stage is of: last or best.

    A stage without a result, and one of an earlier version, has "last".
    """
    marker = workdir.read_json(stage_marker(stage)) or {}
    return BEST if marker.get("result_checkpoint") == BEST else LAST


def _is_finished(marker: Mapping[str, Any], epochs: int) -> bool:
    """Returns whether a stage is finished.

    More epochs would not continue a stage that ended early: from its beginning,
    with as many, it would have ended there too.

    Args:
      marker: the result of the stage.
      epochs: the epochs that are asked for now.
    """
    return marker["epochs"] >= epochs or "stopped_early" in marker


def finished_stage(workdir: Workdir, config: Config) -> dict[str, Any] | None:
    """Returns the result of the run; None if its last stage is not finished.

    Raises:
      TrainerError: `--epochs` has increased for a feature_extract, but a
        finetune in the same workdir has already started from it.
    """
    marker = workdir.read_json(stage_marker(config.last_stage))
    followed = config.stage == FEATURE_EXTRACT and any(
        find_checkpoint(workdir, stage, LAST)
        for stage in stages_backwards(workdir)[:-1]
    )
    if marker is None:
        return None
    if _is_finished(marker, config.last_epochs):
        # A kill between the marker and result.json leaves the run unfinished.
        return marker if followed or workdir.read_json(RESULT) else None
    if followed:
        raise TrainerError(
            f"--epochs={config.epochs}: the feature_extract in"
            f" {workdir.path} is complete after {marker['epochs']}, and the"
            " finetune there has started from it; give another --workdir"
        )
    return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """The start of a run.

    Attributes:
      stages: the stages to train, in order.
      checkpoint: the prefix of the checkpoint with the weights of the first
        stage; None if that stage resumes, or starts from the backbone's weights
        and a new head.
      start_step: the absolute step at which the first stage begins, unless it
        resumes.
      metrics_position: number of bytes of metrics.jsonl to keep; None if the
        stage resumes, because its checkpoint has the number.
      fresh: whether the backbone's weights must be loaded.
      warm: whether `checkpoint` is of another run.
      why: one line for the user.
    """

    stages: tuple[StageSpec, ...]
    checkpoint: str | None = None
    start_step: int = 0
    metrics_position: int | None = None
    fresh: bool = False
    warm: bool = False
    why: str


def find_start(workdir: Workdir, config: ResolvedConfig) -> Start:
    """Finds where a run starts. The first rule that applies is used.

    (1) If the workdir has checkpoints of this stage, of one of its parts, or of
        the feature_extract stage of this finetune run, resume from the latest.
    (2) If the stage is finetune and the workdir has a complete feature_extract
        run, start from its weights.
    (3) If `--init_from` is given, start from the weights of that run.
    (4) If the stage is finetune, train feature_extract first, in the same run.
    (5) Start from `--weights` for the backbone, and a new head.

    Args:
      workdir: the workdir of the run.
      config: the configuration of the run.

    Raises:
      UsageError: the workdir of `--init_from` does not exist.
      TrainerError: the feature_extract in the workdir is incomplete.
    """
    specs, own = config.stages(), config.own_stages()
    runs = (workdir.read_json(CONFIG) or {}).get("runs", {})
    follows = config.stage == FINETUNE and FEATURE_EXTRACT in runs
    for spec in reversed(own if follows else specs):
        path = find_checkpoint(workdir, spec.stage, "last")
        if path is not None:
            return Start(
                stages=specs[specs.index(spec) :],
                why=f"resume {spec.stage} from step {checkpoint_step(path)}",
            )
    if follows:
        return _after_feature_extract(workdir, config)
    if config.init_from:
        stage, path = warm_start(Workdir(config.init_from), config)
        return Start(
            stages=own,
            checkpoint=path,
            metrics_position=0,
            warm=True,
            why=f"warm start from {stage} of {config.init_from}",
        )
    why = f"start from --weights={config.weights} with a fresh head"
    return Start(stages=specs, metrics_position=0, fresh=True, why=why)


def _after_feature_extract(workdir: Workdir, config: ResolvedConfig) -> Start:
    marker = workdir.read_json(stage_marker(FEATURE_EXTRACT))
    which = config.init_from_checkpoint or result_checkpoint(
        workdir, FEATURE_EXTRACT
    )
    path = find_checkpoint(workdir, FEATURE_EXTRACT, which)
    last = find_checkpoint(workdir, FEATURE_EXTRACT, LAST)
    if (
        marker is None
        or path is None
        or last is None
        # `--epochs` has increased since, and the new epochs are not done.
        or checkpoint_step(last) != marker["steps"]
    ):
        raise TrainerError(
            f"--workdir={workdir.path!r}: its feature_extract is not complete;"
            " finish it with the --stage=feature_extract command that began"
            " it, or give another --workdir"
        )
    return Start(
        stages=config.own_stages(),
        checkpoint=path,
        start_step=marker["steps"],
        metrics_position=marker["metrics_position"],
        why=f"finetune from {which} weights of the feature_extract in the"
        " workdir",
    )


def warm_start(source: Workdir, config: Config) -> tuple[str, str]:
    """Returns the stage and the checkpoint from which `--init_from` starts.

    Args:
      source: the workdir of `--init_from`.
      config: its `init_from_checkpoint` is used; if unset, the checkpoint that
        the stage's result is of.

    Returns:
      The name of the stage, and the prefix of its checkpoint.

    Raises:
      UsageError: the workdir does not exist, or is of a k-fold run.
      TrainerError: the workdir has no checkpoint.
    """
    source.require("init_from")
    check_no_folds(source, "init_from")
    for stage in stages_backwards(source):
        which = config.init_from_checkpoint or result_checkpoint(source, stage)
        path = find_checkpoint(source, stage, which)
        if path is not None:
            return stage, path
    raise TrainerError(
        f"--init_from={source.path!r}: holds no checkpoint; give the workdir"
        " of a run that has saved one"
    )


def check_warm_start(config: Config, class_names: tuple[str, ...]) -> None:
    """Checks that `--init_from` has the same task, backbone and classes.

    Raises:
      UsageError: the workdir does not exist.
      TrainerError: they differ, and the message names the difference; or the
        workdir has no checkpoint.
    """
    assert config.init_from is not None
    source = Workdir(config.init_from)
    warm_start(source, config)
    stored = (source.read_json(CONFIG) or {}).get("config", {})
    for name in ("task", "backbone", "backbone_args"):
        new = getattr(config, name)
        # A run of an earlier version has no task.
        old = stored.get(name, SINGLE if name == "task" else None)
        if old != new:
            raise TrainerError(
                f"--init_from={source.path!r}: its --{name} is"
                f" {old!r}, this run's is {new!r}; give the same"
            )
    names = (source.read_json(MANIFEST) or {}).get("class_names")
    if names != list(class_names):
        raise TrainerError(
            f"--init_from={source.path!r}: its classes are {names}, this"
            f" run's are {list(class_names)}; to take its backbone only, give"
            " one of its checkpoints as --weights"
        )
