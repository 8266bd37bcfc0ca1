"""The charts of the study, each as SVG for an HTML page."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainer.config.fields import FINETUNE
from trainer.results.confusion import draw_confusion
from trainer.results.escaping import for_html, plot_style
from trainer.results.fonts import PlotLabels, plot_labels
from trainer.study.models import BASE_MODEL

# Okabe and Ito's palette, for readers with colour blindness.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00")
_GREY = "#666666"


def learning_curves(
    curves: Mapping[int, Sequence[Mapping[str, Any]]],
    boundary: int | None,
) -> str:
    """Draws accuracy and loss by epoch, fine-tuning after feature extraction.

    Args:
      curves: the lines of metrics.jsonl that end an epoch, by model number.
      boundary: number of epochs of feature extraction, after which models 3
        and 4 begin; None if neither is in the study.

    Returns:
      SVG: accuracy in the upper panel, loss in the lower one.
    """
    with _style():
        figure = Figure(figsize=(5.5, 6.2), layout="constrained")
        panels = figure.subplots(2, 1, sharex=True)
        for axes, key in zip(panels, ("accuracy", "loss"), strict=True):
            for number, lines in curves.items():
                before = curves[BASE_MODEL] if _follows(lines) else ()
                _curve(axes, key, number, [*before, *lines], len(before) // 2)
            axes.set_ylabel(key)
            axes.grid(alpha=0.25)
            if boundary is not None:
                axes.axvline(
                    boundary,
                    color=_GREY,
                    linestyle=":",
                    label="fine-tuning begins",
                )
        panels[0].legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=3,
            frameon=False,
        )
        panels[1].set_xlabel("epoch (solid: validation, dashed: training)")
        panels[1].xaxis.get_major_locator().set_params(integer=True)
        return _svg(figure, "Learning curves of the models")


def _follows(lines: Sequence[Mapping[str, Any]]) -> bool:
    """Returns whether a model starts from the base model's last weights."""
    return lines[0]["stage"] == FINETUNE


def _curve(
    axes: Axes,
    key: str,
    number: int,
    lines: Sequence[Mapping[str, Any]],
    before: int,
) -> None:
    """Draws the curves of one model in one panel.

    The first `before` epochs of `lines` are the base model's. Of these only the
    last one is drawn, so the curve begins where the base model's curve ends.
    """
    for split, style in (("train", "--"), ("validation", "-")):
        values = [line[key] for line in lines if line["split"] == split]
        begin = max(0, before - 1)
        axes.plot(
            range(begin + 1, len(values) + 1),
            values[begin:],
            style,
            color=COLOURS[number],
            marker="o",
            markersize=3.5 if split == "validation" else 0,
            alpha=1 if split == "validation" else 0.6,
            label=f"model {number}" if split == "validation" else None,
        )


def class_bars(record: Mapping[str, Any]) -> str:
    """Draws the accuracy of each class for each model, first seed only."""
    names, rows = record["classes"], record["models"]
    height = 0.8 / len(rows)
    labels = plot_labels(names)
    with _style(labels):
        figure = Figure(
            figsize=(5.5, 1.2 + 0.17 * len(names) * (len(rows) + 1)),
            layout="constrained",
        )
        axes = figure.subplots()
        places = np.arange(len(names))
        for i, row in enumerate(rows):
            values = [row["per_class_accuracy"][name] or 0 for name in names]
            axes.barh(
                places + (i - (len(rows) - 1) / 2) * height,
                values,
                height,
                color=COLOURS[row["model"]],
                label=f"model {row['model']}",
            )
        axes.set_yticks(places, labels.texts)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("accuracy")
        axes.grid(axis="x", alpha=0.25)
        axes.legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=3,
            frameon=False,
        )
        return _svg(figure, "Accuracy of each class")


def confusion_matrix(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """Draws the counts, rows true, columns predicted, shaded by row share."""
    counts = np.array(row["confusion"])
    side = min(2.5 + 0.45 * len(names), 12)
    labels = plot_labels(names)
    with _style(labels):
        figure = Figure(figsize=(side, side), layout="constrained")
        axes = figure.subplots()
        draw_confusion(axes, counts, labels.texts, zeros=False)
        return _svg(figure, f"Confusion matrix of model {row['model']}")


def numbers_of_classes(names: Sequence[str]) -> str:
    """Returns HTML with the classes that the charts show as numbers, or ""."""
    legend = plot_labels(names).legend
    if not legend:
        return ""
    text = ", ".join(f"{k} is {for_html(v)}" for k, v in legend.items())
    return f"<p>Classes in the charts: {text}.</p>"


def _style(
    labels: PlotLabels | None = None,
) -> AbstractContextManager[None]:
    """Returns the context in which to build and draw a chart."""
    fonts = {"font__family": labels.families} if labels else {}
    return plot_style(
        font__size=10, svg__fonttype="path", svg__hashsalt="study", **fonts
    )


def _svg(figure: Figure, title: str) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    # The page's style sets the width; a screen reader reads the title.
    view = f'viewBox="0 0 {figure.get_figwidth() * 72:g}'
    view += f' {figure.get_figheight() * 72:g}"'
    head, _, rest = text.partition(">")
    head = re.sub(r'\s(height|width|viewBox|version)="[^"]*"', "", head)
    return f'{head} {view} role="img" aria-label="{for_html(title)}">{rest}'
