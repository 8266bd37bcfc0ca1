"""Whole runs with every cache, beside runs without one."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cached_runs import (
    TINY,
    forget,
    tiny_runs_without_rows,
)
from tests.support.photos import make_photos
from tests.support.runs import (
    assert_same_runs,
    lines,
    train,
)
from trainer.learning.inputs import Inputs

pytestmark = pytest.mark.slow

# Of 21 photos in batches of 8, the last batch is padded. Two replicas train in
# two stages, whose features differ.
REPLICAS: dict[int, dict[str, Any]] = {
    1: {"head_epochs": 0},
    2: {"strategy": "mirrored", "logical_cpus": 2},
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_photos(tmp_path_factory.mktemp("photos"), train=7, test=4)


@pytest.fixture(autouse=True)
def tiny_runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with tiny_runs_without_rows(monkeypatch):
        yield


@pytest.mark.parametrize(("replicas", "augment"), [(1, True), (2, False)])
def test_caches_and_blocks_change_no_bit(
    photos: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    replicas: int,
    augment: bool,
) -> None:
    cache = str(tmp_path / "cache")

    def run(name: str, **values: Any) -> tuple[pathlib.Path, dict]:
        forget()
        fields = {**TINY, **REPLICAS[replicas], "augment": augment}
        fields = {"trunk_engine": "graph", "cache_dir": cache, **fields}
        workdir = tmp_path / name
        return workdir, train(photos, workdir, **{**fields, **values})

    plain = run("off", cache="off")
    others: dict[str, dict[str, Any]] = {"disk": {"cache": "disk"}}
    if replicas == 1:
        others |= {
            "one_by_one": {"cache": "ram", "trunk_block": 1},
            "mapped": {
                "cache": "disk",
                "cache_ram_mib": 1,
                "decode_cache": False,
            },
        }
    for name, values in others.items():
        assert_same_runs(run(name, **values), plain)
    assert list((tmp_path / "cache").glob("*/*/rows-*"))

    def fail(*_: Any) -> None:
        raise AssertionError("rows are computed again")

    monkeypatch.setattr(Inputs, "_blocks", fail)
    assert_same_runs(run("again", cache="disk"), plain)


@pytest.mark.parametrize(
    ("augment", "decode", "expected"),
    [
        (True, True, {"images": 21, "evaluation": 12}),
        (True, False, {"evaluation": 12}),
        (False, True, {"train": 21, "evaluation": 12}),
    ],
)
def test_features_or_images_are_computed_once(
    photos: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    augment: bool,
    decode: bool,
    expected: dict[str, int],
) -> None:
    """Features where images are not augmented, else images."""
    asked: dict[str, int] = {}
    real = Inputs._blocks

    def blocks(self: Inputs, samples: Any, rows: Any, what: str, trunk: Any):
        name = what.removeprefix("features of ")
        asked[name] = asked.get(name, 0) + len(rows)
        return real(self, samples, rows, what, trunk)

    monkeypatch.setattr(Inputs, "_blocks", blocks)
    train(
        photos,
        tmp_path / "run",
        **{
            **TINY,
            "stage": "feature_extract",
            "augment": augment,
            "cache": "ram",
            "decode_cache": decode,
        },
    )
    assert asked == expected


def test_a_failing_cache_is_a_warning(
    photos: str, tmp_path: pathlib.Path
) -> None:
    fields = {**TINY, "augment": False, "trunk_engine": "graph"}
    fields |= {"head_epochs": 0}
    one = train(photos, tmp_path / "off", **{**fields, "cache": "off"})
    (tmp_path / "file").write_text("")
    folder = str(tmp_path / "file" / "cache")
    workdir = tmp_path / "disk"
    values = {**fields, "cache": "disk", "cache_dir": folder}
    two = train(photos, workdir, **values)
    assert_same_runs((tmp_path / "off", one), (workdir, two))
    warnings = [
        line["text"]
        for line in lines(workdir, "events.jsonl")
        if line["event"] == "warning" and "--cache_dir" in line["text"]
    ]
    assert len(warnings) == 1
