"""Whole files or none, and metrics cut where a checkpoint was written."""

import json
import os

import pytest

from trainer.errors import TrainerError, UsageError
from trainer.workdir import MetricsFile, Workdir


def test_json_files_are_replaced_in_one_move(tmp_path):
    workdir = Workdir(str(tmp_path / "a b" / "пицца"))
    workdir.create()
    assert workdir.read_json("x.json") is None
    workdir.write_json("x.json", {"a": 1})
    workdir.write_json("x.json", {"a": "ü"})
    assert workdir.read_json("x.json") == {"a": "ü"}
    assert [p.name for p in (tmp_path / "a b" / "пицца").iterdir()] == [
        "x.json"
    ]


def test_a_path_that_is_no_text_comes_back(tmp_path, capsys):
    workdir = Workdir(str(tmp_path))
    values = {"dataset": os.fsdecode(b"/photos/\xff\n")}
    workdir.write_json("x.json", values)
    assert workdir.read_json("x.json") == values
    workdir.warn(f"{values['dataset']} is odd")
    assert capsys.readouterr().out == ("warning: /photos/\\udcff\\n is odd\n")
    (line,) = (tmp_path / "events.jsonl").read_text().splitlines()
    assert json.loads(line)["text"] == "/photos/\udcff\n is odd"


def test_a_broken_json_file_is_named(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(TrainerError, match=r"x\.json: cannot be read"):
        Workdir(str(tmp_path)).read_json("x.json")


def test_a_workdir_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    path = str(tmp_path / "file" / "run")
    with pytest.raises(TrainerError) as error:
        Workdir(path).create()
    assert f"--workdir={path!r}: cannot be written to" in str(error.value)
    assert error.value.exit_status == 1


def test_a_missing_workdir_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="--init_from='.*': no such folder"):
        Workdir(str(tmp_path / "no")).require("init_from")


def test_metrics_are_cut_at_a_position(tmp_path):
    metrics = MetricsFile(str(tmp_path / "metrics.jsonl"))
    assert metrics.position() == 0
    metrics.append({"step": 1})
    position = metrics.position()
    metrics.append({"step": 2})
    metrics.cut(position)
    metrics.append({"step": 3})
    assert [line["step"] for line in metrics.lines()] == [1, 3]
    metrics.cut(10**6)
    assert [line["step"] for line in metrics.lines()] == [1, 3]


def test_events_carry_a_time(tmp_path):
    Workdir(str(tmp_path)).event("save", step=3)
    line = json.loads((tmp_path / "events.jsonl").read_text())
    assert (line["event"], line["step"]) == ("save", 3)
    assert line["time"] > 1e9


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("runs/a/events.jsonl", True),
        ("runs/a/checkpoints/x", True),
        ("runs/ab/events.jsonl", False),
        ("photos/1.jpg", False),
        (None, False),
    ],
)
def test_what_lies_in_the_folder(path, inside):
    assert Workdir("runs/a").has(path) is inside
