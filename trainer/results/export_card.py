"""model_card.md: what an exported classifier was made of, and its limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.config.fields import INT8
from trainer.results.escaping import for_markdown
from trainer.results.format_check import Measurement
from trainer.results.servable import Served

CARD = "model_card.md"
# Keys of result.json, and the words for them. Intervals are in KEY_interval.
_METRICS = {
    "test_accuracy": "accuracy",
    "test_top5_accuracy": "top-5 accuracy",
    "test_balanced_accuracy": "balanced accuracy",
    "test_macro_f1": "macro F1",
    "test_map": "mAP",
    "test_micro_f1": "micro F1",
    "test_exact_match": "exact match",
    "test_roc_auc": "ROC AUC",
    "test_ece": "calibration error",
    "test_loss": "loss",
}
_LIMITS = (
    "The model gives probabilities of the classes above to every image, also to"
    " one that shows none of them.",
    "The metrics hold for images like the test images. Other cameras, places or"
    " subjects may lower them; test the model on images of your use.",
    "An interval covers chance in the choice of test images, not chance in"
    " training.",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CardFacts:
    """The part of the card that only the run knows.

    Attributes:
      title: the checkpoint, in words.
      data: what the run was trained on, in one line; empty if unknown.
      model: the backbone, its image size and its first weights.
      command: the command that repeats the run; empty if unknown.
      result: the content of result.json; {} if the run is not finished.
      licence: of the first weights.
      temperature: what is known about calibration.
      versions: names and versions of programs.
    """

    title: str = ""
    data: str = ""
    model: str = ""
    command: str = ""
    result: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    licence: str = ""
    temperature: str = ""
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)


def model_card(
    served: Served, measured: Measurement | None, facts: CardFacts
) -> str:
    """Returns the text of model_card.md.

    Args:
      served: what the models serve.
      measured: the models; None if they were not measured.
      facts: what only the run knows.
    """
    parts = ["# Model card", *_what(served, facts)]
    parts += ["## Classes", *_classes(served, facts.result)]
    parts += ["## Metrics", *_metrics(facts)]
    if measured is not None:
        parts += ["## Formats", *_formats(measured)]
    parts += ["## Limits", *_limits(served, measured, facts)]
    parts += ["## Licence of the first weights", facts.licence or "unknown"]
    rows = [("program", "version"), *facts.versions.items()]
    parts += ["## Versions", _table(rows)]
    return "\n\n".join(parts) + "\n"


def _what(served: Served, facts: CardFacts) -> Iterator[str]:
    task = "one class" if served.thresholds is None else "any number of labels"
    rows = [
        ("", ""),
        ("task", f"image classification, {task} per image"),
        ("data", facts.data),
        ("model", facts.model),
        ("checkpoint", facts.title),
        (
            "test-time augmentation",
            "average with the mirror image" if served.flip else "none",
        ),
        ("recipe", facts.command),
    ]
    yield _table([(name, value or "unknown") for name, value in rows[1:]], "")


def _classes(served: Served, result: Mapping[str, Any]) -> Iterator[str]:
    """Yields a table of the classes, with accuracies if there are any."""
    accuracies = result.get("test_per_class_accuracy") or {}
    intervals = result.get("test_per_class_interval") or {}
    supports = result.get("test_per_class_support") or {}
    head: tuple[str, ...] = ("index", "class")
    if accuracies:
        head += ("accuracy", "95 % interval", "test images")
    rows = [head]
    for index, name in enumerate(served.class_names):
        row: tuple[str, ...] = (str(index), name)
        if accuracies:
            row += (
                _number(accuracies.get(name)),
                _interval(intervals.get(name)),
                str(supports.get(name, "-")),
            )
        rows.append(row)
    yield _table(rows)


def _metrics(facts: CardFacts) -> Iterator[str]:
    result = facts.result
    known = {key: name for key, name in _METRICS.items() if key in result}
    if not known:
        yield "The run has no result of this checkpoint."
        return
    images = result.get("test_examples", "?")
    split = result.get("final_split", "test")
    yield f"Of the original, on {images} images of the {split} split:"
    rows = [("metric", "value", "95 % interval")]
    rows += [
        (name, _number(result[key]), _interval(result.get(f"{key}_interval")))
        for key, name in known.items()
    ]
    yield _table(rows)
    if result.get("validation_from_test"):
        yield (
            "Epochs were validated on test images. If a checkpoint was chosen"
            " by them, its metrics are too good."
        )


def _formats(measured: Measurement) -> Iterator[str]:
    yield (
        f"Each model was loaded again, and run on {measured.on_what()}."
        " Times are of one image at a time, on the machine of the export."
    )
    yield _table(list(measured.rows()))


def _limits(
    served: Served, measured: Measurement | None, facts: CardFacts
) -> Iterator[str]:
    lines = [*_LIMITS]
    if facts.temperature:
        lines.append(facts.temperature)
    if served.flip:
        lines.append(
            "Left and right do not matter to the model, because it averages"
            " mirror images."
        )
    if measured is not None:
        lines += [
            "The tflite model computes in int8. Its probabilities are multiples"
            " of 1/256, and differ from the original's by up to"
            f" {found.largest_difference:.2f}."
            for found in measured.formats
            if found.quantize == INT8
        ]
    yield "\n".join(f"- {line}" for line in lines)


def _table(rows: Sequence[tuple[str, ...]], head: str | None = None) -> str:
    """Returns a table of Markdown; `head` fills a head if rows has none."""
    if head is not None:
        rows = [(head,) * len(rows[0]), *rows]
    lines = ["| " + " | ".join(map(for_markdown, row)) + " |" for row in rows]
    lines.insert(1, "|---" * len(rows[0]) + "|")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    """Returns a metric; NumPy's NaN and JSON's null are not defined."""
    if value is None or not np.isfinite(value):
        return "-"
    return f"{value:.4f}"


def _interval(bounds: Sequence[float] | None) -> str:
    if not bounds:
        return ""
    return f"[{bounds[0]:.3f}, {bounds[1]:.3f}]"
