"""The benchmark against Keras `fit`: rows, table, and a small run."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

import pytest

from benchmarks import against_keras, fit_model, sides
from benchmarks.against_keras import main, markdown, measure
from benchmarks.sides import Row, Spent, parse_row
from tests.support.photos import make_photos
from tests.support.runs import live_weights
from trainer.model.backbones import parse_backbone_args


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model0", Row("model0", 10, None, False, "last:10", 5)),
        ("last10", Row("last10", 10, 10, False, "last:10", 5)),
        ("model2", Row("model2", 10, None, True, "last:10", 5)),
        ("model3", Row("model3", 10, 10, True, "last:10", 5)),
        ("all", Row("all", 10, 10, True, "all", 1)),
        ("1+100:all:3", Row("1+100:all:3", 1, 100, True, "all", 3)),
        ("0.5:20", Row("0.5:20", 0.5, None, True, "last:10", 20)),
        ("10+10:last50", Row("10+10:last50", 10, 10, True, "last:50", 5)),
        ("exact", Row("exact", 10, 10, True, "last:10", 5, solved=True)),
    ],
)
def test_rows_are_parsed(text: str, expected: Row) -> None:
    assert parse_row(text) == expected


@pytest.mark.parametrize("text", ["", "model9", "10+", "ten", "10:some"])
def test_an_invalid_row_is_rejected(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="not a row"):
        parse_row(text)


def test_ratios_are_taken_round_by_round() -> None:
    def spent(wall: float, cpu: float, step: float) -> Spent:
        return Spent(wall, cpu, 500, 0.5, 100, step)

    found = {
        "model0": {
            "wrapped": [spent(8, 6, 0.4), spent(12, 6, 0.4), spent(9, 6, 0.2)],
            "ours": [spent(4, 3, 0.1), spent(3, 2, 0.1), spent(3, 1, 0.1)],
        }
    }
    # Walls 2, 4, 3; processor 2, 3, 6; steps 4, 4, 2. Of 100 images, the
    # median walls of 9 and 3 seconds.
    assert markdown(found).splitlines()[2] == (
        "| model0 | wrapped | **3.00 (2.00 to 4.00)** | 3.00 (2.00 to 6.00)"
        " | 4.00 (2.00 to 4.00) | 500 / 500 | 11.1 / 33.3 | 0.500 / 0.500 |"
    )


def test_again_reuses_the_cache_of_the_round(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This trainer runs again with the cache of model 0; `fit` does not."""
    calls: list[tuple[str, str, str]] = []

    def one(name: str) -> Spent:
        return Spent(len(calls), 1, 1, 1, 1, 1)

    def keras_fit(side, row, folder, args):
        calls.append((side, row.name, folder.name))
        return one(side)

    def ours(row, folder, cache, args):
        calls.append((row.name, folder.name, str(cache.relative_to(tmp_path))))
        return one("ours")

    for module in (against_keras, sides):
        monkeypatch.setattr(module, "ours", ours)
    monkeypatch.setattr(against_keras, "keras_fit", keras_fit)
    args = argparse.Namespace(
        rounds=1, discard=0, sides=["wrapped"], workdir=tmp_path
    )
    found = measure(args, ["model0", "again:model0"])
    assert calls == [
        ("wrapped", "model0", "model0"),
        ("model0", "model0", "round0/model0/cache"),
        ("model0", "again_model0", "round0/model0/cache"),
    ]
    assert found["again:model0"]["wrapped"] == found["model0"]["wrapped"]
    calls.clear()
    args.workdir = tmp_path / "alone"
    measure(args, ["again:model0"])
    assert [call[-1] for call in calls] == [
        "again_model0",
        "alone/round0/again_model0/cache",
        "alone/round0/again_model0/cache",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "backbone_args", "origin"),
    [
        ("EfficientNetLite0", "", None),
        pytest.param(
            "EfficientNetB0", "", "keras_none", marks=pytest.mark.slow
        ),
        ("MobileNetV2", "alpha=0.35", None),
    ],
)
def test_random_weights_fit_every_kind_of_backbone(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    backbone: str,
    backbone_args: str,
    origin: str | None,
) -> None:
    def run(command: list[str], check: bool) -> None:
        monkeypatch.setattr(sys, "argv", ["-c", *command[3:]])
        exec(command[2])

    monkeypatch.setattr(against_keras.subprocess, "run", run)
    args = argparse.Namespace(
        workdir=tmp_path,
        backbone=backbone,
        backbone_args=backbone_args,
        image_size=32,
        weights_origin=None,
    )
    against_keras._random_weights(args)
    assert args.weights_origin == origin
    construct, _ = fit_model.constructor(backbone)
    base = construct(
        weights=None,
        include_top=False,
        input_shape=(32, 32, 3),
        **parse_backbone_args(backbone_args),
    )
    before = base.get_weights()
    base.load_weights(args.weights)
    assert any(
        (a != b).any() for a, b in zip(before, base.get_weights(), strict=False)
    )


@pytest.mark.slow
def test_a_small_run(tmp_path: pathlib.Path) -> None:
    photos = make_photos(tmp_path / "photos", train=4, test=4)
    output = tmp_path / "out.json"
    main(
        [
            f"--dataset={photos}",
            f"--workdir={tmp_path / 'out'}",
            f"--json={output}",
            "--backbone=MobileNetV2",
            "--backbone_args=alpha=0.35",
            "--image_size=32",
            f"--weights={live_weights()}",
            "--rows=100+100:noaugment:last10:1",
            "--sides=wrapped",
            "--rounds=1",
        ]
    )
    row = json.loads(output.read_text())["rows"]["100+100:noaugment:last10:1"]
    for side in ("wrapped", "ours"):
        (spent,) = row[side]
        assert spent["wall"] > 0
        assert spent["cpu"] > 0
        # TensorFlow alone takes more.
        assert spent["peak_mib"] > 200
        assert 0 <= spent["accuracy"] <= 1
        assert spent["step_seconds"] > 0
