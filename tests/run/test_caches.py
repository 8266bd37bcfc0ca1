"""The caches of a run: where they are, and which folders are refused."""

from __future__ import annotations

import os
import pathlib

import pytest

from trainer.cache import CacheFolder
from trainer.cache.disk import NAME
from trainer.config import Config
from trainer.errors import UsageError
from trainer.run.caches import default_cache_dir, file_cache, row_cache


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache"),
    ],
)
def test_default_cache_dir_by_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert default_cache_dir() == expected


def test_an_untrusted_cache_dir_is_refused(
    tmp_path: pathlib.Path,
) -> None:
    """The error names the flag and the remedy."""
    CacheFolder(str(tmp_path), disk_bytes=1).make()
    (tmp_path / NAME).chmod(0o777)
    config = Config(stage="finetune", cache_dir=str(tmp_path))
    with pytest.raises(UsageError, match=r"^--cache_dir='.*': .* chmod 700"):
        file_cache(config)


def test_an_untrusted_default_cache_is_not_used(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    CacheFolder(str(tmp_path), disk_bytes=1).make()
    (tmp_path / NAME).chmod(0o777)
    # Another budget, so that no earlier test has opened it.
    config = Config(stage="finetune", cache_disk_mib=4321)
    for _ in range(2):
        file_cache(config).write({"kind": "test"}, b"content")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("warning: nothing is cached on disk: ")
    assert [path.name for path in (tmp_path / NAME).iterdir()] == [
        "CACHEDIR.TAG"
    ]


def test_without_a_home_nothing_is_cached_on_disk(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.chdir(tmp_path)
    file_cache(Config(stage="finetune", cache_disk_mib=4322)).write(
        {"kind": "test"}, b"content"
    )
    said = capsys.readouterr().err
    assert said == (
        "warning: this user has no home folder, so nothing is cached on disk;"
        " give --cache_dir=FOLDER to do so\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_limits_are_in_mib(tmp_path: pathlib.Path) -> None:
    config = Config(
        stage="finetune",
        cache_dir=str(tmp_path),
        cache_disk_mib=3,
        cache_ram_mib=5,
    )
    cache = row_cache(config, "auto")
    assert cache._disk is not None
    assert cache._disk.disk_bytes == 3 * 2**20
    assert cache._ram_left == 5 * 2**20


def test_an_earlier_versions_cache_is_named_once(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "0123456789abcdef01234567" / "rows-abcdefgh").mkdir(
        parents=True
    )
    for _ in range(2):
        file_cache(Config(stage="finetune", cache_dir=str(tmp_path)))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"warning: {tmp_path} holds a cache of an earlier version" in said
