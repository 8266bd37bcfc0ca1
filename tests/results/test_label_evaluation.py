"""Evaluation of images with several labels: every example counts once."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import pytest
from PIL import Image

from tests.support.classifiers import TINY_PX, copy_of, tiny_classifier
from tests.support.replicas import strategy_of
from trainer.data.samples import WHOLE_FILE, Samples
from trainer.results.evaluate import Evaluator

CLASSES, TOTAL = 4, 18
NAMES = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """uint8 (18, 8, 8, 3), each with its own tint."""
    rng = np.random.default_rng(0)
    tints = rng.uniform(0, 255, (TOTAL, 1, 1, 3))
    noise = rng.normal(0, 40, (TOTAL, TINY_PX, TINY_PX, 3))
    return np.clip(tints + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def samples(
    tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray
) -> Samples:
    folder: pathlib.Path = tmp_path_factory.mktemp("images")
    paths = [folder / f"{i:02}.png" for i in range(TOTAL)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    rng = np.random.default_rng(1)
    return Samples(
        ids=tuple(path.name for path in paths),
        labels=(rng.uniform(size=(TOTAL, CLASSES)) < 0.4).astype(np.uint8),
        paths=tuple(str(path) for path in paths),
        offsets=np.zeros(TOTAL, np.int64),
        lengths=np.full(TOTAL, WHOLE_FILE, np.int64),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("replicas", "batch", "flip"),
    [
        (1, 5, True),
        (1, 32, False),
        (2, 8, False),
    ],
)
def test_logits_and_loss_are_those_of_keras(
    samples: Samples, pixels: np.ndarray, replicas: int, batch: int, flip: bool
) -> None:
    strategy = strategy_of(replicas)
    made = dataclasses.replace(tiny_classifier(CLASSES), multilabel=True)
    evaluator = Evaluator(
        strategy,
        copy_of(made, strategy),
        NAMES,
        batch_size=batch,
        xla=False,
        flip=flip,
    )

    def chances(images: np.ndarray) -> np.ndarray:
        scaled = images.astype(np.float32) / 127.5 - 1
        logits = made.model(scaled, training=False).numpy()
        return 1 / (1 + np.exp(-logits.astype(np.float64)))

    expected = chances(pixels)
    if flip:
        expected = (expected + chances(pixels[:, :, ::-1])) / 2
    for count in (1, 7, 8, 9, TOTAL):
        found = evaluator.evaluate_labels(samples.take(range(count)))
        assert found.examples == count
        np.testing.assert_allclose(
            found.probabilities, expected[:count], rtol=1e-4
        )
        own = np.where(
            samples.labels[:count] > 0, expected[:count], 1 - expected[:count]
        )
        assert found.loss == pytest.approx(-np.log(own).mean(), rel=1e-4)
    thresholds = np.full(CLASSES, 0.25, np.float32)
    found = evaluator.evaluate_labels(samples, thresholds=thresholds)
    np.testing.assert_array_equal(found.thresholds, thresholds)
    np.testing.assert_array_equal(found.decisions, found.probabilities >= 0.25)
