"""Tests of the files of a workdir: each is complete or missing."""

import json
import os
import re
import uuid

import pytest
import tensorflow as tf

from tests.support.bucket import Bucket
from trainer.errors import TrainerError, UsageError
from trainer.storage import files, remote
from trainer.workdir import MARKER, MetricsFile, Workdir, stored


def test_json_files_are_replaced_atomically(tmp_path):
    workdir = Workdir(str(tmp_path / "a b" / "пицца"))
    workdir.create()
    assert workdir.read_json("x.json") is None
    workdir.write_json("x.json", {"a": 1})
    workdir.write_json("x.json", {"a": "ü"})
    assert workdir.read_json("x.json") == {"a": "ü"}
    folder = tmp_path / "a b" / "пицца"
    assert sorted(p.name for p in folder.iterdir()) == [MARKER, "x.json"]


def test_a_path_with_invalid_bytes_is_read_back(tmp_path, capsys):
    workdir = Workdir(str(tmp_path))
    values = {"dataset": os.fsdecode(b"/photos/\xff\n")}
    workdir.write_json("x.json", values)
    assert workdir.read_json("x.json") == values
    workdir.warn(f"{values['dataset']} is odd")
    assert capsys.readouterr().out == ("warning: /photos/\\udcff\\n is odd\n")
    (line,) = (tmp_path / "events.jsonl").read_text().splitlines()
    assert json.loads(line)["text"] == "/photos/\udcff\n is odd"


def test_an_invalid_json_file_is_named(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(TrainerError, match=r"x\.json: cannot be read"):
        Workdir(str(tmp_path)).read_json("x.json")


def test_an_unwritable_workdir_is_a_one_line_error(tmp_path):
    (tmp_path / "file").write_text("")
    path = str(tmp_path / "file" / "run")
    with pytest.raises(TrainerError) as error:
        Workdir(path).create()
    assert f"--workdir={path!r}: cannot be written to" in str(error.value)
    assert error.value.exit_status == 1


def test_a_missing_workdir_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"--init_from='.*': no such folder"):
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


