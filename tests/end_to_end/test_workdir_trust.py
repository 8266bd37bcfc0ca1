"""A workdir is taken only if it is one, and what it holds is not trusted."""

from __future__ import annotations

import json
import os
import pathlib
import time
from typing import Any

import pytest

from tests.support.stage import METRICS
from trainer.config import Config
from trainer.config.fields import FIELDS
from trainer.errors import TrainerError, UsageError
from trainer.workdir import MARKER, Workdir, stored
from trainer.workdir.lock import locked
from trainer.workdir.stored import stored_config


def snapshot(folder: pathlib.Path) -> dict[str, Any]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        if path.is_file()
        else os.lstat(path).st_mode
        for path in folder.rglob("*")
    }


FOREIGN: dict[str, dict[str, str]] = {
    "another tool's metrics": {"metrics.jsonl": '{"loss": 1}\n'},
    "another tool's config": {"config.json": '{"lr": 1e-3}'},
    "another tool's config in our form": {
        "config.json": '{"config": {"stage": "deploy"}, "runs": {}}'
    },
    "a lock": {"lock": ""},
    "photos": {"pizza/1.jpg": "x"},
    "a hidden file": {".git/HEAD": "ref"},
    "a marker of another program": {
        MARKER: '{"program": "another"}',
        "result.json": "{}",
    },
    "a broken marker": {MARKER: "{", "result.json": "{}"},
    "another partial file": {"download.partial": "x"},
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_folder_is_refused_as_workdir(
    tmp_path: pathlib.Path, case: str
) -> None:
    for name, text in FOREIGN[case].items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    before = snapshot(tmp_path)
    with pytest.raises(UsageError) as caught:
        Workdir(str(tmp_path)).create()
    found = str(caught.value)
    first = min(name.split("/")[0] for name in FOREIGN[case] if name != MARKER)
    assert found == (
        f"--workdir={str(tmp_path)!r}: holds {first!r} and no {MARKER}, so it"
        " is not a workdir of this program; give a folder that is new or empty"
    )
    assert snapshot(tmp_path) == before
    # The remedy works.
    Workdir(str(tmp_path / "new")).create()


OURS = json.dumps({"config": {"stage": "finetune"}, "runs": {}})
EARLIER: dict[str, dict[str, str]] = {
    "an empty folder": {},
    "what a kill left": {".0123456789abcdef.partial": "{"},
    "a run of an earlier version": {"config.json": OURS, "metrics.jsonl": ""},
    "a study of an earlier version": {
        "seed0/model2/config.json": OURS,
        "study.json": "{}",
    },
    "a study that was interrupted": {"seed0/model0/config.json": OURS},
}


@pytest.mark.parametrize("case", EARLIER)
def test_workdirs_of_earlier_versions_are_accepted(
    tmp_path: pathlib.Path, case: str
) -> None:
    for name, text in EARLIER[case].items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for _ in range(2):
        Workdir(str(tmp_path)).create()
    assert {*snapshot(tmp_path)} >= {MARKER, *EARLIER[case]}
    assert json.loads((tmp_path / MARKER).read_text()) == {
        "program": "transfer-trainer",
        "format": 1,
    }


def test_an_empty_new_workdir_is_removed(tmp_path: pathlib.Path) -> None:
    workdir = Workdir(str(tmp_path / "run"))
    workdir.create()
    workdir.remove_if_empty()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name",
    [
        "checkpoints/finetune/last/ckpt-5.index",
        "checkpoints/finetune/best/ckpt-5_temp",
        "checkpoints/feature_extract/epoch/checkpoint",
    ],
)
def test_links_among_checkpoints_are_refused(
    tmp_path: pathlib.Path, name: str
) -> None:
    workdir = Workdir(str(tmp_path / "run"))
    workdir.create()
    link = tmp_path / "run" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "precious")
    with pytest.raises(TrainerError, match=r"ckpt-5|checkpoint: a link.*re"):
        workdir.create()
    link.unlink()
    workdir.create()


@pytest.mark.parametrize("what", ["link", "pipe"])
def test_a_lock_that_is_not_a_regular_file_is_refused(
    tmp_path: pathlib.Path, what: str
) -> None:
    workdir = Workdir(str(tmp_path / "run"))
    workdir.create()
    victim = tmp_path / "precious"
    victim.write_text("mine")
    lock = tmp_path / "run" / "lock"
    lock.symlink_to(victim) if what == "link" else os.mkfifo(lock)
    with (
        pytest.raises(TrainerError, match=r"lock: (a link|not a regular)"),
        locked(workdir),
    ):
        pass
    assert victim.read_text() == "mine"


