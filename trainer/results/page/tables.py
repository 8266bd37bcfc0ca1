"""The tables of the page of a run, as texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainer.learning.stopping import stop_text
from trainer.results.page.render import number, percent, seconds
from trainer.results.report import interval_text

Result = Mapping[str, Any]
# (key of result.json, name, digits, meaning)
_METRICS = (
    ("test_accuracy", "accuracy", "share classified correctly"),
    (
        "test_top5_accuracy",
        "top-5 accuracy",
        "share whose class is among the five most probable",
    ),
    (
        "test_balanced_accuracy",
        "balanced accuracy",
        "mean of the accuracies of the classes",
    ),
    ("test_macro_precision", "macro precision", "mean over the classes"),
    ("test_macro_recall", "macro recall", "mean over the classes"),
    ("test_macro_f1", "macro F1", "mean over the classes"),
    (
        "test_weighted_precision",
        "weighted precision",
        "mean over the classes, by their examples",
    ),
    (
        "test_weighted_f1",
        "weighted F1",
        "mean over the classes, by their examples",
    ),
    (
        "test_average_precision",
        "average precision",
        "area under the precision-recall curve, mean over the classes",
    ),
    (
        "test_roc_auc",
        "ROC AUC",
        "one class against the others, mean over the classes",
    ),
    ("test_loss", "loss", "mean cross-entropy, nats"),
    (
        "test_loss_calibrated",
        "loss at the temperature",
        "mean cross-entropy, nats",
    ),
    (
        "test_ece",
        "calibration error (ECE)",
        "mean gap between confidence and accuracy",
    ),
    (
        "test_ece_calibrated",
        "calibration error at the temperature",
        "the same after temperature scaling",
    ),
    (
        "test_aurc",
        "area under the risk-coverage curve",
        "mean error rate over all coverages; lower is better",
    ),
)


def figures(result: Result) -> list[tuple[str, str, str]]:
    """Returns name, value and interval of the metrics at the top."""
    accuracy, examples = result["test_accuracy"], result.get("test_examples")
    low_high = interval_text(accuracy, examples)
    found = [("accuracy", percent(accuracy), low_high)]
    for key, name in (
        ("test_balanced_accuracy", "balanced accuracy"),
        ("test_macro_f1", "macro F1"),
        ("test_average_precision", "average precision"),
    ):
        if result.get(key) is not None:
            found.append((name, percent(result[key]), ""))
    if "test_ece" in result:
        found.append(("calibration error", percent(result["test_ece"]), ""))
    found.append(("loss", number(result["test_loss"]), ""))
    return found


def metric_rows(result: Result) -> list[tuple[str, str, str]]:
    """Returns name, value and meaning of every metric that is known."""
    return [
        (name, number(result[key]), meaning)
        for key, name, meaning in _METRICS
        if result.get(key) is not None
    ]


def stage_rows(result: Result) -> list[tuple[str, ...]]:
    """Returns a row for each stage of the run, the last one last."""
    return [
        (
            row["stage"],
            number(row["test_accuracy"]),
            interval_text(row["test_accuracy"], row.get("test_examples")),
            number(row.get("test_examples")),
            number(row["test_loss"]),
            number(row.get("epochs")),
            number(row["steps"]),
            seconds(row.get("train_seconds")),
        )
        for row in _stages(result)
    ]


def stage_notes(result: Result) -> Iterator[str]:
    """Yields which weights the result is of, and why stages ended early."""
    which = result.get("result_checkpoint", "last")
    yield (
        f"The results are those of the {which} weights, from step"
        f" {result.get('result_step', result['steps'])}."
    )
    for row in _stages(result):
        if "stopped_early" in row:
            yield f"{row['stage']}: {stop_text(row['stopped_early'])}."


def _stages(result: Result) -> Sequence[Result]:
    return (*result.get("earlier_stages", ()), result)


def class_rows(result: Result) -> list[tuple[str, ...]]:
    """Returns a row for each class."""
    support = result.get("test_per_class_support", {})
    columns = [
        result.get(f"test_per_class_{name}", {})
        for name in ("precision", "f1", "average_precision", "roc_auc")
    ]
    return [
        (
            name,
            number(accuracy),
            "-"
            if accuracy is None
            else interval_text(accuracy, support.get(name)),
            *(number(column.get(name)) for column in columns),
            number(support.get(name)),
        )
        for name, accuracy in result["test_per_class_accuracy"].items()
    ]


def time_rows(
    result: Result,
    lines: Sequence[Mapping[str, Any]],
    events: Sequence[Mapping[str, Any]],
) -> list[tuple[str, str]]:
    """Returns the times of a run, and its memory if it is known.

    Args:
      result: the content of result.json.
      lines: those of metrics.jsonl.
      events: those of events.jsonl.
    """
    rows = [
        (f"training steps of {row['stage']}", seconds(row["train_seconds"]))
        for row in _stages(result)
        if "train_seconds" in row
    ]
    last = {
        (line["stage"], line["split"]): line.get("times", {})
        for line in lines
        if line["span"] == "epoch"
    }
    for (stage, _), times in last.items():
        if "images_per_second" in times:
            rate = f"{times['images_per_second']:,.0f} images/s"
            rows.append((f"speed of {stage}", rate))
        if "seconds" in times:
            what = f"last validation of {stage}"
            rows.append((what, seconds(times["seconds"])))
    starts, wall = _wall_time(events)
    if starts:
        what = "whole run" if starts == 1 else f"whole run, in {starts} starts"
        rows.append((what, seconds(wall)))
    for event in reversed(events):
        memory = event.get("times", {}).get("peak_memory_mib", {})
        if event["event"] == "complete" and memory:
            rows += [
                (f"peak memory, {where}", f"{mib:,.0f} MiB")
                for where, mib in memory.items()
            ]
            break
    return rows


def _wall_time(events: Sequence[Mapping[str, Any]]) -> tuple[int, float]:
    """Returns the number of starts, and their seconds without the pauses."""
    starts, total, before = 0, 0.0, None
    for event in events:
        now = event["time"]
        if event["event"] == "start":
            starts += 1
        elif before is not None:
            total += max(now - before, 0.0)
        before = now
        if event["event"] == "complete":
            # Later warnings are of other commands.
            before = None
    return starts, total
