"""A small study: its runs, the runs it reuses, and its files."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from tests.support.photos import CLASSES, make_photos
from tests.support.runs import TINY, lines, small, weights
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.study import run

pytestmark = pytest.mark.slow


def _config(photos, workdir, **values):
    fields = {**TINY, "stage": "study", "models": "0,3", "unfreeze": "last:3"}
    return Config(**small(photos, workdir, **fields, **values))


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_backbone(patch)
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp("photos"), train=20)


@pytest.fixture(scope="module")
def finished(tiny, photos, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "study"
    run.train(_config(photos, workdir))
    return workdir


def test_fine_tuned_models_start_from_model_2(finished):
    record = json.loads((finished / "study.json").read_text())
    rows = record["models"]
    assert [row["model"] for row in rows] == [0, 2, 3]
    # 10 % of 20 images in three classes.
    assert [row["train_examples"] for row in rows] == [6, 6, 6]
    assert [row["test_examples"] for row in rows] == [15, 15, 15]
    head = 16 * 3 + 3
    assert [row["trainable_params"] for row in rows[:2]] == [head, head]
    assert rows[2]["trainable_params"] > head
    # The first layers were always frozen, so model 3 has those of model 2.
    base = weights(finished / "seed0" / "model2", "feature_extract")
    last = weights(finished / "seed0" / "model3", "finetune")
    name = "model/conv1.Skernel/.ATTRIBUTES/VARIABLE_VALUE"
    assert (base[name] == last[name]).all()
    why = [e["why"] for e in lines(finished / "seed0" / "model3",
           "events.jsonl") if e["event"] == "start"]  # fmt: skip
    assert why[0].startswith("warm start from feature_extract")


def test_the_report_is_self_contained(finished):
    text = (finished / "report.html").read_text()
    # Besides, it links the reports of its models.
    others = re.findall(r'(?:src|href)="(?!data:|#)([^"]*)', text)
    assert all(re.fullmatch(r"seed\d+/model\d/report\.html", x) for x in others)
    for svg in re.findall(r"<svg.*?</svg>", text, re.S):
        ElementTree.fromstring(svg)
    assert text.count("<svg") == 4
    for name in CLASSES:
        assert name in text
    for heading in (
        "Learning curves",
        "mistakes of model 3",
        "Trainable parameters",
    ):
        assert heading in text


def test_a_dry_run_plans_every_model_and_writes_nothing(
    photos, tmp_path, capsys
):
    run.dry_run(_config(photos, tmp_path / "none"))
    text = capsys.readouterr().out
    for number in (0, 2, 3):
        assert f"== model {number}, seed 0" in text
    assert text.count("stage feature_extract:") == 2
    assert text.count("stage finetune:") == 1
    assert not (tmp_path / "none").exists()
