"""Evaluation metrics compared with NumPy on Keras's predictions."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from PIL import Image

from tests.support.classifiers import TINY_PX, copy_of, tiny_classifier
from tests.support.replicas import strategy_of
from trainer.data.samples import WHOLE_FILE, Samples
from trainer.results.evaluate import Evaluation, Evaluator

CLASSES = 7
TOTAL = 20


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """uint8 (20, 8, 8, 3), each with its own tint."""
    rng = np.random.default_rng(0)
    tints = rng.uniform(0, 255, (TOTAL, 1, 1, 3))
    noise = rng.normal(0, 40, (TOTAL, TINY_PX, TINY_PX, 3))
    return np.clip(tints + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def samples(tmp_path_factory, pixels) -> Samples:
    """Twenty lossless files, none of class 5."""
    folder: pathlib.Path = tmp_path_factory.mktemp("images")
    paths = [folder / f"{i:02}.png" for i in range(TOTAL)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    labels = np.arange(TOTAL, dtype=np.int32) % CLASSES
    return Samples(
        ids=tuple(path.name for path in paths),
        labels=np.where(labels == 5, 2, labels),
        paths=tuple(str(path) for path in paths),
        offsets=np.zeros(TOTAL, np.int64),
        lengths=np.full(TOTAL, WHOLE_FILE, np.int64),
    )


def evaluator(replicas: int, batch: int, num_classes: int = CLASSES):
    """Returns an evaluator of a tiny classifier, and the classifier."""
    strategy = strategy_of(replicas)
    classifier = copy_of(tiny_classifier(num_classes), strategy)
    names = tuple(f"class {i}" for i in range(num_classes))
    return (
        Evaluator(strategy, classifier, names, batch_size=batch, xla=False),
        classifier,
    )


@pytest.fixture(scope="module")
def logits(pixels) -> np.ndarray:
    """The logits of all twenty images by Keras on one device."""
    scaled = pixels.astype(np.float32) / 127.5 - 1
    return tiny_classifier(CLASSES).model(scaled, training=False).numpy()


def by_numpy(logits: np.ndarray, labels: np.ndarray) -> dict:
    """Computes the same metrics with softmax, sort and loops."""
    logits = logits.astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances = powers / powers.sum(axis=1, keepdims=True)
    confusion = np.zeros((CLASSES, CLASSES), np.int64)
    top5 = []
    for row, label in zip(logits, labels, strict=True):
        confusion[label, int(np.argmax(row))] += 1
        top5.append(label in np.argsort(row)[::-1][:5])
    own = chances[np.arange(len(labels)), labels]
    return {
        "loss": -np.mean(np.log(own)),
        "accuracy": np.mean(np.argmax(logits, axis=1) == labels),
        "top5": np.mean(top5),
        "confusion": confusion,
    }


@pytest.mark.parametrize(
    ("replicas", "batch"), [(1, 1), (1, 3), (1, 8), (1, 16), (2, 8), (2, 16)]
)
def test_every_example_counts_once(samples, logits, replicas, batch):
    """The last batch is full, has one row, or lacks one.

    On two replicas with batches of eight, the second replica gets no example of
    a last batch of one. With batches of one, twenty steps take several calls.
    """
    evaluate, _ = evaluator(replicas, batch)
    for count in (1, 7, 8, 9, TOTAL):
        found = evaluate.evaluate(samples.take(range(count)))
        labels = samples.labels[:count]
        expected = by_numpy(logits[:count], labels)
        assert found.examples == count
        assert found.loss == pytest.approx(expected["loss"], rel=1e-4)
        assert found.accuracy == pytest.approx(expected["accuracy"])
        assert found.top5_accuracy == pytest.approx(expected["top5"])
        np.testing.assert_array_equal(found.confusion, expected["confusion"])
        rows = {
            f"class {i}": np.mean(
                np.repeat(np.arange(CLASSES), expected["confusion"][i]) == i
            )
            for i in set(labels.tolist())
        }
        shown = found.per_class()
        assert {k: v for k, v in shown.items() if v is not None} == (
            pytest.approx(rows)
        )
        assert shown["class 5"] is None
        assert len(shown) == CLASSES


def test_other_samples_are_not_taken_for_those_read_before(samples):
    evaluate, _ = evaluator(1, 8)
    first, others = samples.take(range(8)), samples.take(range(8, 15))
    for part in (first, others, first):
        found = evaluate.evaluate(part, again=part is first)
        assert found.confusion.sum(axis=1).tolist() == (
            part.counts(CLASSES).tolist()
        )


def test_the_current_weights_are_evaluated(samples):
    evaluate, classifier = evaluator(1, 8)
    before = evaluate.evaluate(samples)
    classifier.head.kernel.assign(np.zeros((5, CLASSES)))
    bias = np.zeros(CLASSES)
    bias[3] = np.log(6)
    classifier.head.bias.assign(bias)
    after = evaluate.evaluate(samples)
    assert before.loss != after.loss
    # The labels are 0..6 twice and 0..5; three of them are 3.
    assert after.accuracy == 3 / TOTAL
    assert after.loss == pytest.approx(
        -(3 * np.log(1 / 2) + 17 * np.log(1 / 12)) / TOTAL, rel=1e-6
    )


@pytest.mark.parametrize(("num_classes", "there"), [(5, False), (6, True)])
def test_top5_needs_more_than_five_classes(samples, num_classes, there):
    evaluate, _ = evaluator(1, 8, num_classes)
    few = samples.take(np.flatnonzero(samples.labels < 5))
    found = evaluate.evaluate(few)
    assert (found.top5_accuracy is not None) is there
    assert ("test_top5_accuracy" in found.to_json()) is there


def test_json_holds_metrics_and_confusion():
    evaluation = Evaluation(
        loss=0.5,
        accuracy=0.75,
        top5_accuracy=None,
        confusion=np.array([[2, 1, 0], [0, 1, 0], [0, 0, 0]]),
        class_names=("a", "b", "c"),
    )
    assert evaluation.to_json() == {
        "test_examples": 4,
        "test_loss": 0.5,
        "test_accuracy": 0.75,
        "test_per_class_accuracy": {"a": 2 / 3, "b": 1.0, "c": None},
        "test_confusion": [[2, 1, 0], [0, 1, 0], [0, 0, 0]],
    }
