"""Runs the study, one model after another, and writes its results."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.config import Config, ResolvedConfig
from trainer.distribute.runtime import plan_devices
from trainer.errors import UsageError, reason_of
from trainer.model.backbones import find_backbone
from trainer.results.escaping import for_terminal
from trainer.results.report import tensorboard_command
from trainer.run import training
from trainer.run.resolve import backbone_name, resolve
from trainer.storage import files
from trainer.study.mistakes import find_mistakes
from trainer.study.models import (
    StudyModel,
    model_config,
    model_workdir,
    models_to_train,
)
from trainer.study.report import write_html
from trainer.study.table import markdown, study_record
from trainer.workdir import METRICS, REPORT, RESULT, MetricsFile, Workdir
from trainer.workdir.lock import locked

STUDY_JSON, STUDY_MD = "study.json", "study.md"


def train(config: Config) -> None:
    """Trains missing models, then writes study.json, study.md, report.html.

    Raises:
      UsageError: the flags are invalid.
      TrainerError: one of the runs failed, or another process holds the
        workdir.
    """
    config = _resolved(config)
    models = models_to_train(config.model_numbers())
    print(f"workdir: {for_terminal(config.workdir)}", flush=True)
    seeds = range(config.seed, config.seed + config.seeds)
    workdir = Workdir(config.workdir)
    new = workdir.create()
    try:
        # Each model's workdir is locked too.
        with locked(workdir):
            workdir.remove_partial()
            for seed in seeds:
                for model in models:
                    _announce(model, seed)
                    training.train(model_config(config, model, seed))
            _write(config, models, list(seeds))
    except BaseException:
        if new:
            workdir.remove_if_empty()
        raise


def dry_run(config: Config) -> None:
    """Prints the plan of each model of the study."""
    config = _resolved(config)
    for model in models_to_train(config.model_numbers()):
        _announce(model, config.seed)
        # Model 2, from which models 3 and 4 start, may not exist yet.
        plan = model_config(config, model, config.seed)
        training.dry_run(
            dataclasses.replace(plan, init_from=None, head_epochs=0)
        )


def _resolved(config: Config) -> ResolvedConfig:
    if config.head_epochs < 1:
        raise UsageError(
            "--head_epochs=0: a study trains heads; give a whole number >= 1"
        )
    backbone = find_backbone(backbone_name(config))
    on_tpu = plan_devices(config).on_tpu
    return resolve(config, backbone.image_px, on_tpu=on_tpu)


def _announce(model: StudyModel, seed: int) -> None:
    print(f"\n== model {model.number}, seed {seed}: {model.title}", flush=True)


def _write(
    config: ResolvedConfig, models: tuple[StudyModel, ...], seeds: list[int]
) -> None:
    workdir = Workdir(config.workdir)
    results: dict[int, list[dict[str, Any]]] = {}
    lines: dict[int, list[dict[str, Any]]] = {}
    reports: dict[str, str] = {}
    for model in models:
        folders = [
            Workdir(model_workdir(config.workdir, seed, model.number))
            for seed in seeds
        ]
        results[model.number] = [
            folder.read_json(RESULT) or {} for folder in folders
        ]
        lines[model.number] = MetricsFile(folders[0].file(METRICS)).lines()
        # Models of an earlier version have no report.
        if files.exists(folders[0].file(REPORT)):
            name = f"model {model.number}"
            reports[name] = f"seed{seeds[0]}/model{model.number}/{REPORT}"
    record = study_record(config, models, seeds, results)
    last = models[-1]
    workdir.write_json(STUDY_JSON, record)
    workdir.write_text(STUDY_MD, markdown(record))
    written = _write_report(
        workdir,
        record,
        lines,
        _mistakes(workdir, model_config(config, last, seeds[0])),
        reports=reports,
    )
    print(f"\n{markdown(record)}")
    if written:
        print(f"report: {for_terminal(workdir.file(REPORT))}")
    print(tensorboard_command(config.workdir))


def _mistakes(workdir: Workdir, config: Config) -> list[dict[str, Any]] | None:
    """Returns a model's mistakes; None, with a warning, if that fails."""
    try:
        return find_mistakes(config)
    except Exception as error:
        workdir.warn(
            f"{workdir.file(REPORT)}: the most confident mistakes could not be"
            f" found ({reason_of(error)})"
        )
        return None


def _write_report(
    workdir: Workdir,
    record: Mapping[str, Any],
    lines: Mapping[int, Sequence[Mapping[str, Any]]],
    mistakes: Sequence[Mapping[str, Any]] | None,
    *,
    reports: Mapping[str, str],
) -> bool:
    """Writes the page, or warns; study.json has all its numbers.

    Returns:
      Whether the page was written.
    """
    path = workdir.file(REPORT)
    try:
        write_html(
            path,
            record,
            lines,
            mistakes,
            reports=reports,
            warn=workdir.warn,
        )
    except Exception as error:
        workdir.warn(f"{path}: cannot be written ({reason_of(error)})")
        return False
    return True
