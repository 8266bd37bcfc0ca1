"""The list of runs in a folder, as text, CSV and HTML."""

from __future__ import annotations

import csv
import json
import pathlib
from typing import Any

import pytest

from tests.support.command import command
from tests.support.pages import check_page
from tests.support.stage import METRICS

RESULT: dict[str, Any] = {
    **METRICS,
    "stage": "finetune",
    "steps": 1240,
    "train_examples": 447,
    "backbone": "MobileNetV2",
    "test_accuracy": 0.9133,
    "test_accuracy_interval": [0.8567, 0.9489],
    "train_seconds": 75.2,
}
FLAGS = {"stage": "finetune", "dataset": "/photos/food3/", "recipe": "best"}


def make_run(
    path: pathlib.Path, config: dict[str, Any], result: Any = None
) -> None:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"config": config}))
    if result is not None:
        (path / "result.json").write_text(json.dumps(result))


@pytest.fixture
def runs(tmp_path: pathlib.Path) -> pathlib.Path:
    """A finished run, others that are not, and files that are no run."""
    root = tmp_path / "runs"
    make_run(root / "a", FLAGS, RESULT)
    (root / "a/checkpoints").mkdir()
    (root / "a/checkpoints/data").write_bytes(bytes(2_000_000))
    make_run(root / "b", {**FLAGS, "backbone": "VGG16"})
    labels = {k: v for k, v in METRICS.items() if "accuracy" not in k}
    metrics = ("map", "micro_f1", "macro_f1", "exact_match")
    labels |= {f"test_{name}": 0.75 for name in metrics}
    labels |= {"task": "multilabel", "test_map_classes": 2, "test_examples": 4}
    columns = ("average_precision", "support", "precision", "recall", "f1")
    labels |= {f"test_per_class_{name}": {"a": 1} for name in columns}
    labels |= {"thresholds": {"a": 0.5}, "monitor": "loss"}
    labels |= {"best_validation_map": 0.5, "best_validation_loss": 0.5}
    make_run(root / "study/seed0/model1", FLAGS, labels)
    make_run(root / "d", {})
    (root / "d/result.json").write_text("{")
    (root / "notes").mkdir()
    (root / "notes/config.txt").write_text("no run")
    return root


def rows_of(runs: pathlib.Path, output: pathlib.Path) -> dict[str, list[str]]:
    said = command("--stage=list_runs", f"--runs={runs}", f"--output={output}")
    assert (said.status, said.err) == (0, "")
    with open(output, newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    assert header[0] == "run"
    return {row[0]: row[1:] for row in rows}


def test_each_run_is_a_row(runs, tmp_path):
    rows = rows_of(runs, tmp_path / "runs.csv")
    assert list(rows) == ["a", "b", "d", "study/seed0/model1"]
    # Two MB of checkpoints, and the JSON.
    assert rows["a"] == [
        *("finetune", "food3", "447", "MobileNetV2", "best", "0.9133"),
        *("[0.857, 0.949]", "1,240", "1 min 15 s", "2.0"),
    ]
    assert rows["b"][:6] == [
        *("finetune", "food3", "", "VGG16", "best", "not finished")
    ]
    assert rows["study/seed0/model1"][5] == "mAP 0.7500"
    assert rows["d"][0].startswith("cannot be read: ")


def test_a_run_may_be_the_folder_itself(runs, tmp_path):
    rows = rows_of(runs / "a", tmp_path / "runs.csv")
    assert list(rows) == [str(runs / "a")]


def test_columns_are_aligned(runs):
    said = command("--stage=list_runs", f"--runs={runs}")
    head, *lines = said.out.splitlines()
    assert len(lines) == 4
    end = head.index("photos") + len("photos")
    assert lines[0][:end].endswith(" 447")


def test_the_page_escapes_names(runs, tmp_path):
    make_run(runs / "<b>&", FLAGS, RESULT)
    page = tmp_path / "runs.html"
    said = command("--stage=list_runs", f"--runs={runs}", f"--output={page}")
    assert said.status == 0
    text = page.read_text(encoding="utf-8")
    check_page(text, svgs=0)
    assert "&lt;b&gt;&amp;" in text
    assert "<b>&" not in text


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        (["--runs={root}/none"], 2, "none': no such folder; give the folder"),
        (["--runs={root}/empty"], 2, "empty': holds no run; give the folder"),
        (["--output=a.txt"], 2, "'a.txt': not a table; give FILE.html or"),
        (
            ["--runs={root}/runs", "--output={root}/none/a.csv"],
            1,
            "a.csv': cannot be written to (No such file or directory); give",
        ),
        (["--workdir=w"], 2, "--workdir"),
    ],
    ids=["missing", "empty", "suffix", "folder of output", "another flag"],
)
def test_misuse_is_one_line(runs, tmp_path, flags, status, words):
    (tmp_path / "empty").mkdir()
    said = command(
        "--stage=list_runs",
        *(x.replace("{root}", str(tmp_path)) for x in flags),
    )
    assert (said.status, said.err.count("\n")) == (status, 1)
    assert words in said.err
