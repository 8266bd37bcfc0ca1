"""The loop of steps in the graph, on one replica and on two."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.classifiers import (
    batch_of,
    tiny_classifier,
    tiny_images,
)
from tests.support.params import slow
from tests.support.replicas import Descent, counted_calls, feed
from tests.support.steps import (
    CLASSES,
    LOGITS,
    Trainer,
    adam,
    matrices_of,
    norm,
    tiny_batch,
    values_of,
)
from trainer.errors import TrainerError
from trainer.learning.graph_loops import (
    StepsPerCall,
    make_evaluation_function,
)
from trainer.learning.optimizers import SummedOnce
from trainer.learning.steps import (
    UNCONNECTED,
)
from trainer.model.classifier import Classifier


def known_features() -> Classifier:
    """Features (3, 4, 0, 0, 0) whatever the image, two classes, no bias."""
    classifier = tiny_classifier(num_classes=2)
    variables = classifier.variables
    variables["top_norm/gamma"].assign(np.zeros(5))
    variables["top_norm/beta"].assign([3, 4, 0, 0, 0])
    variables["head/kernel"].assign(np.zeros((5, 2)))
    return classifier


def summed_once() -> Descent:
    return Descent(1.0)


@pytest.mark.parametrize(
    ("replicas", "clip", "scale", "optimizer"),
    [
        (1, None, 1.0, summed_once),
        (2, 10.0, 1.0, summed_once),
        (2, 13**0.5 / 4, 0.25, summed_once),
        (1, 1.0, 13**-0.5, summed_once),
        # That of Keras.
        *slow((2, 13**0.5 / 4, 0.25, None)),
    ],
)
def test_clipping_by_hand(replicas, clip, scale, optimizer):
    """Both logits are 0, so a row of class 0 has the gradient (-1/2, 1/2).

    With the features (3, 4, 0, 0, 0) its squared norm over bias and kernel is
    (1/4 + 1/4) (1 + 9 + 16) = 13.
    """
    trainer = Trainer(
        replicas=replicas,
        unfreeze="none",
        clip=clip,
        make=known_features,
        optimizer=optimizer,
    )
    before = values_of(trainer.classifier)
    batch = batch_of(tiny_images(2), np.zeros(2, np.int32), 2)
    (call,) = trainer.train([batch])
    after = values_of(trainer.classifier)
    bias = np.array([0.5, -0.5]) * scale
    np.testing.assert_allclose(
        after["head/bias"] - before["head/bias"], bias, rtol=1e-6
    )
    np.testing.assert_allclose(
        after["head/kernel"] - before["head/kernel"],
        np.outer([3, 4, 0, 0, 0], bias),
        rtol=1e-6,
    )
    # Reported before clipping, and as the optimizer got it.
    np.testing.assert_allclose(call.sums["gradient_norm"], [13**0.5], rtol=1e-6)
    np.testing.assert_allclose(
        call.gradient_max, [2.0 * scale, 0.5 * scale], rtol=1e-6
    )
    np.testing.assert_allclose(call.sums["loss"], [2 * np.log(2)], rtol=1e-6)


@pytest.mark.parametrize("judge", [False, True], ids=["train", "evaluate"])
def test_autograph_rewrites_no_layer(judge, monkeypatch):
    """It would turn an `if` on a tensor into an operation of the graph."""
    seen = []
    call = keras.layers.ReLU.call

    def asking(layer, inputs):
        if isinstance(inputs, tf.Tensor):
            try:
                if tf.reduce_sum(inputs) > 0:
                    pass
                seen.append("rewritten")
            except tf.errors.OperatorNotAllowedInGraphError:
                seen.append("as written")
        return call(layer, inputs)

    trainer = Trainer()
    monkeypatch.setattr(keras.layers.ReLU, "call", asking)
    batch = tiny_batch(4, 4)
    if judge:
        function = make_evaluation_function(
            trainer.strategy, trainer.classifier, CLASSES, xla=False
        )
        function(feed(trainer.strategy, [batch]), 1)
    else:
        trainer.train([batch])
    assert set(seen) == {"as written"}


def test_a_keras_that_sums_gradients_differently_is_refused():
    """Nothing else would tell that gradients are twice what they should be."""

    class Another(SummedOnce, keras.optimizers.SGD):
        def _backend_update_step(self, *args):
            pass

    trainer = Trainer(
        replicas=2,
        unfreeze="none",
        make=known_features,
        optimizer=lambda: Another(1.0),
    )
    batch = batch_of(tiny_images(2), np.zeros(2, np.int32), 2)
    with pytest.raises(TrainerError, match="sums gradients in a way"):
        trainer.train([batch])


@pytest.mark.parametrize(
    ("replicas", "xla"),
    [
        (1, False),
        *slow((2, True)),
    ],
)
def test_unconnected_differs_from_a_gradient_of_zero(
    replicas, xla, monkeypatch
):
    """An output times 0, and one that is never read."""
    call = keras.layers.BatchNormalization.call

    def stopped(layer, inputs, training=None, mask=None):
        outputs = call(layer, inputs, training=training, mask=mask)
        # Of top_norm only beta is left.
        return outputs * 0 + layer.beta if layer.name == "top_norm" else outputs

    monkeypatch.setattr(keras.layers.BatchNormalization, "call", stopped)
    zero = Trainer(replicas=replicas, xla=xla, unfreeze="last:2")
    (call_of_zero,) = zero.train([tiny_batch(4, 4)])
    found = dict(
        zip(zero.plan.trainable, call_of_zero.gradient_max, strict=True)
    )
    assert found["top_conv/kernel"] == found["top_norm/gamma"] == 0
    assert found["top_norm/beta"] > 0

    def cut(layer, inputs, training=None, mask=None):
        return tf.zeros_like(inputs) + layer.beta

    monkeypatch.setattr(keras.layers.BatchNormalization, "call", cut)
    apart = Trainer(replicas=replicas, xla=xla, unfreeze="last:2")
    before = values_of(apart.classifier)
    (call_of_cut,) = apart.train([tiny_batch(4, 4)])
    found = dict(
        zip(apart.plan.trainable, call_of_cut.gradient_max, strict=True)
    )
    assert found["top_conv/kernel"] == found["top_norm/gamma"] == UNCONNECTED
    assert found["top_norm/beta"] > 0
    after = values_of(apart.classifier)
    for key, largest in found.items():
        assert np.any(after[key] != before[key]) == (largest > 0), key


@pytest.mark.parametrize("unfreeze", ["none", "regex:.*norm"])
def test_frozen_variables_stay_and_the_others_move(unfreeze):
    trainer = Trainer(unfreeze=unfreeze, optimizer=adam)
    before = values_of(trainer.classifier)
    trainer.train([tiny_batch(4, 4, seed=i) for i in range(3)])
    after = values_of(trainer.classifier)
    for key in trainer.plan.frozen:
        np.testing.assert_array_equal(after[key], before[key], err_msg=key)
    for key in trainer.plan.trainable:
        assert np.any(after[key] != before[key]), key


@pytest.mark.parametrize(
    ("replicas", "steps"),
    [
        (1, 2),
        pytest.param(2, 2, marks=pytest.mark.slow),
    ],
)
def test_steps_in_one_call_equal_those_one_by_one(replicas, steps):
    batches = [tiny_batch(n, 4, seed=n) for n in (4, 4, 1, 4, 3)]
    one = Trainer(replicas=replicas, optimizer=adam, clip=0.5)
    (whole,) = one.train(batches)
    other = Trainer(replicas=replicas, optimizer=adam, clip=0.5)
    parts = other.train(batches, steps)
    assert len(parts) == -(-5 // steps)
    for name, row in whole.sums.items():
        np.testing.assert_array_equal(
            row, np.concatenate([part.sums[name] for part in parts])
        )
    np.testing.assert_array_equal(whole.sums["count"], [4, 4, 1, 4, 3])
    np.testing.assert_array_equal(
        whole.gradient_max, np.max([p.gradient_max for p in parts], axis=0)
    )
    expected = values_of(one.classifier)
    for key, value in values_of(other.classifier).items():
        np.testing.assert_array_equal(value, expected[key], err_msg=key)
    for mine, theirs in zip(
        other.optimizer.variables, one.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


@pytest.mark.parametrize(
    ("count", "clip"),
    [
        (5, 0.1),
        *slow((1, None)),
    ],
)
def test_two_replicas_move_like_one(count, clip):
    """Up to four real rows, the second replica has only padding."""
    batch = tiny_batch(count, 8)
    one = Trainer(unfreeze="all", clip=clip)
    two = Trainer(replicas=2, unfreeze="all", clip=clip)
    moves = one.moves([batch])
    others = two.moves([batch])
    apart = norm(moves[k] - others[k] for k in moves)
    assert apart <= 1e-5 * norm(moves.values())
    if clip:
        assert norm(moves.values()) == pytest.approx(clip, rel=1e-4)
    for variable in two.classifier.variables.values():
        copies = two.strategy.experimental_local_results(variable.value)
        assert len(copies) == 2
        np.testing.assert_array_equal(copies[0].numpy(), copies[1].numpy())


def test_two_replicas_count_like_one():
    batches = [tiny_batch(n, 8, seed=n) for n in (8, 4, 1)]
    (one,) = Trainer().train(batches)
    (two,) = Trainer(replicas=2).train(batches)
    for name in ("count", "correct"):
        np.testing.assert_array_equal(one.sums[name], two.sums[name])
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose(one.sums[name], two.sums[name], rtol=1e-4)
    np.testing.assert_allclose(one.gradient_max, two.gradient_max, rtol=1e-4)


@pytest.mark.parametrize("replicas", [1, 2])
def test_only_the_first_call_traces(monkeypatch, replicas):
    trainer = Trainer(replicas=replicas, optimizer=adam)
    batches = [tiny_batch(n, 4, seed=n) for n in (4, 4, 4, 4, 4, 3)]
    iterator = feed(trainer.strategy, batches)
    with counted_calls(monkeypatch, Classifier, LOGITS) as calls:
        trainer.function(iterator, 1)
        traced = calls[0]
        assert traced >= 1
        for steps in (1, 2, 2):
            trainer.function(iterator, steps)
        # The iterator of a resumed run.
        trainer.function(feed(trainer.strategy, batches), 3)
        assert calls[0] == traced


@pytest.mark.slow
def test_xla_on_two_replicas_trains_like_one_without_xla():
    """Families on one replica: tests/tools/test_xla_families.py."""
    batch = tiny_batch(3, 4)
    batch["matrices"] = matrices_of(4)
    moves = Trainer(unfreeze="all").moves([batch])
    compiled = Trainer(replicas=2, unfreeze="all", xla=True)
    others = compiled.moves([batch])
    apart = norm(moves[k] - others[k] for k in moves)
    assert apart <= 1e-4 * norm(moves.values())


def test_calls_double_at_most_and_take_about_a_second():
    calls = StepsPerCall(0)
    found = [calls.steps]
    for seconds_per_step in (0.001, 0.001, 0.001, 0.15, 3.0, 0.4):
        calls.update(seconds_per_step)
        found.append(calls.steps)
    assert found == [1, 2, 4, 8, 6, 1, 2]


def test_steps_per_loop_fixes_the_length_of_a_call():
    calls = StepsPerCall(7)
    for seconds_per_step in (0.001, 3.0):
        calls.update(seconds_per_step)
        assert calls.steps == 7
