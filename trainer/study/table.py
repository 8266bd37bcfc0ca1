"""The record of a study, and its table of models."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainer.config import Config
from trainer.data.tfds_names import FOOD10_CLASSES
from trainer.results.escaping import for_markdown
from trainer.results.statistics import wilson_interval
from trainer.study.models import StudyModel


def study_record(
    config: Config,
    models: Sequence[StudyModel],
    seeds: Sequence[int],
    results: Mapping[int, Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    """Returns the content of study.json.

    Args:
      config: the configuration of the study.
      models: the models that were trained.
      seeds: the seeds of each model.
      results: the result.json of each seed, by model number.
    """
    first = results[models[0].number][0]
    food101 = first["classes"] == list(FOOD10_CLASSES) and (
        first["dataset"] != "demo"
    )
    rows = []
    for model in models:
        row = _model_row(model, results[model.number])
        if food101:
            row["published_accuracy"] = model.published
        rows.append(row)
    return {
        "dataset": first["dataset"],
        "backbone": config.backbone,
        "weights": config.weights,
        "unfreeze": config.unfreeze,
        "image_size": config.image_size,
        "final_split": first["final_split"],
        "classes": first["classes"],
        "seeds": list(seeds),
        "models": rows,
    }


def _model_row(
    model: StudyModel, runs: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Returns what study.json has of one model, given its result.json files.

    A run of an earlier version has fewer metrics; the others are None.
    """
    accuracies = [run["test_accuracy"] for run in runs]
    return {
        "model": model.number,
        "stage": model.stage,
        "data_pct": model.data_pct,
        "augment": model.augment,
        "title": model.title,
        "train_examples": runs[0]["train_examples"],
        "epochs": runs[0]["epochs"],
        "test_examples": runs[0]["test_examples"],
        "test_accuracy": accuracies,
        "test_accuracy_interval": [
            list(wilson_interval(run["test_accuracy"], run["test_examples"]))
            for run in runs
        ],
        "test_accuracy_mean": statistics.mean(accuracies),
        "test_accuracy_sd": (
            statistics.stdev(accuracies) if len(accuracies) > 1 else None
        ),
        "test_loss": [run["test_loss"] for run in runs],
        "trainable_params": runs[0]["trainable_params"],
        "total_params": runs[0]["total_params"],
        "times": {
            "train_seconds": [run["train_seconds"] for run in runs],
            "images_per_second": [_rate(run) for run in runs],
        },
        "per_class_accuracy": runs[0]["test_per_class_accuracy"],
        "per_class_interval": runs[0].get("test_per_class_interval"),
        "per_class_support": runs[0].get("test_per_class_support"),
        "balanced_accuracy": [
            run.get("test_balanced_accuracy") for run in runs
        ],
        "macro_f1": [run.get("test_macro_f1") for run in runs],
        "confusion": runs[0]["test_confusion"],
    }


def _rate(run: Mapping[str, Any]) -> float:
    images = run["train_examples"] * run["epochs"]
    return round(images / max(run["train_seconds"], 1e-9), 1)


def accuracy_text(row: Mapping[str, Any]) -> str:
    """Returns mean and standard deviation in per cent: `82.3 % ± 1.0`."""
    text = f"{100 * row['test_accuracy_mean']:.1f} %"
    if row["test_accuracy_sd"] is not None:
        text += f" ± {100 * row['test_accuracy_sd']:.1f}"
    return text


def interval_text(row: Mapping[str, Any]) -> str:
    """Returns the interval of the mean accuracy in per cent: `79.8 to 84.6`.

    All seeds are tested on the same examples, so more seeds do not narrow it.
    """
    low, high = wilson_interval(row["test_accuracy_mean"], row["test_examples"])
    return f"{100 * low:.1f} to {100 * high:.1f}"


def table_columns(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns the cells of each column by header; one cell per model."""
    rows = record["models"]
    columns = {
        "model": [str(row["model"]) for row in rows],
        "what": [row["title"] for row in rows],
        # Among the first columns, since a narrow screen shows few.
        f"{record['final_split']} accuracy": [accuracy_text(r) for r in rows],
        "95 % interval": [interval_text(r) for r in rows],
        "training examples": [f"{row['train_examples']:,}" for row in rows],
        "trained parameters": [f"{row['trainable_params']:,}" for row in rows],
        "seconds in steps": [
            f"{statistics.mean(r['times']['train_seconds']):.0f}" for r in rows
        ],
        "images/s": [
            f"{statistics.mean(r['times']['images_per_second']):.0f}"
            for r in rows
        ],
    }
    if all("published_accuracy" in row for row in rows):
        columns["published"] = [
            f"{100 * row['published_accuracy']:.1f} %" for row in rows
        ]
    return columns


def caption(record: Mapping[str, Any]) -> str:
    """Returns the caption of the table, one line."""
    seeds = record["seeds"]
    spread = (
        f"mean and standard deviation over seeds {seeds[0]} to {seeds[-1]}"
        if len(seeds) > 1
        else f"seed {seeds[0]}"
    )
    count = record["models"][0]["test_examples"]
    return (
        f"{record['backbone']} on {record['dataset']},"
        f" {len(record['classes'])} classes, {count:,}"
        f" {record['final_split']} examples; {spread}; models 3 and 4 start"
        f" from model 2's last weights and unfreeze {record['unfreeze']}"
    )


def markdown(record: Mapping[str, Any]) -> str:
    """Returns the table for study.md and the terminal."""
    columns = table_columns(record)
    lines = [_markdown_row(columns), "|---" * len(columns) + "|"]
    for cells in zip(*columns.values(), strict=True):
        lines.append(_markdown_row(cells))
    return "\n".join([for_markdown(caption(record)), "", *lines, ""])


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(for_markdown, cells))} |"
