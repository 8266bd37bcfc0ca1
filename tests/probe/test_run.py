"""Whole probes of tiny backbones, in this process and in others."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.probe.waiting import wait_for_child, wait_until_gone
from tests.support.photos import make_photos
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.errors import TrainerError, UsageError
from trainer.probe import child
from trainer.probe.measure import measure
from trainer.probe.row import row_from_json
from trainer.probe.run import probe
from trainer.results.statistics import wilson_interval

TWO = "MobileNetV2:weights=none,EfficientNetB0:weights=none"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Photos whose test split cannot be read."""
    folder = tmp_path_factory.mktemp("photos")
    make_photos(folder, train=8, test=2)
    for path in folder.glob("test/*/*.jpg"):
        path.write_bytes(b"not an image")
    return str(folder)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Measures tiny backbones in this process; returns their names."""
    use_tiny_backbone(monkeypatch)
    monkeypatch.setattr(child.Processes, "_start_next", lambda self: None)
    labels: list[str] = []

    def here(processes: child.Processes, job: child.Job) -> Any:
        labels.append(job.candidate.label)
        return measure(job.candidate, job.split, job.key, measured=job.measured)

    monkeypatch.setattr(child.Processes, "measure", here)
    return labels


def config(photos: str, workdir: pathlib.Path, **values: Any) -> Config:
    return Config(
        **{
            "stage": "probe",
            "dataset": photos,
            "workdir": str(workdir),
            "image_size": 32,
            # That of this process may hold features of the same images.
            "cache_dir": str(workdir.parent / "cache"),
            "backbones": TWO,
            **values,
        }
    )


def stored(workdir: pathlib.Path) -> dict[str, Any]:
    return json.loads((workdir / "probe.json").read_text())


@pytest.mark.slow
def test_probe_writes_the_rows_and_reads_no_test_image(
    photos: str,
    tmp_path: pathlib.Path,
    measured: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real, known = child.Processes.measure, []
    monkeypatch.setattr(
        child.Processes,
        "measure",
        lambda both, job: known.append(job.measured) or real(both, job),
    )
    probe(config(photos, tmp_path / "p"))
    out = capsys.readouterr().out
    assert (
        "train/; validation: 24 photos, 5-fold cross-validation of the training"
        " photos; test: not read; 8 photos of each class"
    ) in out
    assert out.splitlines()[-1].startswith("  python main.py --stage=finetune")
    found = stored(tmp_path / "p")
    assert found["train_examples"] == 24
    assert not found["test_split_used"]
    assert {row["label"] for row in found["rows"]} == set(TWO.split(","))
    for row in found["rows"]:
        correct = row["head_accuracy"] * 24
        assert correct == pytest.approx(round(correct))
        assert row["head_interval"] == pytest.approx(
            wilson_interval(row["head_accuracy"], 24)
        )
        # Three convolutions: 3 * 9 * 8 + 8 * 9 * 16 + 16 * 9 * 16, and four
        # values for each of 40 channels. EfficientNetB0 has a form of its own.
        assert row["parameters"] in (3832, 3839)
        assert row["megabytes"] == pytest.approx(
            row["parameters"] * 4e-6, abs=5e-4
        )
        assert row["image_px"] == 32
        assert row["images_per_second"] > 0
        assert row["images_timed"] == 24
    assert found["recommended"] in TWO.split(",")
    assert (tmp_path / "p/probe.png").read_bytes().startswith(b"\x89PNG")
    probe(config(photos, tmp_path / "p"))
    assert measured == TWO.split(",")
    assert stored(tmp_path / "p") == found
    # In another workdir the features are cached, and their speed is known.
    one = TWO.split(",")[0]
    probe(config(photos, tmp_path / "q", backbones=one))
    (again,) = stored(tmp_path / "q")["rows"]
    assert measured == [*TWO.split(","), one]
    assert known == [False, False, True]
    (before,) = (row for row in found["rows"] if row["label"] == one)
    assert again["images_timed"] == 0
    for name in ("images_per_second", "head_accuracy", "head_l2"):
        assert again[name] == before[name]


@pytest.mark.slow
def test_rows_of_other_settings_are_measured_again(
    photos: str,
    tmp_path: pathlib.Path,
    measured: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """So are all rows if their file is broken."""
    one = {"backbones": "MobileNetV2:weights=none"}
    probe(config(photos, tmp_path, **one))
    row = row_from_json(stored(tmp_path)["rows"][0])
    assert row is not None

    def known(processes: child.Processes, job: child.Job) -> Any:
        """Returns the scores of the first, because only the key matters."""
        measured.append(job.candidate.label)
        return dataclasses.replace(row, key=job.key, label=job.candidate.label)

    monkeypatch.setattr(child.Processes, "measure", known)
    for changes in (
        {"seed": 1},
        {"data_pct": 50.0},
        {"backbones": "MobileNetV2:alpha=0.5:weights=none"},
    ):
        count = len(measured)
        for _ in range(2):
            probe(config(photos, tmp_path, **{**one, **changes}))
        assert len(measured) == count + 1, changes
    probe(config(photos, tmp_path, **one))
    assert len(measured) == 4
    assert len(stored(tmp_path)["earlier_rows"]) == 3
    (tmp_path / "probe.json").write_text("{")
    probe(config(photos, tmp_path, **one))
    assert "all backbones are measured again" in capsys.readouterr().out
    assert len(measured) == 5
    assert stored(tmp_path)["recommended"] == "MobileNetV2:weights=none"


@pytest.mark.slow
def test_a_failed_backbone_is_a_row_and_is_tried_again(
    photos: str,
    tmp_path: pathlib.Path,
    measured: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    works = child.Processes.measure

    def fails(processes: child.Processes, job: child.Job) -> Any:
        if "EfficientNetB0" in job.candidate.label:
            raise TrainerError("its process was ended by SIGKILL")
        return works(processes, job)

    monkeypatch.setattr(child.Processes, "measure", fails)
    probe(config(photos, tmp_path))
    out = capsys.readouterr().out
    assert "EfficientNetB0:weights=none: failed: its process was ended" in out
    first, last = stored(tmp_path)["rows"]
    assert first["label"] == "MobileNetV2:weights=none"
    assert last["error"] == "its process was ended by SIGKILL"
    assert last["head_accuracy"] is None
    monkeypatch.setattr(child.Processes, "measure", works)
    probe(config(photos, tmp_path))
    assert measured == TWO.split(",")
    assert not any(row["error"] for row in stored(tmp_path)["rows"])


def test_all_backbones_failing_is_an_error(
    photos: str,
    tmp_path: pathlib.Path,
    measured: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(processes: child.Processes, job: child.Job) -> Any:
        raise TrainerError("no memory")

    monkeypatch.setattr(child.Processes, "measure", fails)
    with pytest.raises(TrainerError, match="none of the 2 backbones could be"):
        probe(config(photos, tmp_path))


@pytest.mark.parametrize(
    ("backbones", "what"),
    [
        ("MobileNetV2:weights=none,VGG61", "'VGG61': no such backbone (did"),
        (
            "MobileNetV2:weights=none,VGG16",
            "VGG16: its ImageNet weights are not on this machine",
        ),
        ("EfficientNetLite4", "none are published as a package"),
        ("MobileNetV2:size=3:weights=none", "size is not an argument of"),
        ("MobileNetV2:weights=no.h5", "--weights='no.h5': no such file"),
    ],
)
def test_a_bad_backbone_is_named_before_any_work(
    photos: str,
    tmp_path: pathlib.Path,
    measured: list[str],
    monkeypatch: pytest.MonkeyPatch,
    backbones: str,
    what: str,
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    with pytest.raises(UsageError) as refused:
        probe(config(photos, tmp_path / "p", backbones=backbones))
    assert what in str(refused.value)
    assert str(refused.value).startswith("--backbones=")
    assert measured == []
    assert not (tmp_path / "p").exists()


def test_one_image_per_class_is_refused(
    photos: str, tmp_path: pathlib.Path, measured: list[str]
) -> None:
    with pytest.raises(TrainerError, match="one training image per class"):
        probe(config(photos, tmp_path / "p", data_pct=1.0))
    assert not (tmp_path / "p").exists()


def test_unset_backbones_are_those_at_hand(
    photos: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.probe.candidates import find_candidates

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    asked = config(photos, tmp_path / "p", backbones=None, image_size=None)
    lite = [found.label for found in find_candidates(asked)]
    assert "EfficientNetLite0" in lite
    assert all(name.startswith("EfficientNetLite") for name in lite)
    models = tmp_path / "models"
    models.mkdir()
    (models / "convnext_tiny_notop.h5").write_bytes(b"weights")
    found = find_candidates(asked)
    assert [x.label for x in found] == [*lite, "ConvNeXtTiny"]
    assert found[-1].weights.path == str(models / "convnext_tiny_notop.h5")
    assert [x.config.image_size for x in found][:1] == [224]


SMALL = "MobileNetV2:alpha=0.35:weights=none"


def command(photos: str, workdir: pathlib.Path) -> list[str]:
    flags = {
        "stage": "probe",
        "dataset": photos,
        "workdir": workdir,
        "image_size": 32,
        # The cache of this process holds tiny architectures.
        "cache_dir": workdir.parent / "cache",
        "backbones": f"EfficientNetLite0,{SMALL}",
    }
    return [sys.executable, "main.py"] + [
        f"--{k}={v}" for k, v in flags.items()
    ]


@pytest.mark.slow
def test_a_signal_ends_the_process_of_a_backbone(
    photos: str, tmp_path: pathlib.Path
) -> None:
    program = subprocess.Popen(
        command(photos, tmp_path / "p"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    measuring = wait_for_child(program.pid)
    program.send_signal(signal.SIGINT)
    _, error = program.communicate(timeout=60)
    assert program.returncode == 128 + signal.SIGINT
    assert "the same command continues with the next backbone" in error
    wait_until_gone(measuring)


@pytest.mark.slow
def test_a_killed_process_is_a_row_and_the_others_go_on(
    photos: str, tmp_path: pathlib.Path
) -> None:
    """Each backbone has a process of its own."""
    program = subprocess.Popen(
        command(photos, tmp_path / "p"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.kill(wait_for_child(program.pid), signal.SIGKILL)
    out, error = program.communicate(timeout=300)
    assert (program.returncode, error) == (0, "")
    (row,) = (row for row in stored(tmp_path / "p")["rows"] if not row["error"])
    assert row["parameters"] == 410208
    assert row["head_accuracy"] > 0
    assert "EfficientNetLite0: failed: its process was ended by SIGKILL" in out
    assert stored(tmp_path / "p")["recommended"] == SMALL


@pytest.mark.slow
def test_a_killed_program_leaves_no_process(
    photos: str, tmp_path: pathlib.Path
) -> None:
    program = subprocess.Popen(
        command(photos, tmp_path / "p"), stdout=subprocess.DEVNULL
    )
    measuring = wait_for_child(program.pid)
    program.kill()
    program.wait()
    wait_until_gone(measuring)
