"""Text output: the plan before a run and the table after it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from typing import Any

from trainer.config.fields import (
    ACCURACY,
    BEST,
    EXPORT,
    MONITOR_NAMES,
    MULTILABEL,
    PREDICT,
    SOUP,
)
from trainer.config.validation import SPLIT, TEST
from trainer.data.manifest import Manifest
from trainer.data.validation import source_phrase
from trainer.errors import counted
from trainer.learning.stopping import stop_text
from trainer.results.columns import padded
from trainer.results.commands import command_line
from trainer.results.escaping import for_terminal
from trainer.results.label_report import (
    best_label_validation,
    label_class_lines,
    label_evaluation_line,
    label_table,
)
from trainer.results.score_lines import score_lines
from trainer.results.statistics import wilson_interval
from trainer.workdir import REPORT, TENSORBOARD

# How many times the samples of the smallest class the largest may have.
_UNBALANCED = 3


def unbalanced_lines(manifest: Manifest) -> Iterator[str]:
    """Yields a line if a class has far more training samples than another."""
    if manifest.train.multilabel:
        return  # Some labels are always rare.
    counts = manifest.train.counts(len(manifest.class_names))
    small, large = int(counts.argmin()), int(counts.argmax())
    if counts[large] < _UNBALANCED * counts[small]:
        return
    names = [for_terminal(manifest.class_names[i]) for i in (small, large)]
    yield (
        f"data: unbalanced, {counted(int(counts[small]), 'image')} of"
        f" {names[0]} to"
        f" {counts[large]:,} of {names[1]}; accuracy favours large classes,"
        " see balanced accuracy and macro F1; --class_weights=balanced weights"
        " the loss"
    )


def result_lines(
    result: dict[str, Any], workdir: str, *, report: bool = False
) -> Iterator[str]:
    """Yields the table at the end of a run, and commands for what is next.

    Args:
      result: the content of result.json; that of an earlier version has fewer
        metrics.
      workdir: the workdir to show, also in the commands.
      report: whether to name report.html, which has been written there.
    """
    yield ""
    if _has_labels(result):
        yield from label_table(result)
    else:
        yield from _accuracy_table(result)
    # Earlier versions did not store the source.
    earlier = TEST if result["validation_from_test"] else SPLIT
    source = for_terminal(
        source_phrase(result.get("validation_source", earlier))
    )
    trials = result.get(SOUP)
    step = "" if trials else f" at step {result['best_step']}"
    yield (
        f"best validation {_best_shown(result)}{step} (on {source}); the table"
        f" shows the {_table_is_of(result)}"
    )
    for row in (*result.get("earlier_stages", ()), result):
        if "stopped_early" in row:
            yield f"{row['stage']}: {stop_text(row['stopped_early'])}"
    yield (
        f"{result['train_examples']} training examples,"
        f" {result['trainable_params']:,} of {result['total_params']:,}"
        f" parameters trained, {result['train_seconds']:.0f} s in steps"
    )
    yield f"workdir: {for_terminal(workdir)}"
    if report:
        yield f"report: {for_terminal(os.path.join(workdir, REPORT))}"
    if not trials:
        # Below this folder, the names of TensorBoard's runs are short.
        yield tensorboard_command(os.path.join(workdir, TENSORBOARD))
    yield command_line(
        {"stage": PREDICT, "workdir": workdir, "inputs": "new/*.jpg"}
    )
    yield command_line({"stage": EXPORT, "workdir": workdir})


def _has_labels(result: dict[str, Any]) -> bool:
    """Returns whether an image may have several labels."""
    return result.get("task") == MULTILABEL


def _accuracy_table(result: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of the results of each stage, and of each class."""
    shown = f"{result['final_split']} loss"
    head = f"{'stage':18}{'steps':>8}{shown:>18}{'accuracy':>12}"
    if "test_examples" in result:
        head += f"{'95 % interval':>18}{'examples':>12}"
    yield head
    for row in (*result.get("earlier_stages", ()), result):
        examples = row.get("test_examples")
        interval = interval_text(row["test_accuracy"], examples)
        yield (
            f"{row['stage']:18}{row['steps']:>8}"
            f"{row['test_loss']:>18.4f}{row['test_accuracy']:>12.4f}"
            + (f"{interval:>18}{examples:>12,}" if interval else "")
        )
    yield ""
    yield from per_class_lines(result)


