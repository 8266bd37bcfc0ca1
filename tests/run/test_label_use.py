"""Predictions of a run whose images may have several labels."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from tests.support.label_photos import LABELS, make_label_table
from tests.support.runs import TINY, train
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.errors import UsageError
from trainer.run.serve import answering
from trainer.run.trained import open_trained
from trainer.run.use import predict


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[pathlib.Path, pathlib.Path]:
    """The folder of the images, and the workdir."""
    root = tmp_path_factory.mktemp("labels")
    table = make_label_table(root / "photos")
    values = {**TINY, "stage": "feature_extract", "epochs": 6}
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_backbone(patch)
        train(table, root / "run", **values, task="multilabel", monitor="map")
    return root / "photos", root / "run"


def predicted(
    run: tuple[pathlib.Path, pathlib.Path], output: pathlib.Path, **values: Any
) -> list[dict[str, Any]]:
    config = Config(
        stage="predict",
        workdir=str(run[1]),
        inputs=str(run[0]),
        output=str(output),
        **values,
    )
    given = {"stage", "workdir", "inputs", "output", *values}
    predict(config, frozenset(given))
    return [json.loads(line) for line in output.read_text().splitlines()]


def test_json_and_page_have_the_same_labels(
    run: tuple[pathlib.Path, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    rows = predicted(run, tmp_path / "p.jsonl", min_confidence=0.4)
    assert len(rows) == 48
    assert any(row["labels"] for row in rows)
    for row in rows:
        assert {x["class"] for x in row["predictions"]} == set(LABELS)
        best = row["predictions"][0]["probability"]
        assert row["decision"] == ("accepted" if best >= 0.4 else "unsure")
    config = Config(stage="serve", workdir=str(run[1]))
    answer = answering(open_trained(config, frozenset({"stage", "workdir"})))
    found = answer(pathlib.Path(rows[0]["file"]).read_bytes())
    assert found["labels"] == rows[0]["labels"]
    assert [x["probability"] for x in found["predictions"]] == pytest.approx(
        [x["probability"] for x in rows[0]["predictions"]], abs=1e-5
    )


def test_rejection_is_refused(
    run: tuple[pathlib.Path, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    with pytest.raises(UsageError, match=r"^--reject=auto: not possible with"):
        predicted(run, tmp_path / "p.jsonl", reject="auto")
