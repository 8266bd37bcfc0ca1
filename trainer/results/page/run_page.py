"""report.html: one run on one self-contained page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.model.freeze import FreezePlan
from trainer.results.page.charts import (
    Chart,
    Series,
    epochs_of,
    learning_curves,
    stage_ends,
)
from trainer.results.page.matrix import matrix, most_confused
from trainer.results.page.plans import layer_rows, plan_facts
from trainer.results.page.render import percent, render
from trainer.results.page.tables import (
    class_rows,
    figures,
    metric_rows,
    stage_notes,
    stage_rows,
    time_rows,
)
from trainer.results.score_lines import temperature_phrase

_MAX_WARNINGS = 20
# Facts of config.json that the page shows.
_FACTS = (
    "weights_digest",
    "architecture_digest",
    "data_fingerprint",
    "tensorflow",
    "keras",
    "python",
    "machine",
    "processor",
    "cpu_count",
    "gpu_models",
    "devices",
    "strategy",
    "replicas",
    "processes",
    "precision",
    "xla",
    "deterministic",
    "trunk_engine",
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RunFacts:
    """What the page says about a run.

    Attributes:
      result: the content of result.json.
      stored: the content of config.json.
      lines: the lines of metrics.jsonl.
      events: the lines of events.jsonl.
      data: the line about the data.
      plans: the freeze plan of each stage, by its name.
      command: the command that repeats the run.
      flags: the flags that the run has read.
      mistakes: see `ExampleReader`; None if they could not be found.
      activations: see `ExampleReader`; None if there are none.
      activation_note: says why there are none.
    """

    result: Mapping[str, Any]
    stored: Mapping[str, Any]
    lines: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]
    data: str
    plans: Sequence[tuple[str, FreezePlan]]
    command: str
    flags: Mapping[str, Any]
    mistakes: Sequence[Mapping[str, Any]] | None
    activations: Sequence[Sequence[Mapping[str, Any]]] | None
    activation_note: str


def run_page(facts: RunFacts) -> str:
    """Returns the page; it needs no other file and no network."""
    result, stored = facts.result, facts.stored
    names = list(result["test_per_class_accuracy"])
    counts = np.array(result["test_confusion"])
    epochs = epochs_of(facts.lines)
    environment = stored.get("environment", {})
    record = {
        **environment,
        **stored.get("runs", {}).get(stored.get("config", {}).get("stage"), {}),
    }
    warnings = [e["text"] for e in facts.events if e["event"] == "warning"]
    return render(
        "run.html",
        title=(f"{result['dataset']}: {result['backbone']}, {result['stage']}"),
        figures=figures(result),
        examples=f"{int(counts.sum()):,}",
        final_split=result["final_split"],
        data=facts.data,
        warnings=list(dict.fromkeys(warnings))[:_MAX_WARNINGS],
        plans=[plan_facts(stage, plan) for stage, plan in facts.plans],
        layers=layer_rows(facts.plans),
        curves=[
            chart.drawn()
            for chart in learning_curves({"": epochs}, stage_ends(epochs))
            if epochs
        ],
        stages=stage_rows(result),
        stage_notes=list(stage_notes(result)),
        metrics=metric_rows(result),
        matrix=matrix(counts, names),
        confused=[
            (pair.true, pair.predicted, str(pair.count), percent(pair.share))
            for pair in most_confused(counts, names)
        ],
        classes=class_rows(result),
        **_confidence(result),
        wrong=facts.mistakes,
        activations=facts.activations,
        activation_note=facts.activation_note,
        times=time_rows(result, facts.lines, facts.events),
        command=facts.command,
        versions=[
            (name.replace("_", " "), _text(record[name]))
            for name in _FACTS
            if record.get(name) not in (None, "", [])
        ],
        flags=[(f"--{k}", _text(v)) for k, v in facts.flags.items()],
    )


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "unset" if value is None else str(value)


def _confidence(result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the charts of confidence and risk."""
    if "test_reliability" not in result:
        return {"reliability": None, "risk": None, "calibration": ""}
    lines = [
        Series(label="equal", points=[(0, 0), (1, 1)], colour=5, dashed=True),
        _reliability(result["test_reliability"], "as predicted", 0),
    ]
    if "test_reliability_calibrated" in result:
        bins = result["test_reliability_calibrated"]
        lines.append(_reliability(bins, "at the temperature", 4))
    reliability = Chart(
        title="Accuracy by confidence",
        x_label="confidence",
        y_label="accuracy",
        series=lines,
        x_range=(0, 1),
        y_range=(0, 1),
    )
    risk = Chart(
        title="Error rate by coverage",
        x_label="share of the examples that is predicted",
        y_label="error rate",
        series=[
            Series(
                label="",
                points=[
                    (row["coverage"], row["risk"])
                    for row in result["test_coverage_risk"]
                ],
                dots=True,
            )
        ],
        x_range=(0, 1),
    )
    return {
        "reliability": reliability.drawn(),
        "risk": risk.drawn(),
        "calibration": (
            f"Calibration error (ECE) {result['test_ece']:.4f};"
            f" {temperature_phrase(result)}."
        ),
    }


def _reliability(
    bins: Sequence[Mapping[str, Any]], label: str, colour: int
) -> Series:
    return Series(
        label=label,
        points=[(row["confidence"], row["accuracy"]) for row in bins],
        colour=colour,
        dots=True,
    )
