"""Decisions about predictions of a small trained run."""

from __future__ import annotations

import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainer.config import Config
from trainer.errors import TrainerError, UsageError
from trainer.run.use import predict
from trainer.workdir import Workdir

Run = tuple[pathlib.Path, dict[str, Any]]


def decided(
    workdir: pathlib.Path, inputs: str, output: pathlib.Path, **values: Any
) -> list[dict[str, Any]]:
    """Returns the objects of the JSON lines."""
    config = Config(
        stage="predict",
        workdir=str(workdir),
        inputs=inputs,
        output=str(output),
        **values,
    )
    given = {"stage", "workdir", "inputs", "output", *values}
    predict(config, frozenset(given))
    return [json.loads(line) for line in output.read_text().splitlines()]


def test_unsure_images_are_those_below_the_probability(
    trained: Run, photos: str, tmp_path: pathlib.Path, capsys: Any
) -> None:
    images, output = f"{photos}/test", tmp_path / "p.jsonl"
    plain = decided(trained[0], images, output)
    assert "decision" not in plain[0]
    best = [row["predictions"][0]["probability"] for row in plain]
    middle = float(np.median(best)) + 1e-5
    found = decided(trained[0], images, output, min_confidence=middle)
    unsure = [row["decision"] == "unsure" for row in found]
    assert unsure == [p < middle for p in best]
    assert f"; {sum(unsure)} unsure, 0 unlike" in capsys.readouterr().err


def test_rejection_accepts_photos_of_the_run_but_not_noise(
    trained: Run, photos: str, tmp_path: pathlib.Path, capfd: Any
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    folder = tmp_path / "mixed"
    shutil.copytree(f"{photos}/train", folder / "known")
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"noise{number}.png")
    output = tmp_path / "p.jsonl"
    capfd.readouterr()
    found = decided(trained[0], str(folder), output, reject="auto")
    text = capfd.readouterr()
    assert text.out == ""
    assert "--reject=auto: 95 % of " in text.err
    decisions = {
        pathlib.Path(row["file"]).name.startswith("noise"): [] for row in found
    }
    for row in found:
        is_noise = pathlib.Path(row["file"]).name.startswith("noise")
        decisions[is_noise].append(row["decision"])
    assert decisions[True] == ["unlike"] * 3
    assert decisions[False].count("accepted") > 0.9 * len(decisions[False])
    # The head after the cut gives the same probabilities.
    plain = decided(trained[0], str(folder), output)
    for one, other in zip(found, plain, strict=True):
        assert one["predictions"][0]["probability"] == pytest.approx(
            other["predictions"][0]["probability"], abs=1e-4
        )


def test_rejection_needs_the_photos_of_the_run(
    trained: Run, photos: str, tmp_path: pathlib.Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(photos, other)
    image = next(other.glob("train/*/*.jpg"))
    assert decided(
        trained[0],
        str(image),
        tmp_path / "p.jsonl",
        reject="auto",
        dataset=str(other),
    )
    image.unlink()
    with pytest.raises(TrainerError, match="give these as --dataset=FOLDER"):
        decided(
            trained[0],
            f"{photos}/test",
            tmp_path / "p.jsonl",
            reject="auto",
            dataset=str(other),
        )


def test_a_study_names_its_best_model(
    trained: Run, photos: str, tmp_path: pathlib.Path
) -> None:
    for number, accuracy in ((0, 0.5), (2, 0.75), (4, 0.6)):
        model = tmp_path / f"study/seed0/model{number}"
        shutil.copytree(trained[0], model)
        stored = Workdir(str(model)).read_json("result.json") or {}
        stored["best_validation_accuracy"] = accuracy
        Workdir(str(model)).write_json("result.json", stored)
    with pytest.raises(UsageError) as error:
        decided(tmp_path / "study", photos, tmp_path / "p.jsonl")
    said = str(error.value)
    assert "for the best by validation accuracy (0.7500): " in said
    assert "--stage=predict" in said
    assert f"--workdir={tmp_path}/study/seed0/model2" in said
    assert f"--inputs={photos}" in said
