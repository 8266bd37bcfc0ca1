"""The report and its charts, from records and metrics written by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from trainer.config import Config
from trainer.study import charts
from trainer.study.charts import confusion_matrix, learning_curves
from trainer.study.mistakes import Mistake
from trainer.study.models import MODELS
from trainer.study.report import write_html
from trainer.study.table import study_record

CLASSES = ("<b>&", 'x"y')


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collects the Matplotlib figures that a test draws."""
    drawn: list[Figure] = []

    def keep(figure: Figure, title: str) -> str:
        drawn.append(figure)
        return title

    monkeypatch.setattr(charts, "_svg", keep)
    return drawn


def _epochs(
    stage: str, *values: tuple[float, float, float, float]
) -> Iterator[dict[str, Any]]:
    """Yields lines of metrics.jsonl; values are loss and accuracy by split."""
    for loss, accuracy, val_loss, val_accuracy in values:
        for split, x, y in (
            ("train", loss, accuracy),
            ("validation", val_loss, val_accuracy),
        ):
            yield {"stage": stage, "split": split, "loss": x, "accuracy": y}


CURVES = {
    2: [
        *_epochs("feature_extract", (5.0, 0.1, 4.0, 0.2), (3.0, 0.3, 2.5, 0.4))
    ],
    3: [*_epochs("finetune", (2.0, 0.5, 1.5, 0.6))],
}


def test_curves_are_in_the_right_panels(figures: list[Figure]) -> None:
    """Training is dashed, validation solid; model 3 begins at model 2's end."""
    learning_curves(CURVES, boundary=2)
    expected = {
        "accuracy": {
            ("model 2", "--"): ([1, 2], [0.1, 0.3]),
            ("model 2", "-"): ([1, 2], [0.2, 0.4]),
            ("model 3", "--"): ([2, 3], [0.3, 0.5]),
            ("model 3", "-"): ([2, 3], [0.4, 0.6]),
        },
        "loss": {
            ("model 2", "--"): ([1, 2], [5.0, 3.0]),
            ("model 2", "-"): ([1, 2], [4.0, 2.5]),
            ("model 3", "--"): ([2, 3], [3.0, 2.0]),
            ("model 3", "-"): ([2, 3], [2.5, 1.5]),
        },
    }
    names = {charts.COLOURS[number]: f"model {number}" for number in CURVES}
    (figure,) = figures
    found = {
        axes.get_ylabel(): {
            (names[line.get_color()], line.get_linestyle()): (
                [*line.get_xdata()],
                [*line.get_ydata()],
            )
            for line in axes.get_lines()
            if line.get_color() in names
        }
        for axes in figure.axes
    }
    assert found == expected
    assert [axes.get_ylabel() for axes in figure.axes] == ["accuracy", "loss"]
    assert (
        "(solid: validation, dashed: training)" in figure.axes[1].get_xlabel()
    )
    labels = {
        names[line.get_color()]: line.get_label()
        for line in figure.axes[0].get_lines()
        if line.get_linestyle() == "-"
    }
    assert labels == {"model 2": "model 2", "model 3": "model 3"}


def test_confusion_rows_are_true_classes(figures: list[Figure]) -> None:
    """Seven images of class a are predicted as class c."""
    row = {"model": 3, "confusion": [[1, 0, 7], [0, 2, 0], [0, 0, 3]]}
    confusion_matrix(row, ("a", "b", "c"))
    (axes,) = figures[0].axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    ticks = [label.get_text() for label in axes.get_yticklabels()]
    assert ticks == ["a", "b", "c"]
    counts = {text.get_position(): text.get_text() for text in axes.texts}
    # Positions are (column, row).
    assert counts == {(0, 0): "1", (2, 0): "7", (1, 1): "2", (2, 2): "3"}
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares[0], [1 / 8, 0, 7 / 8])


def _mistake(probability: float, true: str, predicted: str) -> Mistake:
    return Mistake(
        sample_id=f"{true}/1.jpg",
        true=true,
        predicted=predicted,
        probability=probability,
        png=b"\x89PNG",
    )


def test_names_are_escaped_in_the_report(tmp_path) -> None:
    result = {
        "dataset": "<i>",
        "classes": list(CLASSES),
        "train_examples": 30,
        "epochs": 4,
        "test_examples": 2,
        "test_accuracy": 0.5,
        "test_loss": 0.5,
        "trainable_params": 1,
        "total_params": 2,
        "train_seconds": 2.0,
        "test_per_class_accuracy": dict.fromkeys(CLASSES, 0.5),
        "test_confusion": [[1, 0], [1, 0]],
        "final_split": "test",
    }
    config = Config(stage="study", dataset="d")
    path = tmp_path / "report.html"
    warnings: list[str] = []
    write_html(
        str(path),
        study_record(config, [MODELS[0]], [0], {0: [result]}),
        {0: list(_epochs("feature_extract", (1.0, 0.5, 1.0, 0.5)))},
        [_mistake(0.92, *CLASSES), _mistake(0.61, *CLASSES[::-1])],
        boundary=None,
        warn=warnings.append,
    )
    page = path.read_text()
    assert warnings == []
    assert "<b>" not in page
    assert "<i>" not in page
    assert page.count("<svg") == 3
    captions = re.findall(r"<figcaption title=(.*?)</figcaption>", page)
    assert captions == [
        '"&lt;b&gt;&amp;/1.jpg">&lt;b&gt;&amp;, predicted as x&quot;y (92%)',
        '"x&quot;y/1.jpg">x&quot;y, predicted as &lt;b&gt;&amp; (61%)',
    ]
