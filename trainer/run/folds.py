"""Runs the folds of --validation=kfold:K, and summarises them."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.config import Config, ResolvedConfig
from trainer.config.validation import fold_value
from trainer.data.validation import fold_of_each
from trainer.distribute.runtime import plan_devices
from trainer.errors import UsageError, untrusted
from trainer.learning.start import finished_stage
from trainer.model.backbones import find_backbone
from trainer.results.escaping import csv_line, for_terminal
from trainer.results.out_of_fold import (
    COLUMNS,
    OUT_OF_FOLD,
    FoldRows,
    read_out_of_fold,
)
from trainer.results.report import tensorboard_command
from trainer.run import training
from trainer.run.resolve import backbone_name, resolve
from trainer.workdir import CONFIG, MANIFEST, RESULT, Workdir
from trainer.workdir.folds import FOLDS_JSON, fold_workdir
from trainer.workdir.lock import locked
from trainer.workdir.stored import check_shape

# The metrics of a fold's result.json that folds.json repeats.
_OF_RESULT = (
    "train_examples",
    "validation_examples",
    "steps",
    "best_step",
    "best_validation_accuracy",
    "result_checkpoint",
    "result_step",
    "test_loss",
    "test_accuracy",
)
_AVERAGED = ("validation_accuracy", "test_accuracy")
_IDS = {"train_ids": [str], "validation_ids": [str]}


def train(config: Config) -> None:
    """Trains unfinished folds, then writes folds.json and out_of_fold.csv.

    Args:
      config: of all folds, with --validation=kfold:K.

    Raises:
      UsageError: the flags are invalid.
      TrainerError: one of the runs failed, or another process holds the
        workdir.
    """
    config = _resolved(config)
    print(f"workdir: {for_terminal(config.workdir)}", flush=True)
    workdir = Workdir(config.workdir)
    new = workdir.create()
    try:
        # Each fold's workdir is locked too.
        with locked(workdir):
            _check_no_run(workdir)
            workdir.remove_partial()
            _remove_earlier_summary(workdir, config)
            for fold in _numbers(config):
                _announce(config, fold)
                training.train(fold_config(config, fold))
            _write(workdir, config)
    except BaseException:
        if new:
            workdir.remove_if_empty()
        raise


def dry_run(config: Config) -> None:
    """Prints the plan of the first fold, and the size of each fold."""
    config = _resolved(config)
    _announce(config, 1)
    manifest = training.dry_run(fold_config(config, 1))
    train = manifest.splits["train"]
    subset = {*manifest.train.ids, *manifest.validation.ids}
    rows = [row for row, i in enumerate(train.samples.ids) if i in subset]
    numbers = fold_of_each(
        manifest.splits, train.take(np.array(rows)), _folds(config), config.seed
    )
    sizes = np.bincount(numbers, minlength=_folds(config) + 1)[1:]
    print("")
    for fold, size in enumerate(sizes.tolist(), 1):
        rest = len(rows) - size
        print(f"fold {fold}: {rest} samples to train, {size} to validate")


def fold_config(config: ResolvedConfig, fold: int) -> ResolvedConfig:
    """Returns the configuration of the run that one fold validates.

    Args:
      config: of all folds.
      fold: the number of the fold, from 1.
    """
    return dataclasses.replace(
        config,
        validation=fold_value(fold, _folds(config)),
        workdir=fold_workdir(config.workdir, fold),
    )


def _resolved(config: Config) -> ResolvedConfig:
    plan = plan_devices(config)
    if plan.topology.count > 1:
        raise UsageError(
            f"--validation={config.validation}: for one process only, and this"
            f" job has {plan.topology.count}; run each fold by itself with"
            f" --validation={fold_value(1, _folds(config))} and a --workdir of"
            " its own"
        )
    backbone = find_backbone(backbone_name(config))
    return resolve(config, backbone.image_px, on_tpu=plan.on_tpu)


def _folds(config: Config) -> int:
    assert config.validation_rule is not None
    return config.validation_rule.folds


def _numbers(config: Config) -> range:
    return range(1, _folds(config) + 1)


def _check_no_run(workdir: Workdir) -> None:
    if workdir.read_json(CONFIG) is not None:
        raise UsageError(
            f"--workdir={workdir.path!r}: holds a single run, not folds;"
            " give another --workdir"
        )


def _remove_earlier_summary(workdir: Workdir, config: ResolvedConfig) -> None:
    """Removes the summary of fewer epochs, or of the stage before."""
    for fold in _numbers(config):
        run = Workdir(fold_workdir(config.workdir, fold))
        if finished_stage(run, config) is None:
            workdir.remove(FOLDS_JSON)
            workdir.remove(OUT_OF_FOLD)
            return


def _announce(config: Config, fold: int) -> None:
    print(f"\n== fold {fold} of {_folds(config)}", flush=True)


def _write(workdir: Workdir, config: ResolvedConfig) -> None:
    """Writes and prints the summary of the finished folds."""
    runs = [
        Workdir(fold_workdir(config.workdir, fold)) for fold in _numbers(config)
    ]
    results = [run.read_json(RESULT) or {} for run in runs]
    later = {result.get("stage") for result in results} - {config.last_stage}
    if later:
        print(f"folds.json: not updated, as the folds end with {later.pop()}")
        return
    rows = [_fold_rows(run, fold) for fold, run in enumerate(runs, 1)]
    lines = {name: line for part in rows for name, line in part.lines.items()}
    record = folds_record(config, results, rows)
    header = csv_line(list(COLUMNS))
    workdir.write_text(
        OUT_OF_FOLD, header + "".join(lines[name] for name in sorted(lines))
    )
    workdir.write_json(FOLDS_JSON, record)
    print("\n".join(_summary_lines(record)))
    print(f"predictions: {for_terminal(workdir.file(OUT_OF_FOLD))}")
    print(f"workdir: {for_terminal(workdir.path)}")
    print(tensorboard_command(workdir.path), flush=True)


def _fold_rows(run: Workdir, fold: int) -> FoldRows:
    manifest = run.read_json(MANIFEST) or {}
    with untrusted(run.file(MANIFEST), f"remove {run.path} to run it again"):
        check_shape(manifest, _IDS)
    return read_out_of_fold(run, fold, manifest["validation_ids"])


def folds_record(
    config: Config,
    results: Sequence[Mapping[str, Any]],
    rows: Sequence[FoldRows],
) -> dict[str, Any]:
    """Returns the content of folds.json.

    A standard deviation is that of a sample, with K - 1 below the root.

    Args:
      config: of all folds.
      results: result.json of each fold.
      rows: the predictions of each fold.
    """
    runs = [
        {
            "fold": fold,
            "workdir": f"fold-{fold}",
            "validation_accuracy": part.accuracy,
            **{name: result[name] for name in _OF_RESULT if name in result},
        }
        for fold, (result, part) in enumerate(
            zip(results, rows, strict=True), 1
        )
    ]
    record: dict[str, Any] = {
        "folds": len(runs),
        "stage": config.stage,
        "backbone": config.backbone,
        "final_split": results[0]["final_split"],
        "train_examples": sum(len(part.lines) for part in rows),
    }
    for name in _AVERAGED:
        values = [run[name] for run in runs]
        record[name] = {
            "mean": statistics.fmean(values),
            "standard_deviation": statistics.stdev(values),
        }
    return {**record, "runs": runs}


def _summary_lines(record: Mapping[str, Any]) -> Iterator[str]:
    final = for_terminal(f"{record['final_split']} accuracy")
    yield ""
    yield f"{'fold':18}{'steps':>8}{'fold accuracy':>18}{final:>22}"
    for run in record["runs"]:
        yield (
            f"{run['fold']:<18}{run['steps']:>8}"
            f"{run['validation_accuracy']:>18.4f}{run['test_accuracy']:>22.4f}"
        )
    for name, key in (("mean", "mean"), ("deviation", "standard_deviation")):
        fold, test = (record[metric][key] for metric in _AVERAGED)
        yield f"{name:18}{'':>8}{fold:>18.4f}{test:>22.4f}"
    yield ""
