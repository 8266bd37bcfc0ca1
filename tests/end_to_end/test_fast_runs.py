"""Whole runs by every fast path, beside the plain one."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.photos import make_photos
from tests.support.replicas import counted_calls
from tests.support.runs import (
    assert_same_arrays,
    lines,
    stopped_after,
    train,
    weights,
)
from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.model.trunk.engines import GraphTrunk, LiteTrunk
from trainer.model.trunk.partition import Partition
from trainer.run import caches
from trainer.run.fast_paths import StageWork
from trainer.run.use import evaluate
from trainer.train import inputs
from trainer.train.inputs import Inputs
from trainer.workdir import Workdir

pytestmark = pytest.mark.slow

STAGES = ("feature_extract", "finetune")
# Of the ten layers, conv3 -> bn3 -> relu3 train, and relu2 is the cut.
TINY: Mapping[str, Any] = {
    "stage": "finetune",
    "backbone_args": "",
    "weights": "none",
    "unfreeze": "last:3",
    "epochs": 2,
    "learning_rate": 0.003,
}
# Of 21 photos in batches of 8, the last batch is padded.
REPLICAS = {1: {}, 2: {"strategy": "mirrored", "logical_cpus": 2}}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_photos(tmp_path_factory.mktemp("photos"), train=7, test=4)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_backbone(monkeypatch)


@pytest.fixture(autouse=True)
def fresh_process() -> Iterator[None]:
    """No rows of an earlier test in memory."""
    forget()
    yield
    forget()


def forget() -> None:
    """What a new process knows of the cache: its files."""
    caches._row_cache.cache_clear()


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """Those of result.json that hold no times."""
    earlier = [
        {k: v for k, v in stage.items() if k != "train_seconds"}
        for stage in result.get("earlier_stages", [])
    ]
    return {**result, "train_seconds": 0, "earlier_stages": earlier}


def assert_same_runs(
    one: tuple[pathlib.Path, dict], two: tuple[pathlib.Path, dict]
) -> None:
    """Weights, slots, metrics and result, bit for bit."""
    for stage in STAGES:
        assert_same_arrays(weights(one[0], stage), weights(two[0], stage))
    assert lines(one[0], "metrics.jsonl") == lines(two[0], "metrics.jsonl")
    assert figures(one[1]) == figures(two[1])


@pytest.mark.parametrize("augment", [False, True], ids=["plain", "augmented"])
@pytest.mark.parametrize("replicas", [1, 2])
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
    others: dict[str, dict[str, Any]] = {
        "disk": {"cache": "disk"},
        "no_images": {"cache": "disk", "decode_cache": False},
    }
    if replicas == 1:
        others |= {
            "ram": {"cache": "ram"},
            "auto": {"cache": "auto"},
            "mapped": {"cache": "disk", "cache_ram_mib": 1},
            "one_by_one": {"cache": "off", "trunk_block": 1},
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
def test_what_is_computed_once(
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


def distance(one: dict, two: dict) -> float:
    """Over all variables of the model together."""
    assert one.keys() == two.keys()
    return float(
        np.sqrt(
            sum(
                np.sum((one[k].astype(np.float64) - two[k]) ** 2)
                for k in one
                if k.startswith("model/")
            )
        )
    )


PATHS: Mapping[str, dict[str, Any]] = {
    "step": {"trunk_engine": "step"},
    "step_unfolded": {"trunk_engine": "step", "fold_batch_norm": False},
    "graph": {"trunk_engine": "graph"},
    "graph_unfolded": {"trunk_engine": "graph", "fold_batch_norm": False},
    "litert": {"trunk_engine": "litert"},
    "gather": {"trunk_engine": "step", "augment_kernel": "gather"},
    "stock_gradients": {"trunk_engine": "step", "quick_gradients": "off"},
}


def test_engines_and_folding_go_the_same_way(
    photos: str, tmp_path: pathlib.Path
) -> None:
    found = {}
    for name, values in PATHS.items():
        workdir = tmp_path / name
        fields = {**TINY, "augment": True, "cache": "off", **values}
        result = train(photos, workdir, **fields)
        found[name] = weights(workdir, "finetune"), result["test_loss"]
        stored = json.loads((workdir / "config.json").read_text())
        assert stored["environment"]["trunk_engine"] == values["trunk_engine"]
    first = weights(tmp_path / "step", "feature_extract")
    plain, loss = found["step_unfolded"]
    way = distance(
        {k: v for k, v in first.items() if k.startswith("model/")},
        {k: v for k, v in plain.items() if k.startswith("model/")},
    )
    assert way > 0.01
    for name, (end, its_loss) in found.items():
        assert distance(end, plain) < 1e-3 * way, name
        assert its_loss == pytest.approx(loss, rel=1e-3), name


@pytest.mark.parametrize(
    ("first", "then", "engine"),
    [(10**9, 0, GraphTrunk), (0, 10**9, LiteTrunk)],
    ids=["graph", "litert"],
)
def test_a_run_keeps_the_engine_that_it_began_with(
    photos: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    first: int,
    then: int,
    engine: type,
) -> None:
    """Whatever auto would take now; and it ends as if never stopped."""
    fields = {**TINY, "checkpoint_every_steps": 2, "augment": True}
    monkeypatch.setattr(inputs, "_MIN_IMAGES_FOR_LITERT", first)
    whole = tmp_path / "whole", train(photos, tmp_path / "whole", **fields)
    again = tmp_path / "again"
    with stopped_after(4):
        train(photos, again, **fields)
    forget()
    monkeypatch.setattr(inputs, "_MIN_IMAGES_FOR_LITERT", then)
    other = LiteTrunk if engine is GraphTrunk else GraphTrunk
    with (
        counted_calls(monkeypatch, engine, "__call__") as mine,
        counted_calls(monkeypatch, other, "__call__") as others,
    ):
        resumed = train(photos, again, **fields)
        assert_same_runs((again, resumed), whole)
        evaluate_again(again)
    assert mine[0] > 0
    assert others[0] == 0
    assert "may differ" not in (again / "events.jsonl").read_text()


def evaluate_again(workdir: pathlib.Path, **values: Any) -> dict[str, Any]:
    given = {"stage": "evaluate", "workdir": str(workdir), **values}
    evaluate(Config(**given), frozenset(given))
    return json.loads((workdir / "evaluation.json").read_text())


@pytest.mark.parametrize(
    ("stage", "engine"),
    [
        ("finetune", "step"),
        ("finetune", "graph"),
        ("feature_extract", "litert"),
    ],
)
def test_evaluation_gives_the_figures_of_the_run(
    photos: str, tmp_path: pathlib.Path, stage: str, engine: str
) -> None:
    fields = {**TINY, "stage": stage, "trunk_engine": engine}
    result = train(photos, tmp_path, **fields)
    forget()
    for values in ({"cache": "ram"}, {"cache": "off", "batch_size": 8}):
        found = evaluate_again(tmp_path, **values)
        for key in ("test_loss", "test_accuracy", "test_confusion"):
            assert found[key] == result[key], key


@pytest.mark.parametrize(
    ("engine", "augment", "values"),
    [
        ("step", True, {}),
        (
            "step",
            True,
            {"xla": "on", "accumulate_steps": 2, "steps_per_loop": 2},
        ),
        ("graph", True, {}),
        ("graph", False, {"accumulate_steps": 2}),
    ],
)
def test_nothing_is_traced_again_after_the_first_epoch(
    photos: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    augment: bool,
    values: dict[str, Any],
) -> None:
    """Padded last batches, saves during an epoch and validations or not."""
    traced = []
    one = tf.distribute.OneDeviceStrategy
    for epochs in (1, 4):
        with (
            counted_calls(
                monkeypatch, Partition, "logits_and_updates"
            ) as calls,
            counted_calls(monkeypatch, one, "run") as loops,
        ):
            train(
                photos,
                tmp_path / str(epochs),
                **{
                    **TINY,
                    "stage": "feature_extract",
                    "trunk_engine": engine,
                    "augment": augment,
                    "epochs": epochs,
                    "checkpoint_every_steps": 2,
                    **values,
                },
            )
        traced.append((calls[0], loops[0]))
    # The step of training, and that of validation and test; and the loop
    # around each.
    assert traced == [(2, 2), (2, 2)]


def test_a_backbone_whose_graph_cannot_be_read_trains_plainly(
    photos: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The classifier in the step, whatever engine is asked for."""
    fields = {**TINY, "augment": False}
    plain = {"trunk_engine": "step", "fold_batch_norm": False}
    one = train(photos, tmp_path / "plain", **{**fields, **plain})
    monkeypatch.setattr("trainer.model.trunk.cut.graph_of", lambda model: None)
    two = train(
        photos, tmp_path / "none", **{**fields, "trunk_engine": "graph"}
    )
    assert_same_runs((tmp_path / "plain", one), (tmp_path / "none", two))


