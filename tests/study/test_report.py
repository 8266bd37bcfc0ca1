"""The page of the study, from records and metrics written by hand."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator
from typing import Any

from trainer.config import Config
from trainer.study.models import MODELS
from trainer.study.report import study_curves, write_html
from trainer.study.table import study_record

CLASSES = ("<u>&", 'x"y')


def epochs(
    stage: str, *values: tuple[float, float, float, float]
) -> Iterator[dict[str, Any]]:
    """Yields lines of metrics.jsonl; values are loss and accuracy by split."""
    for epoch, (loss, accuracy, val_loss, val_accuracy) in enumerate(values, 1):
        for split, x, y in (
            ("train", loss, accuracy),
            ("validation", val_loss, val_accuracy),
        ):
            yield {
                "stage": stage,
                "split": split,
                "span": "epoch",
                "epoch": epoch,
                "loss": x,
                "accuracy": y,
            }


LINES = {
    2: [*epochs("feature_extract", (5.0, 0.1, 4.0, 0.2), (3.0, 0.3, 2.5, 0.4))],
    3: [*epochs("finetune", (2.0, 0.5, 1.5, 0.6))],
}


def test_a_fine_tuned_model_begins_at_its_base_models_end() -> None:
    """Training is dashed, validation solid."""
    accuracy, loss = study_curves(LINES)
    expected = {
        "accuracy": {
            (0, True): [(1, 0.1), (2, 0.3)],
            (0, False): [(1, 0.2), (2, 0.4)],
            (1, True): [(2, 0.3), (3, 0.5)],
            (1, False): [(2, 0.4), (3, 0.6)],
        },
        "loss": {
            (0, True): [(1, 5.0), (2, 3.0)],
            (0, False): [(1, 4.0), (2, 2.5)],
            (1, True): [(2, 3.0), (3, 2.0)],
            (1, False): [(2, 2.5), (3, 1.5)],
        },
    }
    for drawn in (accuracy, loss):
        chart = drawn["chart"]
        found = {
            (series.colour, series.dashed): list(series.points)
            for series in chart.series
        }
        assert found == expected[chart.y_label]
        assert chart.marks == {2: "finetune begins"}
        labels = [s.label for s in chart.series if not s.dashed]
        assert labels == ["model 2 validation", "model 3 validation"]


def test_without_fine_tuning_the_curves_have_no_mark() -> None:
    accuracy, _ = study_curves({0: LINES[2]})
    assert accuracy["chart"].marks == {}


def mistake(confidence: float, true: str, predicted: str) -> dict[str, Any]:
    return {
        "id": f"{true}/1.jpg",
        "true": true,
        "predicted": predicted,
        "confidence": confidence,
        "image": "data:image/jpeg;base64,AA==",
    }


def written(path: pathlib.Path, lines: Any, warnings: list[str]) -> str:
    """Writes the page of a study of model 0, and returns it."""
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
    write_html(
        str(path),
        study_record(config, [MODELS[0]], [0], {0: [result]}),
        {0: lines},
        [mistake(0.92, *CLASSES), mistake(0.61, *CLASSES[::-1])],
        reports={"model 0": "seed0/model0/report.html"},
        warn=warnings.append,
    )
    return path.read_text()


def test_names_are_escaped_in_the_report(tmp_path: pathlib.Path) -> None:
    warnings: list[str] = []
    lines = list(epochs("feature_extract", (1.0, 0.5, 1.0, 0.5)))
    page = written(tmp_path / "report.html", lines, warnings)
    assert warnings == []
    assert "<u>" not in page
    assert "<i>:" not in page
    # Two curves, the bars and the matrix.
    assert page.count("<svg") == 4
    captions = re.findall(r"<figcaption title=(.*?)</figcaption>", page, re.S)
    assert [" ".join(text.split()) for text in captions] == [
        '"&lt;u&gt;&amp;/1.jpg"><b>&lt;u&gt;&amp;</b>, predicted as'
        " <b>x&#34;y</b> (92.0 %)<br><span"
        ' class="file">&lt;u&gt;&amp;/1.jpg</span>',
        '"x&#34;y/1.jpg"><b>x&#34;y</b>, predicted as'
        " <b>&lt;u&gt;&amp;</b> (61.0 %)<br><span"
        ' class="file">x&#34;y/1.jpg</span>',
    ]


def test_a_chart_that_fails_is_a_note(tmp_path: pathlib.Path) -> None:
    warnings: list[str] = []
    path = tmp_path / "report.html"
    page = written(path, [{"span": "epoch"}], warnings)
    assert warnings == [
        f"{path}: the learning curves could not be drawn ('stage')"
    ]
    assert page.count("This chart could not be drawn.") == 1
