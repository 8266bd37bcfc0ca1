"""Tests of class names that are markup for a terminal, TeX, HTML or a sheet."""

from __future__ import annotations

import csv
import json
import os
import pathlib
import subprocess
import sys
import types
from collections.abc import Iterator

import pytest

from tests.support.command import Said, arguments, command
from tests.support.pages import check_page
from tests.support.photos import make_photos
from tests.support.runs import TINY, lines, small
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.results.summaries import TensorBoardWriter
from trainer.run import report as run_report
from trainer.run.examples import ExampleReader
from trainer.study import report
from trainer.study import run as study

pytestmark = pytest.mark.slow

CLASSES = (
    "a$b$c_{",
    "<script>alert(1)<",
    "x|y`z`",
    "new\nline",
    "\x1b[31mred",
    "=cmd()",
    "日本語",
    "café\r",
    "_" + "x" * 200,
)
FAST = {
    "backbone": "MobileNetV2",
    "weights": "none",
    "image_size": 32,
    "batch_size": 8,
    "epochs": 1,
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("photos") / "$d_{|<b>"
    return make_photos(root, train=3, test=2, classes=CLASSES)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("runs") / "my $run"


@pytest.fixture(scope="module")
def trained(photos: str, workdir: pathlib.Path) -> Said:
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_tiny_backbone(monkeypatch)
        values = {**FAST, "stage": "feature_extract", "workdir": workdir}
        return command(*arguments({**values, "dataset": photos}))


def test_a_run_with_hostile_names_completes(
    trained: Said, workdir: pathlib.Path
) -> None:
    assert (trained.status, trained.err) == (0, "")
    assert not _warnings(workdir)
    assert trained.out.replace("\n", "").isprintable()
    for name in ("a$b$c_{", "new\\nline", "\\x1b[31mred", "日本語", "café\\r"):
        assert f"  {name} " in trained.out
    charts = f"tensorboard --logdir '{workdir}/tensorboard'"
    assert trained.out.splitlines()[-3] == charts
    result = json.loads((workdir / "result.json").read_text("utf-8"))
    # JSON files contain the names unescaped.
    assert set(result["classes"]) == set(CLASSES)


def test_the_report_of_a_run_escapes_names(
    trained: Said, workdir: pathlib.Path
) -> None:
    page = (workdir / "report.html").read_text("utf-8")
    check_page(page, svgs=7)
    assert f"report: {workdir}/report.html\n" in trained.out
    assert "&lt;script&gt;alert(1)&lt;" in page
    assert "日本語" in page


def test_evaluate_and_predict_with_hostile_names_complete(
    trained: Said, photos: str, workdir: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    said = command("--stage=evaluate", f"--workdir={workdir}")
    assert (said.status, said.err) == (0, "")
    assert said.out.replace("\n", "").isprintable()
    said = command(
        "--stage=predict",
        f"--workdir={workdir}",
        f"--inputs={photos}/test",
        f"--output={tmp_path}/p.csv",
        f"--top_k={len(CLASSES)}",
    )
    assert said.status == 0, said.err
    with open(tmp_path / "p.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * len(CLASSES)
    for row in rows:
        assert os.path.exists(row["file"])
        assert {
            row[f"class_{k}"].removeprefix("'")
            for k in range(1, len(CLASSES) + 1)
        } == set(CLASSES)


def test_libraries_print_nothing(photos: str, tmp_path: pathlib.Path) -> None:
    """Matplotlib warns of glyphs that its font lacks, unless that is hidden.

    Needs a process, because pytest catches warnings.
    """
    plain = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    values = {**FAST, "stage": "feature_extract", "dataset": photos}
    ended = subprocess.run(
        [
            sys.executable,
            "main.py",
            *arguments({**values, "workdir": tmp_path / "run"}),
            "--backbone_args=alpha=0.35",
        ],
        capture_output=True,
        text=True,
        env=plain,
        timeout=300,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def _warnings(workdir: pathlib.Path) -> list[str]:
    """Returns the recorded warnings; those about few images are not."""
    events = lines(workdir, "events.jsonl")
    return [e["text"] for e in events if e["event"] == "warning"]


PAGES = {
    "configuration": "configuration",
    "augmented": "augmented images",
    "hparams": "hyper-parameters",
    "confusion": "confusion matrix",
    "close": "last metrics",
}


def test_a_failing_page_is_one_warning(
    photos: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tiny_backbone(monkeypatch)

    def fail(*args: object) -> None:
        raise ValueError("Expected end of text, found '$'\n^")

    for function in PAGES:
        monkeypatch.setattr(TensorBoardWriter, function, fail)
    monkeypatch.setattr(run_report, "run_page", _fail)
    values = {**FAST, "stage": "feature_extract", "dataset": photos}
    workdir = tmp_path / "run"
    said = command(*arguments({**values, "workdir": workdir}))
    assert (said.status, said.err) == (0, "")
    warnings = [
        f"{workdir}/tensorboard: without the {what} (Expected end of text,"
        " found '$'); the run continues"
        for what in PAGES.values()
    ]
    assert all(f"warning: {warning}\n" in said.out for warning in warnings)
    recorded = _warnings(workdir)
    (report,) = set(recorded) - set(warnings)
    assert sorted(recorded) == sorted([*warnings, report])
    assert report.startswith(
        f"{workdir}/report.html: cannot be written (no room); the run is"
    )
    # The report is written after the end of the run.
    complete, after = lines(workdir, "events.jsonl")[-2:]
    assert complete["event"] == "complete"
    assert after["text"] == report
    assert (workdir / "result.json").exists()


def test_a_run_whose_report_fails_is_complete(
    photos: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tiny_backbone(monkeypatch)
    monkeypatch.setattr(ExampleReader, "activations", _fail)
    values = {**FAST, "stage": "feature_extract", "dataset": photos}
    workdir = tmp_path / "run"
    said = command(*arguments({**values, "workdir": workdir}))
    assert (said.status, said.err) == (0, "")
    (warning,) = _warnings(workdir)
    assert warning.startswith(
        f"{workdir}/report.html: cannot be written (no room); the run"
    )
    assert "report: " not in said.out
    assert (workdir / "result.json").exists()
    assert not (workdir / "report.html").exists()


def test_a_lost_lock_ends_the_run(
    photos: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tiny_backbone(monkeypatch)

    def fail(*args: object) -> None:
        raise TrainerError("another process holds the workdir")

    monkeypatch.setattr(TensorBoardWriter, "confusion", fail)
    values = {**FAST, "stage": "feature_extract", "dataset": photos}
    said = command(*arguments({**values, "workdir": tmp_path / "run"}))
    assert said.err == "error: another process holds the workdir\n"
    assert said.status == 1


@pytest.mark.parametrize("output", [True, False])
def test_predict_fails_if_no_file_can_be_read(
    trained: Said, workdir: pathlib.Path, tmp_path: pathlib.Path, output: bool
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "-a.jpg").write_bytes(b"<html>")
    (folder / "b.jpg").write_bytes(b"")
    flags = [f"--output={tmp_path}/p.csv"] if output else []
    said = command(
        "--stage=predict", f"--workdir={workdir}", f"--inputs={folder}", *flags
    )
    assert said.status == 1
    assert said.err == (
        f"error: --inputs={str(folder)!r}: none of the 2 files could be read;"
        f" the first error is {folder}/-a.jpg: looks like HTML; JPEG, PNG, BMP,"
        " GIF and WebP can be read; give readable images\n"
    )
    # The rows are written nevertheless.
    text = (tmp_path / "p.csv").read_text() if output else said.out
    rows = list(csv.DictReader(text.splitlines()))
    assert [bool(row["error"]) for row in rows] == [True, True]


def test_predict_succeeds_if_one_file_can_be_read(
    trained: Said, photos: str, workdir: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    good = next(pathlib.Path(photos).glob("test/*/*.jpg"))
    (tmp_path / "bad.jpg").write_bytes(b"")
    (tmp_path / "good.jpg").write_bytes(good.read_bytes())
    said = command(
        "--stage=predict", f"--workdir={workdir}", f"--inputs={tmp_path}"
    )
    assert said.status == 0
    assert said.err.startswith("2 files with feature_extract at step ")
    assert said.err.endswith(", 1 of them could not be read\n")


@pytest.fixture(scope="module")
def studied(
    photos: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[pathlib.Path]:
    """A study of one model, whose report the tests write again."""
    workdir = tmp_path_factory.mktemp("studies") / "study"
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_tiny_backbone(monkeypatch)
        study.train(_study(photos, workdir))
        yield workdir


def _study(photos: str, workdir: pathlib.Path) -> Config:
    values = {**TINY, "stage": "study", "models": "0"}
    return Config(**small(photos, workdir, **values))


def test_a_study_escapes_names(photos: str, studied: pathlib.Path) -> None:
    page = (studied / "report.html").read_text("utf-8")
    # Two curves, the bars and the matrix.
    check_page(page, svgs=4)
    assert '<a href="seed0/model0/report.html">model 0</a>' in page
    assert (studied / "seed0/model0/report.html").exists()
    text = (studied / "study.md").read_text("utf-8")
    assert "on &#36;d&#95;{&#124;&#60;b&#62;, 9 classes" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1


def _fail(*args: object, **values: object) -> None:
    raise RuntimeError("no room\nto draw")


BROKEN: dict[str, tuple[types.ModuleType, str, str]] = {
    "learning_curves": (report, "the learning curves could", "not be drawn"),
    "class_bars": (report, "the accuracy by class could", "not be drawn"),
    "matrix": (report, "the confusion matrix could", "not be drawn"),
    "find_mistakes": (study, "the most confident mistakes", "not be found"),
    "write_html": (study, "cannot be written", ""),
}


@pytest.mark.parametrize("written", [True, False])
def test_a_failing_report_is_one_warning_a_part(
    photos: str,
    studied: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    written: bool,
) -> None:
    page = studied / "report.html"
    page.unlink(missing_ok=True)
    names = set(BROKEN) - {"write_html"} if written else {"write_html"}
    broken = {name: BROKEN[name] for name in names}
    for name, (module, _, _) in broken.items():
        monkeypatch.setattr(module, name, _fail)
    study.train(_study(photos, studied))
    said = capsys.readouterr().out
    assert said.count("warning: ") == said.count("(no room)") == len(broken)
    for _, warning, _ in broken.values():
        assert f"warning: {page}: {warning}" in said
    assert page.exists() is written
    assert (f"report: {page}" in said) is written
    if written:
        text = page.read_text("utf-8")
        assert "not be drawn" in text
        assert "not be found" in text