def test_partial_files_of_killed_runs_are_removed(
    tmp_path: pathlib.Path,
) -> None:
    workdir = Workdir(str(tmp_path))
    workdir.create()
    folder = tmp_path / "checkpoints" / "finetune"
    folder.mkdir(parents=True)
    names = {
        ".0123456789abcdef.partial": 7200,
        ".0000000000000000.partial": 30,
        "mine.partial": 7200,
        "checkpoints/finetune/.0123456789abcdef.partial": 0,
    }
    for name, age in names.items():
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    workdir.remove_partial()
    assert {n for n in names if (tmp_path / n).exists()} == {
        ".0000000000000000.partial",
        "mine.partial",
    }


def _write(path: pathlib.Path, content: bytes | str | None) -> None:
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(
            content.encode() if isinstance(content, str) else content
        )


DAMAGED: dict[str, tuple[str, bytes | str | None, str]] = {
    "a list": ("config.json", "[]", "holds a list"),
    "a number": ("config.json", "3", "holds a int"),
    "empty": ("config.json", "", "Expecting value"),
    "a pipe": ("config.json", None, "not a regular file"),
    "no text": ("config.json", b"\xff\xfe{}", "codec"),
    "nested deeply": ("config.json", "[" * 100_000, "recursion"),
    "runs is a list": ("config.json", '{"runs": []}', "runs is a list"),
    "a run is a text": ("config.json", '{"runs": {"finetune": ""}}', "runs.f"),
    "config is null": ("config.json", '{"config": null}', "config is a None"),
    "environment": ("config.json", '{"environment": 1}', "environment is a"),
    "no classes": ("manifest.json", "{}", "class_names is missing"),
    "classes are numbers": (
        "manifest.json",
        '{"class_names": [1]}',
        r"class_names\[0\] is a int",
    ),
    "no architecture": ("backbone.json", "{}", "architecture is missing"),
    "architecture": (
        "backbone.json",
        '{"architecture": {}}',
        "architecture is a dict",
    ),
    "no figures": ("result.json", "{}", "stage is missing"),
    "a figure is a text": (
        "result.json",
        json.dumps({**METRICS, "test_loss": "low"}),
        "test_loss is a str",
    ),
    "steps is true": (
        "result.json",
        json.dumps({**METRICS, "steps": True}),
        "steps is a bool",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_one_line(tmp_path: pathlib.Path, case: str) -> None:
    name, content, reason = DAMAGED[case]
    _write(tmp_path / name, content)
    with pytest.raises(TrainerError, match=reason) as caught:
        Workdir(str(tmp_path)).read_json(name)
    found = str(caught.value)
    assert found.startswith(f"{tmp_path / name}: cannot be read (")
    assert found.endswith("; restore it, or use another --workdir")
    assert "\n" not in found


def test_a_file_that_is_too_large_is_not_read(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "MAX_BYTES", 10)
    (tmp_path / "config.json").write_text('{"a": 1, "b": 2}')
    with pytest.raises(TrainerError, match="has 16 bytes"):
        Workdir(str(tmp_path)).read_json("config.json")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"batch_size": 2**42}, "--batch_size=4398046511104: must be a whole"),
        ({"batch_size": "32"}, "batch_size is a str"),
        ({"batch_size": True}, "batch_size is a bool"),
        ({"batch_size": None}, "batch_size is a NoneType"),
        ({"image_size": 10**6}, "--image_size=1000000: must be"),
        ({"logical_cpus": 10**6}, "--logical_cpus=1000000: must be"),
        ({"unfreeze": "regex:("}, "--unfreeze='regex:('"),
        ({"learning_rate": "nan"}, "learning_rate is a str"),
        ({"stage": "deploy"}, "--stage='deploy'"),
        ({"dataset": ""}, "--dataset=''"),
        ({"models": []}, "models is a list"),
    ],
)
def test_an_illegal_stored_value_is_refused(
    values: dict[str, Any], reason: str
) -> None:
    whole = {**Config(stage="finetune").to_json(), **values}
    with pytest.raises(TrainerError) as caught:
        stored_config("/w/config.json", whole)
    found = str(caught.value)
    assert found.startswith("/w/config.json: ")
    assert reason in found
    assert found.endswith("; restore the file, or use another workdir")


def test_every_stored_configuration_is_read_back() -> None:
    config = Config(
        stage="finetune",
        learning_rate=1,
        image_size=32,
        clip_global_norm=0.5,
        weights="none",
    )
    assert stored_config("config.json", config.to_json()) == config
    newer = {**config.to_json(), "of_a_newer_version": 3}
    assert stored_config("config.json", newer) == config
    assert {str(f.type).split(" | ")[0] for f in FIELDS.values()} == {
        "str",
        "int",
        "float",
        "bool",
    }
