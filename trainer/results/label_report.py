"""Text output of runs in which an image may have several labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trainer.results.columns import padded
from trainer.results.escaping import for_terminal


def label_table(result: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of the results of each stage, and of each class.

    Args:
      result: the content of result.json.
    """
    shown = f"{result['final_split']} loss"
    yield (
        f"{'stage':18}{'steps':>8}{shown:>18}{'mAP':>12}{'micro F1':>12}"
        f"{'examples':>12}"
    )
    for row in (*result.get("earlier_stages", ()), result):
        yield (
            f"{row['stage']:18}{row['steps']:>8}{row['test_loss']:>18.4f}"
            f"{_cell(row.get('test_map')):>12}"
            f"{_cell(row.get('test_micro_f1')):>12}"
            f"{row['test_examples']:>12,}"
        )
    yield ""
    yield from label_class_lines(result)


def label_evaluation_line(metrics: dict[str, Any]) -> str:
    """Returns loss and mAP of an evaluation, on one line.

    Args:
      metrics: from `MultilabelEvaluation.to_json`.
    """
    return (
        f"{metrics['test_examples']} examples: loss"
        f" {metrics['test_loss']:.4f}, mAP {_cell(metrics['test_map'])}"
    )


def label_class_lines(metrics: dict[str, Any]) -> Iterator[str]:
    """Yields the metrics at the thresholds, and one line per class.

    Args:
      metrics: from `MultilabelEvaluation.to_json`. A class may be missing in a
        file that was changed.
    """
    precisions = metrics["test_per_class_average_precision"]
    yield (
        f"mAP over {metrics['test_map_classes']} of {len(precisions)} classes,"
        " those with examples; at the thresholds: micro F1"
        f" {_cell(metrics['test_micro_f1'])}, macro F1"
        f" {_cell(metrics['test_macro_f1'])}, exact match"
        f" {metrics['test_exact_match']:.4f}"
    )
    heading, *names = padded(["class", *map(for_terminal, precisions)])
    yield (
        f"  {heading}        AP  examples  threshold  precision  recall      F1"
    )
    for shown, name in zip(names, precisions, strict=True):
        precision, recall, f1 = (
            _cell(metrics[f"test_per_class_{which}"].get(name))
            for which in ("precision", "recall", "f1")
        )
        yield (
            f"  {shown}  {_cell(precisions[name]):>8}"
            f"{metrics['test_per_class_support'].get(name, 0):>10,}"
            f"{_cell(metrics['thresholds'].get(name)):>11}{precision:>11}"
            f"{recall:>8}{f1:>8}"
        )


def best_label_validation(result: dict[str, Any]) -> str:
    """Returns the monitored metric of the best validation, and its mAP."""
    shown = f"mAP {result['best_validation_map']:.4f}"
    if result["monitor"] == "loss":
        return f"loss {result['best_validation_loss']:.4f} ({shown})"
    return shown


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