def test_a_cache_that_fails_is_a_warning_and_no_end(
    photos: str, tmp_path: pathlib.Path
) -> None:
    fields = {**TINY, "augment": False, "trunk_engine": "graph"}
    one = train(photos, tmp_path / "off", **{**fields, "cache": "off"})
    (tmp_path / "file").write_text("")
    folder = str(tmp_path / "file" / "cache")
    for mode in ("auto", "disk"):
        workdir = tmp_path / mode
        two = train(
            photos, workdir, **{**fields, "cache": mode, "cache_dir": folder}
        )
        assert_same_runs((tmp_path / "off", one), (workdir, two))
        warnings = [
            line["text"]
            for line in lines(workdir, "events.jsonl")
            if line["event"] == "warning" and "--cache_dir" in line["text"]
        ]
        assert len(warnings) == 1


def test_a_litert_that_fails_is_a_warning_and_no_end(
    photos: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {**TINY, "augment": True}
    one = train(
        photos, tmp_path / "graph", **{**fields, "trunk_engine": "graph"}
    )

    def fail(*args: Any, **kwargs: Any) -> None:
        raise ValueError("cannot be converted (why)")

    monkeypatch.setattr(inputs, "lite_trunk", fail)
    said: list[str] = []
    monkeypatch.setattr(Workdir, "warn", lambda self, text: said.append(text))
    two = train(
        photos, tmp_path / "litert", **{**fields, "trunk_engine": "litert"}
    )
    assert_same_runs((tmp_path / "graph", one), (tmp_path / "litert", two))
    # Once a stage.
    assert said == [
        "--trunk_engine=litert: the frozen part cannot be converted (why);"
        " falling back to graph, so the last bits may differ"
    ] * len(STAGES)


@pytest.mark.parametrize("augment", [False, True], ids=["plain", "augmented"])
def test_two_stages_that_share_a_cut(
    photos: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    augment: bool,
) -> None:
    """They compute the features once, and end near those that do not."""
    fields = {**TINY, "trunk_engine": "graph", "cache": "ram"}
    fields["augment"] = augment
    computed: list[tuple[str, int]] = []
    real = Inputs._blocks

    def computing(self: Inputs, samples: Any, rows: Any, *args: Any) -> Any:
        computed.append((args[0], len(rows)))
        return real(self, samples, rows, *args)

    monkeypatch.setattr(Inputs, "_blocks", computing)
    found = {}
    for shares in (False, True):
        forget()
        computed.clear()
        monkeypatch.setattr(StageWork, "shares", lambda *args, s=shares: s)
        workdir = tmp_path / str(shares)
        result = train(photos, workdir, **fields)
        trunks = json.loads((workdir / "config.json").read_text())["trunks"]
        features = [row for row in computed if row[0].startswith("features")]
        found[shares] = workdir, result, trunks, features
    apart, shared = found[False], found[True]
    assert [apart[2][stage]["cut"] for stage in STAGES] == [["pool"], ["relu2"]]
    assert [shared[2][stage]["cut"] for stage in STAGES] == [["relu2"]] * 2
    assert {stage["engine"] for stage in shared[2].values()} == {"graph"}
    assert {stage["block"] for stage in shared[2].values()} == {32}
    # 21 to train on; 8 of 12 to validate on, which are to test on, too.
    once = [("features of evaluation", 8), ("features of evaluation", 4)]
    if not augment:
        once.insert(0, ("features of train", 21))
    assert shared[3] == once
    assert apart[3] == once * 2
    for stage in STAGES:
        one, two = (weights(f[0], stage) for f in (apart, shared))
        for name, value in one.items():
            np.testing.assert_allclose(value, two[name], atol=2e-4)
    assert shared[1]["test_loss"] == pytest.approx(apart[1]["test_loss"], 1e-3)


def test_a_run_that_shares_a_cut_resumes_to_the_same_bits(
    photos: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the first stage, and after it, when one stage is left."""
    monkeypatch.setattr(StageWork, "shares", lambda *args: True)
    fields = {**TINY, "trunk_engine": "graph", "augment": True}
    whole = tmp_path / "whole", train(photos, tmp_path / "whole", **fields)
    # A save for the one epoch of the head, and two after it.
    for stop_at in (1, 2):
        again = tmp_path / str(stop_at)
        with stopped_after(stop_at):
            train(photos, again, **fields)
        forget()
        assert_same_runs((again, train(photos, again, **fields)), whole)


def test_a_run_of_before_quick_gradients_is_told_of_them(
    photos: str, tmp_path: pathlib.Path
) -> None:
    workdir = tmp_path / "run"
    with stopped_after(1):
        train(photos, workdir, **TINY)
    path = workdir / "config.json"
    stored = json.loads(path.read_text())
    del stored["environment"]["quick_gradients"]
    path.write_text(json.dumps(stored))
    forget()
    train(photos, workdir, **TINY)
    warned = [e["text"] for e in lines(workdir, "events.jsonl") if "text" in e]
    assert any("quick_gradients was 'off', is 'on'" in text for text in warned)