def _best_shown(result: dict[str, Any]) -> str:
    """Returns the monitored metric of the best validation, and its accuracy."""
    if _has_labels(result):
        return best_label_validation(result)
    shown = _with_interval(
        result["best_validation_accuracy"], result.get("validation_examples")
    )
    accuracy = f"accuracy {shown}"
    monitor = result.get("monitor", ACCURACY)
    # A workdir may come from another person.
    if monitor == ACCURACY or "best_monitor_value" not in result:
        return accuracy
    name = MONITOR_NAMES.get(monitor, for_terminal(monitor))
    return f"{name} {result['best_monitor_value']:.4f} ({accuracy})"


def _table_is_of(result: dict[str, Any]) -> str:
    """Returns which weights the final evaluation is of."""
    if SOUP in result:
        accepted = sum(trial["accepted"] for trial in result[SOUP])
        return f"mean of the weights of {accepted} of {len(result[SOUP])} runs"
    if result.get("result_checkpoint") != BEST:
        return "last step"
    return f"best validation, step {result['best_step']}"


def tensorboard_command(folder: str) -> str:
    """Returns the shell command that opens TensorBoard on a folder."""
    return f"tensorboard --logdir {for_terminal(shlex.quote(folder))}"


def interval_text(share: float, total: int | None) -> str:
    """Returns the interval of an accuracy, such as `[0.787, 0.818]`.

    It is "" if the number of examples is unknown, or if the numbers, which may
    come from a file, are no accuracy.
    """
    try:
        low, high = wilson_interval(share, total or -1)
    except ValueError:
        return ""
    return f"[{low:.3f}, {high:.3f}]"


def _with_interval(share: float, total: int | None) -> str:
    """Returns an accuracy with its interval and its number of examples."""
    interval = interval_text(share, total)
    known = f" {interval} of {total:,} examples" if interval else ""
    return f"{share:.4f}{known}"


def evaluation_line(metrics: dict[str, Any]) -> str:
    """Returns loss and accuracy, or mAP, of an evaluation, on one line.

    Args:
      metrics: from `Evaluation.to_json`.
    """
    if _has_labels(metrics):
        return label_evaluation_line(metrics)
    accuracy, examples = metrics["test_accuracy"], metrics["test_examples"]
    return (
        f"{examples} examples: loss {metrics['test_loss']:.4f},"
        f" accuracy {accuracy:.4f} {interval_text(accuracy, examples)}"
    )


def per_class_lines(metrics: dict[str, Any]) -> Iterator[str]:
    """Yields the metrics that weigh classes, and one line per class.

    Args:
      metrics: from `Evaluation.to_json`; those of an earlier version have no
        more than accuracies.
    """
    if _has_labels(metrics):
        yield from label_class_lines(metrics)
        return
    if "test_top5_accuracy" in metrics:
        share = metrics["test_top5_accuracy"]
        interval = interval_text(share, metrics.get("test_examples"))
        yield f"top-5 accuracy {share:.4f} {interval}".rstrip()
    if "test_balanced_accuracy" in metrics and "test_macro_f1" in metrics:
        yield (
            f"balanced accuracy {metrics['test_balanced_accuracy']:.4f},"
            f" macro F1 {metrics['test_macro_f1']:.4f}"
        )
    yield from score_lines(metrics)
    per_class = metrics["test_per_class_accuracy"]
    heading, *names = padded(["class", *map(for_terminal, per_class)])
    if "test_per_class_support" in metrics:
        yield (
            f"  {heading}  accuracy   95 % interval  examples"
            "  precision      F1"
        )
    for shown, (name, accuracy) in zip(names, per_class.items(), strict=True):
        yield f"  {shown}  {_class_cells(metrics, name, accuracy)}"


def _class_cells(
    metrics: dict[str, Any], name: str, accuracy: float | None
) -> str:
    """Returns the metrics of one class, those that are known."""
    if accuracy is None:
        return "no examples"
    support = metrics.get("test_per_class_support", {}).get(name)
    interval = interval_text(accuracy, support)
    if not interval:
        return f"{accuracy:.4f}"
    shares = (
        metrics.get(f"test_per_class_{which}", {}).get(name)
        for which in ("precision", "f1")
    )
    precision, f1 = ("-" if x is None else f"{x:.4f}" for x in shares)
    return (
        f"{accuracy:>8.4f}  {interval:>14}{support:>10,}{precision:>11}{f1:>8}"
    )
