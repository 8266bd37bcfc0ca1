"""Tests of workdirs used from another folder, untrusted or damaged."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.command import Said, arguments, command
from tests.support.photos import make_photos
from tests.support.runs import small
from tests.support.tiny import use_tiny_backbone
from trainer.cache.disk import NAME

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_backbone(patch)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with `photos` and `run`, which was trained in that folder."""
    home = tmp_path_factory.mktemp("elsewhere") / "home"
    make_photos(home / "photos", train=4, test=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        flags = small("photos", pathlib.Path("run"), stage="finetune")
        flags |= {"weights": "none", "backbone_args": "", "unfreeze": "last:2"}
        flags["augment"] = False
        said = command(*arguments(flags))
    assert said.status == 0, said.err
    return home


def a_copy(trained: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(trained / "run", tmp_path / "run"))


def of(stage: str, workdir: pathlib.Path, **flags: Any) -> Said:
    if stage == "export":
        flags["export_formats"] = "keras"
    return command(*arguments({"stage": stage, "workdir": workdir, **flags}))


@pytest.mark.parametrize("stage", ["evaluate", "export"])
def test_the_dataset_is_found_from_another_folder(
    trained: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
) -> None:
    """The manifest's absolute path is read, not the relative one."""
    monkeypatch.chdir(tmp_path)
    make_photos(tmp_path / "photos", train=1, test=1)
    said = of(stage, a_copy(trained, tmp_path))
    assert said.status == 0, said.err
    assert (
        f"--dataset not given: the run's images in {trained}/photos" in said.out
    )
    assert "9 examples" in said.out or "on 9 images" in said.out


def test_without_a_location_evaluate_uses_the_stored_path(
    trained: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workdir = a_copy(trained, tmp_path)
    path = workdir / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["location"]
    path.write_text(json.dumps(manifest))
    monkeypatch.chdir(trained)
    assert of("evaluate", workdir).status == 0
    monkeypatch.chdir(tmp_path)
    said = of("evaluate", workdir)
    assert said.status == 2
    assert "no longer in photos; give" in said.err


def test_evaluate_asks_for_a_missing_data_set(
    trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    workdir = a_copy(trained, tmp_path)
    manifest = workdir / "manifest.json"
    gone = manifest.read_text().replace(str(trained), str(tmp_path / "gone"))
    manifest.write_text(gone)
    said = of("evaluate", workdir)
    assert (said.status, said.err) == (
        2,
        "error: --dataset: not given, and the run's images are no longer in"
        f" {tmp_path}/gone/photos; give --dataset=FOLDER\n",
    )
    # The remedy works.
    said = of("evaluate", workdir, dataset=trained / "photos")
    assert said.status == 0, said.err


def test_export_works_without_the_images(
    trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    workdir = a_copy(trained, tmp_path)
    manifest = workdir / "manifest.json"
    gone = manifest.read_text().replace(str(trained), str(tmp_path / "gone"))
    manifest.write_text(gone)
    said = of("export", workdir)
    assert said.status == 0, said.err
    assert "warning: the run's images cannot be read, so the export is" in (
        said.out
    )
    record = json.loads((workdir / "export" / "export.json").read_text())
    assert record["compared_images"] == 8
    # If --dataset names a missing data set, that is still an error.
    said = of("export", workdir, dataset=tmp_path / "gone")
    assert said.status == 2


@pytest.mark.parametrize("stage", ["evaluate", "export"])
def test_a_stored_url_is_not_opened(
    trained: pathlib.Path, tmp_path: pathlib.Path, stage: str
) -> None:
    workdir = a_copy(trained, tmp_path)
    for name in ("config.json", "manifest.json"):
        path = workdir / name
        text = path.read_text().replace(f"{trained}/photos", "gs://evil/x")
        text = text.replace('"dataset": "photos"', '"dataset": "gs://evil/x"')
        path.write_text(text)
    said = of(stage, workdir)
    if stage == "evaluate":
        assert said.status == 2
        assert "--dataset: not given, and the run's images are at gs://ev" in (
            said.err
        )
    else:
        assert said.status == 0, said.err
        assert "compared on 8 generated ones (--dataset: not given" in said.out


def test_stored_paths_caches_and_budgets_are_ignored(
    trained: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workdir = a_copy(trained, tmp_path)
    evil, mine = tmp_path / "evil", tmp_path / "mine"
    for folder in (evil, mine):
        (folder / "0123456789abcdef01234567" / "rows-abcdefgh").mkdir(
            parents=True
        )
    before = sorted(evil.rglob("*"))
    path = workdir / "config.json"
    stored = json.loads(path.read_text())
    stored["config"] |= {
        "cache": "disk",
        "cache_dir": str(evil),
        "cache_disk_mib": 0,
        "cache_ram_mib": 2**40,
        "tfds_data_dir": str(evil),
        "init_from": str(evil),
        "weights": str(evil),
        "output": str(evil / "out"),
        "inputs": str(evil),
        "tpu": "grpc://evil:8470",
    }
    path.write_text(json.dumps(stored))
    monkeypatch.setenv("XDG_CACHE_HOME", str(mine))
    said = of("evaluate", workdir, trunk_engine="graph")
    assert said.status == 0, said.err
    assert sorted(evil.rglob("*")) == before
    assert (mine / NAME).is_dir(), said.out + said.err


def _drop(name: str) -> Callable[[pathlib.Path], None]:
    return lambda workdir: (workdir / name).unlink()


def _put(name: str, text: str) -> Callable[[pathlib.Path], object]:
    return lambda workdir: (workdir / name).write_text(text)


def _pipe(name: str) -> Callable[[pathlib.Path], None]:
    def damage(workdir: pathlib.Path) -> None:
        (workdir / name).unlink()
        os.mkfifo(workdir / name)

    return damage


def _config(**values: Any) -> Callable[[pathlib.Path], None]:
    def damage(workdir: pathlib.Path) -> None:
        path = workdir / "config.json"
        stored = json.loads(path.read_text())
        stored["config"] |= values
        path.write_text(json.dumps(stored))

    return damage


def _every(pattern: str, change: Callable[[bytes], bytes]) -> Any:
    def damage(workdir: pathlib.Path) -> None:
        found = list(workdir.glob(f"checkpoints/*/last/{pattern}"))
        assert found
        for path in found:
            path.write_bytes(change(path.read_bytes()))

    return damage


DAMAGED: dict[str, tuple[Callable[[pathlib.Path], object], str]] = {
    "no config": (_drop("config.json"), "holds no checkpoint"),
    "config is a list": (_put("config.json", "[]"), "holds a list"),
    "config is empty": (_put("config.json", ""), "config.json: cannot be"),
    "config is {}": (_put("config.json", "{}"), "holds no checkpoint"),
    "config is a pipe": (_pipe("config.json"), "not a regular file"),
    "no manifest": (_drop("manifest.json"), "manifest.json: missing"),
    "manifest is a list": (_put("manifest.json", "[]"), "holds a list"),
    "manifest is a pipe": (_pipe("manifest.json"), "not a regular file"),
    "a single class": (
        _put("manifest.json", '{"class_names": ["a"]}'),
        "bad cl",
    ),
    "a repeated class": (
        _put("manifest.json", '{"class_names": ["a", "b", "a"]}'),
        "bad classes",
    ),
    "another number of classes": (
        _put("manifest.json", '{"class_names": ["a", "b", "c", "d"]}'),
        "cannot be restored|classes are",
    ),
    "no backbone": (_drop("backbone.json"), "backbone.json: missing"),
    "backbone is a list": (_put("backbone.json", "[]"), "holds a list"),
    "backbone is a pipe": (_pipe("backbone.json"), "not a regular file"),
    "batch of terabytes": (
        _config(batch_size=10**6, image_size=8000),
        "takes 715,256 GiB",
    ),
    "batch size is a string": (_config(batch_size="8"), "batch_size is a str"),
    "an unknown stage": (_config(stage="deploy"), "--stage='deploy'"),
    "a rule that matches nothing": (
        _config(unfreeze="regex:no.*"),
        "matches none",
    ),
    "index is empty": (_every("*.index", lambda b: b""), "holds no checkp"),
    "index is truncated": (
        _every("*.index", lambda b: b[:-1]),
        "holds no checkp",
    ),
    "index is zeros": (
        _every("*.index", lambda b: bytes(len(b) - 8) + b[-8:]),
        "cannot be",
    ),
    "data is truncated": (_every("*.data-*", lambda b: b[:100]), "cannot be"),
    "data is empty": (_every("*.data-*", lambda b: b""), "cannot be"),
}


@pytest.mark.parametrize(
    ("case", "stage"),
    [
        *((case, "evaluate") for case in DAMAGED),
        ("config is a list", "export"),
        ("no manifest", "export"),
        ("data is truncated", "export"),
    ],
)
def test_a_damaged_workdir_is_a_one_line_error(
    trained: pathlib.Path, tmp_path: pathlib.Path, case: str, stage: str
) -> None:
    damage, words = DAMAGED[case]
    workdir = a_copy(trained, tmp_path)
    damage(workdir)
    said = of(stage, workdir)
    assert said.status in (1, 2), said.out
    assert said.err.count("\n") == 1
    assert said.err.startswith("error: ")
    assert re.search(words, said.err), said.err