@pytest.fixture
def synced(monkeypatch) -> list[str]:
    """The disk operations so far, as "sync SIZE" and "replace NAME"."""
    happened = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(fd: int) -> None:
        happened.append(f"sync {os.fstat(fd).st_size}")
        fsync(fd)

    def spy_replace(source: str, target: str) -> None:
        happened.append(f"replace {os.path.basename(target)}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    return happened


def test_metrics_are_synced_before_their_position_is_known(tmp_path, synced):
    """A checkpoint must not store a position that a power cut could undo."""
    metrics = MetricsFile(str(tmp_path / "metrics.jsonl"))
    metrics.append({"step": 1})
    metrics.append({"step": 2})
    synced.clear()
    position = metrics.position()
    assert position == os.path.getsize(metrics.path)
    assert synced == [f"sync {position}"]


def test_json_files_are_synced_before_they_are_replaced(tmp_path, synced):
    workdir = Workdir(str(tmp_path))
    workdir.write_json("x.json", {"a": 1})
    size = os.path.getsize(tmp_path / "x.json")
    assert synced[:2] == [f"sync {size}", "replace x.json"]


@pytest.fixture(params=["ram", "bucket"])
def url(request, monkeypatch) -> str:
    """A workdir at a URL."""
    if request.param == "ram":
        return f"ram://{uuid.uuid4().hex}/run"
    bucket = Bucket()
    monkeypatch.setattr(remote, "_gfile", lambda path: bucket)
    return "gs://bucket/run"


def test_a_folder_at_a_url_is_created_and_removed(url):
    workdir = Workdir(url)
    assert workdir.create() is True
    assert workdir.create() is False
    assert files.names(url) == [MARKER]
    workdir.remove_if_empty()
    assert not files.exists(url)
    workdir.create()
    workdir.write_json("x.json", {"a": "ü"})
    workdir.remove_if_empty()
    assert workdir.read_json("x.json") == {"a": "ü"}
    workdir.remove("x.json")
    workdir.remove("x.json")
    assert workdir.read_json("x.json") is None


def test_events_at_a_url_are_written_at_once(url):
    workdir = Workdir(url)
    workdir.create()
    for step in (3, 4):
        workdir.event("save", step=step)
        found = files.read_text(f"{url}/events.jsonl").splitlines()
        assert json.loads(found[-1])["step"] == step
    assert len(found) == 2


def test_metrics_at_a_url_are_written_at_a_checkpoint(url):
    metrics = Workdir(url).metrics()
    metrics.append({"step": 1})
    metrics.append({"step": 2})
    # The lines are buffered.
    assert not files.exists(metrics.path)
    assert metrics.position() == len('{"step": 1}\n{"step": 2}\n')
    assert files.read(metrics.path) == b'{"step": 1}\n{"step": 2}\n'
    metrics.append({"step": 3})
    metrics.cut(12)
    metrics.append({"step": 4})
    metrics.close()
    steps = [line["step"] for line in MetricsFile(metrics.path).lines()]
    assert steps == [1, 4]


def test_metrics_at_a_url_are_written_after_30_s(url):
    now = [100.0]
    metrics = MetricsFile(f"{url}/metrics.jsonl", clock=lambda: now[0])
    for step, seconds in ((1, 100.0), (2, 129.0), (3, 131.0), (4, 160.0)):
        now[0] = seconds
        metrics.append({"step": step})
    assert files.read(metrics.path).count(b"step") == 3


def test_a_lost_workdir_at_a_url_gets_no_metrics(url):
    workdir = Workdir(url)

    def lost() -> None:
        raise TrainerError("taken over")

    workdir.hold(lost)
    metrics = workdir.metrics()
    metrics.append({"step": 1})
    with pytest.raises(TrainerError, match="taken over"):
        metrics.position()
    metrics.close()
    assert not files.exists(metrics.path)


def test_all_writers_at_a_url_share_the_buffer(url):
    workdir = Workdir(url)
    one, two = workdir.metrics(), workdir.metrics()
    one.append({"step": 1})
    two.append({"step": 2})
    assert [line["step"] for line in one.lines()] == []
    assert two.position() > 0
    assert [line["step"] for line in one.lines()] == [1, 2]


def test_an_unreachable_bucket_is_a_one_line_error(monkeypatch):
    def away(path: str) -> None:
        raise tf.errors.PermissionDeniedError(None, None, "403 for you\nx")

    monkeypatch.setattr(tf.io.gfile, "makedirs", away)
    with pytest.raises(TrainerError) as error:
        Workdir("ram://none/run").create()
    assert str(error.value) == (
        "--workdir='ram://none/run': cannot be written to (403 for you); give"
        " a writable folder"
    )


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
def test_has_tells_whether_a_path_lies_in_the_folder(path, inside):
    assert Workdir("runs/a").has(path) is inside


@pytest.mark.parametrize(
    ("value", "shape", "reason"),
    [
        # To Python, a bool is an int.
        (True, int, "x is a bool"),
        (True, (int, float), "x is a bool"),
        (1.0, int, "x is a float"),
        ([1, "a"], [int], "x[1] is a str"),
        ({"a": {"b": None}}, {"a": {"b": str}}, "x.a.b is a NoneType"),
        ({"a": 1}, {str: str}, "x.a is a int"),
        ({}, {"a": int}, "x.a is missing"),
    ],
)
def test_a_value_of_another_type_is_named(value, shape, reason):
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        stored.check_shape(value, shape, "x")


def test_values_of_the_right_type_are_accepted():
    shape = {"a": (int, float), "b": [bool], "c?": str}
    for more in ({}, {"c": "x"}, {"unknown": None}):
        stored.check_shape({"a": 0.5, "b": [True], **more}, shape)
