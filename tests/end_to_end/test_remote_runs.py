"""Whole runs with data and workdir at URLs equal local runs."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.remote import HEAD, only_gfile, run, use
from tests.support.runs import assert_same_arrays, saved_arrays, stopped_after

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(roots, tmp_path_factory) -> dict[str, str]:
    """The roots after a whole run in each. The remote run stopped once."""
    for place, root in roots.items():
        cache = str(tmp_path_factory.mktemp("cache"))
        said = None
        if place == "remote":
            # Within the first epoch of finetune, after six saves of the head.
            with stopped_after(7), only_gfile():
                run(root, cache, stage="finetune")
        with only_gfile() if place == "remote" else contextlib.nullcontext():
            said = run(root, cache, stage="finetune")
        assert said.status == 0, said.err
        if place == "remote":
            assert "weights: resume finetune from step" in said.out
    return roots


def _read(path: str) -> str:
    with tf.io.gfile.GFile(path, "rb") as stream:
        return stream.read().decode()


def _json(path: str, *without: str) -> Any:
    values = json.loads(_read(path))
    return {k: v for k, v in values.items() if k not in without}


def _lines(path: str) -> list[dict[str, Any]]:
    found = [json.loads(text) for text in _read(path).splitlines()]
    for line in found:
        line.pop("times", None)
        line.pop("time", None)
    return found


def _arrays(root: str, workdir: str, stage: str, kind: str) -> dict[str, Any]:
    folder = f"{root}/{workdir}/checkpoints/{stage}/{kind}"
    return saved_arrays(tf.train.latest_checkpoint(folder))


def _both(finished: dict[str, str], look: Callable[[str], Any]) -> None:
    assert look(finished["remote"]) == look(finished["local"])


@pytest.mark.parametrize("stage", ["feature_extract", "finetune"])
@pytest.mark.parametrize("kind", ["last", "best"])
def test_remote_weights_equal_local_ones(finished, stage, kind):
    one, two = (_arrays(root, "run", stage, kind) for root in finished.values())
    slots = any(name.startswith("slots/") for name in one)
    assert slots == (kind == "last")
    assert_same_arrays(one, two)


def test_remote_metrics_equal_local_ones(finished):
    _both(finished, lambda root: _lines(f"{root}/run/metrics.jsonl"))
    assert len(_lines(f"{finished['remote']}/run/metrics.jsonl")) > 20

    def look(root: str, name: str) -> Any:
        # The number of bytes depends on the times in metrics.jsonl.
        times = ("train_seconds", "metrics_position")
        result = _json(f"{root}/run/{name}", *times)
        for earlier in result.get("earlier_stages", []):
            del earlier["train_seconds"]
        return result

    for name in ("result.json", f"checkpoints/{HEAD}/result.json"):
        _both(finished, functools.partial(look, name=name))


def test_a_remote_manifest_equals_a_local_one(finished):
    def look(root: str) -> Any:
        manifest = _json(f"{root}/run/manifest.json", "location")
        for split in manifest["splits"].values():
            del split["mtimes_ns"], split["ctimes_ns"]
        return manifest

    _both(finished, look)


def test_a_remote_workdir_holds_the_same_files(finished):
    def look(root: str) -> list[str]:
        found = []
        for folder, _, names in tf.io.gfile.walk(f"{root}/run"):
            below = folder.removeprefix(f"{root}/run")
            if "/tensorboard" in below:
                # One file per process and split, named by the time.
                names = ["events"] if names else []
            found += [f"{below}/{name}" for name in names]
        return sorted(found)

    found = look(finished["remote"])
    assert found == look(finished["local"])
    assert "/tensorboard/validation/events" in found
    assert not [n for n in found if "partial" in n or "lock" in n]


def test_remote_events_list_the_interruptions(finished):
    remote = f"{finished['remote']}/run/events.jsonl"
    events = [line["event"] for line in _lines(remote)]
    assert events.count("stop") == events.count("resume") == 1
    assert events[-1] == "complete"


def test_a_complete_remote_run_is_not_repeated(finished, tmp_path):
    with only_gfile():
        said = run(finished["remote"], str(tmp_path), stage="finetune")
    assert said.status == 0, said.err
    assert "this run is complete" in said.out


def test_a_remote_evaluation_equals_a_local_one(finished):
    for place, root in finished.items():
        with only_gfile() if place == "remote" else contextlib.nullcontext():
            # A URL stored in a workdir is not opened.
            use("evaluate", root, dataset=f"{root}/photos")
    _both(
        finished, lambda root: _json(f"{root}/run/evaluation.json", "dataset")
    )


def test_remote_predictions_equal_local_ones(finished):
    def look(root: str) -> list[str]:
        rows = _read(f"{root}/said.csv").replace(f"{root}/", "").splitlines()
        assert len(rows) > 5
        return rows

    for place, root in finished.items():
        with only_gfile() if place == "remote" else contextlib.nullcontext():
            use(
                "predict",
                root,
                inputs=f"{root}/photos/**/00[12].jpg",
                output=f"{root}/said.csv",
            )
    _both(finished, look)


def test_a_remote_export_can_be_repeated(finished, tmp_path):
    root = finished["remote"]
    for formats in ("keras", "saved_model,keras"):
        with only_gfile():
            said = use("export", root, export_formats=formats)
        assert said.out.endswith(f"export: {root}/run/export\n")
    names = tf.io.gfile.listdir(f"{root}/run/export")
    assert sorted(names) == [
        *("README.md", "export.json", "labels.txt", "model.keras"),
        *("model_card.md", "saved_model"),
    ]
    loaded = tf.saved_model.load(f"{root}/run/export/saved_model")
    photo = tf.io.read_file(f"{root}/photos/test/sushi/001.jpg")
    answer = loaded.signatures["serving_bytes"](photo[None])
    total = answer["probabilities"].numpy().sum()
    np.testing.assert_allclose(total, 1, rtol=1e-5)
    with pytest.raises(AssertionError, match="not part of an export"):
        use("export", root, output=f"{root}/photos")


def test_a_remote_warm_start_equals_a_local_one(finished, tmp_path):
    for place, root in finished.items():
        with only_gfile() if place == "remote" else contextlib.nullcontext():
            said = run(
                root,
                str(tmp_path / place),
                HEAD,
                workdir=f"{root}/warm",
                init_from=f"{root}/run",
                epochs=1,
                augment=False,
            )
        assert said.status == 0, said.err
        assert f"warm start from finetune of {root}/run" in said.out
    one, two = (
        _arrays(root, "warm", HEAD, "last") for root in finished.values()
    )
    assert_same_arrays(one, two)


def test_weights_from_a_remote_checkpoint(finished, tmp_path):
    root = finished["remote"]
    with only_gfile():
        said = run(
            root,
            str(tmp_path),
            HEAD,
            workdir=f"{root}/again",
            weights=f"{root}/run/checkpoints/finetune/last",
            epochs=1,
            augment=False,
        )
    assert said.status == 0, said.err
    source = _arrays(root, "run", "finetune", "last")
    found = _arrays(root, "again", HEAD, "last")
    backbone = {k: v for k, v in found.items() if "conv" in k or "bn" in k}
    assert len(backbone) == 3 * (1 + 4)
    assert_same_arrays(backbone, {k: source[k] for k in backbone})


def test_a_remote_study_equals_a_local_one(roots, tmp_path):
    for place, root in roots.items():
        with only_gfile() if place == "remote" else contextlib.nullcontext():
            said = run(
                root,
                str(tmp_path / place),
                stage="study",
                workdir=f"{root}/study",
                models="0",
                head_epochs=1,
            )
        assert said.status == 0, said.err

    def look(root: str) -> Any:
        record = _json(f"{root}/study/study.json", "weights")
        for row in record["models"]:
            del row["times"]
        return record

    _both(roots, look)
    page = _read(f"{roots['remote']}/study/report.html")
    assert page.startswith("<!doctype html>")
    assert page.endswith("</html>")
