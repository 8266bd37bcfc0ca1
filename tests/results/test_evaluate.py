"""Evaluation metrics compared with NumPy on Keras's predictions."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from PIL import Image

from tests.support.classifiers import TINY_PX, copy_of, tiny_classifier
from tests.support.params import slow
from tests.support.replicas import strategy_of
from trainer.data.samples import WHOLE_FILE, Samples
from trainer.results.evaluate import Evaluator
from trainer.results.evaluation import Evaluation

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


def evaluator(
    replicas: int, batch: int, num_classes: int = CLASSES, **options: bool
):
    """Returns an evaluator of a tiny classifier, and the classifier."""
    strategy = strategy_of(replicas)
    classifier = copy_of(tiny_classifier(num_classes), strategy)
    names = tuple(f"class {i}" for i in range(num_classes))
    return (
        Evaluator(
            strategy,
            classifier,
            names,
            batch_size=batch,
            **{"xla": False, **options},
        ),
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
    ("replicas", "batch"),
    [(1, 3), *slow((2, 8), (1, 1))],
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


def evaluation_of(confusion: list[list[int]]) -> Evaluation:
    counts = np.array(confusion)
    return Evaluation(
        loss=0.5,
        accuracy=float(np.trace(counts) / counts.sum()),
        top5_accuracy=None,
        confusion=counts,
        class_names=tuple("abcdefg"[: len(counts)]),
    )


def test_json_holds_metrics_and_confusion():
    evaluation = evaluation_of([[2, 1, 0], [0, 1, 0], [0, 0, 0]])
    found = evaluation.to_json()
    # Wilson intervals of 3 of 4, 2 of 3 and 1 of 1.
    assert found.pop("test_accuracy_interval") == pytest.approx(
        [0.300642, 0.954413], abs=1e-6
    )
    intervals = found.pop("test_per_class_interval")
    assert intervals["a"] == pytest.approx([0.207660, 0.938508], abs=1e-6)
    assert intervals["b"] == pytest.approx([0.206549, 1], abs=1e-6)
    assert intervals["c"] is None
    assert found == {
        "test_examples": 4,
        "test_loss": 0.5,
        "test_accuracy": 0.75,
        "test_balanced_accuracy": pytest.approx((2 / 3 + 1) / 2),
        # F1 of a is 4 / 5, of b 2 / 3.
        # Precision is 1 and 1 / 2, recall 2 / 3 and 1, for 3 and 1 examples.
        "test_macro_precision": 0.75,
        "test_macro_recall": pytest.approx((2 / 3 + 1) / 2),
        # F1 of a is 4 / 5, of b 2 / 3.
        "test_macro_f1": pytest.approx((4 / 5 + 2 / 3) / 2),
        "test_weighted_precision": 0.875,
        "test_weighted_recall": 0.75,
        "test_weighted_f1": pytest.approx((3 * 4 / 5 + 2 / 3) / 4),
        "test_per_class_accuracy": {"a": 2 / 3, "b": 1.0, "c": None},
        "test_per_class_support": {"a": 3, "b": 1, "c": 0},
        "test_per_class_precision": {"a": 1.0, "b": 0.5, "c": None},
        "test_per_class_f1": {"a": 0.8, "b": 2 / 3, "c": None},
        "test_confusion": [[2, 1, 0], [0, 1, 0], [0, 0, 0]],
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("confusion", "f1"),
    [
        # Class b is never predicted.
        ([[3, 0], [2, 0]], [0.75, 0]),
        # Class b has no examples, but a prediction.
        ([[3, 1], [0, 0]], [6 / 7, 0]),
        # Class c has neither.
        ([[3, 1, 0], [1, 5, 0], [0, 0, 0]], [0.75, 10 / 12, None]),
    ],
)
def test_f1_of_missing_classes_by_hand(confusion, f1):
    found = evaluation_of(confusion)
    assert list(found.to_json()["test_per_class_f1"].values()) == (
        pytest.approx(f1)
    )
    known = [x for x in f1 if x is not None]
    assert found.macro_f1 == pytest.approx(sum(known) / len(known))


@pytest.mark.parametrize(
    ("true_classes", "predicted_classes"),
    [
        ((0, 1, 2, 3), (0, 1, 2, 3)),
        ((0, 1, 3), (0, 1, 2, 3)),
        ((0, 1, 2, 3), (1, 2)),
        ((0, 1), (0, 1)),
        ((0, 1), (2, 3)),
        ((2,), (2,)),
    ],
)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_class_metrics_are_those_of_scikit_learn(
    true_classes, predicted_classes
):
    from sklearn import metrics

    rng = np.random.default_rng(len(true_classes))
    true = rng.choice(true_classes, 50)
    predicted = rng.choice(predicted_classes, 50)
    found = evaluation_of(
        metrics.confusion_matrix(true, predicted, labels=range(4))
    )
    assert found.macro_f1 == pytest.approx(
        metrics.f1_score(true, predicted, average="macro")
    )
    assert found.balanced_accuracy == pytest.approx(
        metrics.balanced_accuracy_score(true, predicted)
    )
    for average in ("macro", "weighted"):
        expected = metrics.precision_recall_fscore_support(
            true, predicted, average=average, zero_division=0
        )[:3]
        for name, value in zip(
            ("precision", "recall", "f1"), expected, strict=True
        ):
            assert found.averages[f"{average}_{name}"] == pytest.approx(value)
    per_class = metrics.precision_recall_fscore_support(
        true, predicted, labels=range(4), zero_division=np.nan
    )
    precision, recall, f1, support = per_class
    np.testing.assert_allclose(found.precision, precision)
    np.testing.assert_allclose(found.recall, recall)
    np.testing.assert_allclose(found.f1, f1)
    np.testing.assert_array_equal(found.support, support)


@pytest.mark.parametrize(
    ("replicas", "batch", "xla"),
    [
        # Twenty batches of one take several calls.
        *slow((1, 1, False), (2, 8, True)),
    ],
)
def test_outputs_are_keras_logits_in_order(
    samples, logits, replicas, batch, xla
):
    """The rows of the padding are dropped."""
    evaluate, _ = evaluator(replicas, batch, xla=xla)
    for count in (batch, batch + 1, TOTAL):
        part = samples.take(range(count))
        found = evaluate.evaluate(part, outputs=True)
        assert found.outputs.dtype == np.float32
        np.testing.assert_allclose(
            found.outputs, logits[:count], rtol=1e-4, atol=1e-5
        )
        plain = evaluate.evaluate(part)
        assert plain.outputs is None
        # Bit for bit the metrics without outputs.
        assert plain.to_json() == found.to_json()


def test_flip_gives_the_metrics_of_mean_probabilities(samples, pixels):
    """Twenty examples in batches of eight, so the last one is padded."""
    model = tiny_classifier(CLASSES).model
    scaled = pixels.astype(np.float32) / 127.5 - 1
    both = [
        softmax(model(images, training=False).numpy().astype(np.float64))
        for images in (scaled, scaled[:, :, ::-1])
    ]
    expected = by_numpy(np.log((both[0] + both[1]) / 2), samples.labels)
    found = evaluator(2, 8, flip=True)[0].evaluate(samples, outputs=True)
    assert found.loss == pytest.approx(expected["loss"], rel=1e-6)
    assert found.confusion.tolist() == expected["confusion"].tolist()
    assert found.top5_accuracy == pytest.approx(expected["top5"])
    np.testing.assert_allclose(
        softmax(found.outputs), (both[0] + both[1]) / 2, atol=1e-6
    )
    # The two views do not agree, so the mean is not one of them.
    assert np.abs(both[0] - both[1]).max() > 1e-3


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
