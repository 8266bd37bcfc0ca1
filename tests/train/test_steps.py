"""The step against other ways to the same numbers, on one replica and two."""

from __future__ import annotations

import functools
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.classifiers import (
    batch_of,
    copy_of,
    labels_of,
    live_classifier,
    pictures,
    tiny_classifier,
    tiny_images,
)
from tests.support.replicas import Descent, counted_calls, feed, strategy_of
from trainer.data.augment import affine, draw_parameters, warp
from trainer.distribute import devices
from trainer.errors import TrainerError
from trainer.model.classifier import Classifier
from trainer.model.freeze import freeze_plan, set_trainable
from trainer.train.graph_loops import (
    make_evaluation_function,
    make_train_function,
)
from trainer.train.optimizers import SummedOnce
from trainer.train.steps import (
    UNCONNECTED,
    make_evaluation_step,
    make_train_step,
)

CLASSES = 3
LOGITS = "logits_and_updates"


def matrices_of(count: int) -> np.ndarray:
    """float32 (count, 2, 2), as the pipeline draws them."""
    return np.stack(
        [
            affine(draw_parameters(0, tf.constant(1, tf.int64), i)).numpy()
            for i in tf.range(count, dtype=tf.int64)
        ]
    )


def tiny_batch(
    count: int, size: int, *, padding: float = 0.0, seed: int = 0
) -> dict[str, np.ndarray]:
    """`count` real rows of `size`."""
    labels = labels_of(count, CLASSES, seed)
    return batch_of(tiny_images(count, seed), labels, size, padding)


def values_of(classifier: Classifier) -> dict[str, np.ndarray]:
    return {k: v.numpy().copy() for k, v in classifier.variables.items()}


def norm(arrays) -> float:
    """The Euclidean norm over all entries."""
    squares = (np.sum(np.square(a, dtype=np.float64)) for a in arrays)
    return float(np.sqrt(sum(squares)))


def keras_gradients(classifier, images, labels) -> tuple[dict, float]:
    """Gradients by key and mean loss, by Keras's own model and loss."""
    model = classifier.model
    with tf.GradientTape() as tape:
        logits = model(images / 127.5 - 1, training=False)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)(
            tf.one_hot(labels, logits.shape[1]), logits
        )
    variables = [v.value for v in model.trainable_variables]
    gradients = tape.gradient(loss, variables)
    paths = [v.path for v in model.trainable_variables]
    arrays = [tf.convert_to_tensor(g).numpy() for g in gradients]
    return dict(zip(paths, arrays, strict=True)), float(loss)


def pure_step(classifier, plan, batch, *, examples=None, graph=True, **options):
    """The output of the pure step, by key of the trainable variables."""
    step = make_train_step(classifier, plan, kernel="projective", **options)
    if graph:
        step = tf.function(step)
    output = step(
        [classifier.variables[k].value for k in plan.trainable],
        [classifier.variables[k].value for k in plan.frozen],
        {name: tf.constant(value) for name, value in batch.items()},
        tf.constant(examples or batch["mask"].sum(), tf.float32),
    )
    gradients = [g.numpy() for g in output.gradients]
    sums = {name: float(value) for name, value in output.sums.items()}
    return dict(zip(plan.trainable, gradients, strict=True)), sums


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("unfreeze", ["none", "last:2", "all"])
def test_gradients_equal_those_of_keras(unfreeze, graph):
    classifier = tiny_classifier()
    plan = freeze_plan(classifier, unfreeze)
    set_trainable(classifier, plan)
    images, labels = tiny_images(5), labels_of(5, CLASSES)
    expected, loss = keras_gradients(classifier, images, labels)
    batch = batch_of(images, labels, 8)
    gradients, sums = pure_step(classifier, plan, batch, graph=graph)
    assert gradients.keys() == expected.keys()
    for key, gradient in gradients.items():
        assert gradient.dtype == np.float32
        assert np.any(expected[key])
        np.testing.assert_allclose(
            gradient, expected[key], rtol=1e-4, atol=1e-6, err_msg=key
        )
    assert sums["loss"] == pytest.approx(5 * loss, rel=1e-5)
    logits = classifier.model(images / 127.5 - 1, training=False)
    assert sums["correct"] == np.sum(np.argmax(logits, axis=1) == labels)
    assert sums["count"] == 5


@pytest.mark.parametrize("padding", [0.0, 77.0, 1e4])
def test_padded_rows_do_not_count_whatever_they_hold(padding):
    classifier = tiny_classifier()
    plan = freeze_plan(classifier, "all")
    full = tiny_batch(5, 8)
    expected = pure_step(classifier, plan, full)
    other = tiny_batch(5, 8, padding=padding)
    other["labels"][5:] = (0, 1, 2)
    gradients, sums = pure_step(classifier, plan, other)
    assert sums == expected[1]
    for key, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, expected[0][key], err_msg=key)


def test_the_parts_of_a_batch_add_up_to_the_whole():
    classifier = tiny_classifier()
    plan = freeze_plan(classifier, "all")
    batch = tiny_batch(8, 8)
    whole, sums = pure_step(classifier, plan, batch)
    parts = [
        pure_step(
            classifier,
            plan,
            {name: value[rows] for name, value in batch.items()},
            examples=8,
        )
        for rows in (slice(0, 3), slice(3, 8))
    ]
    for key, gradient in whole.items():
        np.testing.assert_allclose(
            gradient,
            parts[0][0][key] + parts[1][0][key],
            rtol=1e-4,
            atol=1e-6,
            err_msg=key,
        )
    assert sums["count"] == parts[0][1]["count"] + parts[1][1]["count"]


def test_matrices_warp_the_images_first():
    classifier = tiny_classifier()
    plan = freeze_plan(classifier, "last:2")
    batch = tiny_batch(4, 4)
    matrices = matrices_of(4)
    warped = warp(batch["images"], matrices, kernel="projective").numpy()
    assert np.abs(warped - batch["images"]).max() > 10
    expected = pure_step(classifier, plan, {**batch, "images": warped})
    gradients, sums = pure_step(
        classifier, plan, {**batch, "matrices": matrices}
    )
    assert sums == pytest.approx(expected[1])
    for key, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[0][key], atol=1e-6)


def test_a_trainable_variable_without_a_gradient_gets_zeros():
    keras.utils.clear_session()
    classifier = tiny_classifier()
    classifier.variables["top_norm/gamma"].assign(np.zeros(5))
    plan = freeze_plan(classifier, "last:2")
    gradients, _ = pure_step(classifier, plan, tiny_batch(4, 4))
    np.testing.assert_array_equal(gradients["top_conv/bias"], np.zeros(5))
    assert np.any(gradients["top_norm/beta"])


class Trainer:
    """A classifier under a strategy, and the function that trains it."""

    def __init__(
        self,
        *,
        replicas: int = 1,
        unfreeze: str = "last:2",
        optimizer=None,
        clip: float | None = None,
        xla: bool = False,
        make=tiny_classifier,
    ) -> None:
        self.strategy = strategy_of(replicas)
        self.classifier = copy_of(make(), self.strategy)
        with self.strategy.scope():
            self.plan = freeze_plan(self.classifier, unfreeze)
            # At rate 1 plain descent moves by the gradient itself.
            self.optimizer = (
                optimizer() if optimizer else keras.optimizers.SGD(1.0)
            )
            self.optimizer.build(
                [self.classifier.variables[k] for k in self.plan.trainable]
            )
        self.function = make_train_function(
            self.strategy,
            self.classifier,
            self.plan,
            self.optimizer,
            clip_global_norm=clip,
            xla=xla,
        )

    def train(self, batches, steps: int | None = None):
        """Runs over the batches, in one call unless told otherwise."""
        iterator = feed(self.strategy, batches)
        return [
            self.function(
                iterator, min(steps or len(batches), len(batches) - i)
            )
            for i in range(0, len(batches), steps or len(batches))
        ]

    def moves(self, batches) -> dict[str, np.ndarray]:
        """What the batches change, by key of the trainable variables."""
        before = values_of(self.classifier)
        self.train(batches)
        after = values_of(self.classifier)
        return {k: after[k] - before[k] for k in self.plan.trainable}


def adam():
    return keras.optimizers.Adam(1e-3)


def known_features() -> Classifier:
    """Features (3, 4, 0, 0, 0) whatever the image, two classes, no bias."""
    classifier = tiny_classifier(num_classes=2)
    variables = classifier.variables
    variables["top_norm/gamma"].assign(np.zeros(5))
    variables["top_norm/beta"].assign([3, 4, 0, 0, 0])
    variables["head/kernel"].assign(np.zeros((5, 2)))
    return classifier


@pytest.mark.parametrize("optimizer", [None, lambda: Descent(1.0)])
@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize(
    ("clip", "scale"),
    [(None, 1.0), (10.0, 1.0), (13**0.5 / 4, 0.25), (1.0, 13**-0.5)],
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


def test_a_keras_that_sums_in_another_way_is_refused():
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
    ("replicas", "xla"), [(1, False), (2, False), (2, True)]
)
def test_no_path_to_the_loss_is_not_a_gradient_of_zero(
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


@pytest.mark.parametrize("unfreeze", ["none", "last:1", "regex:.*norm", "all"])
def test_frozen_variables_stay_and_the_others_move(unfreeze):
    trainer = Trainer(unfreeze=unfreeze, optimizer=adam)
    before = values_of(trainer.classifier)
    trainer.train([tiny_batch(4, 4, seed=i) for i in range(3)])
    after = values_of(trainer.classifier)
    for key in trainer.plan.frozen:
        np.testing.assert_array_equal(after[key], before[key], err_msg=key)
    for key in trainer.plan.trainable:
        assert np.any(after[key] != before[key]), key


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("steps", [1, 2])
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


@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize(
    "count", [8, 5, 4, 1], ids=lambda n: f"{n} of 8 rows real"
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


def mobilenet() -> Classifier:
    return live_classifier("MobileNetV2", CLASSES)


@pytest.mark.slow
def test_a_compiled_backbone_on_two_replicas_moves_like_plain_on_one():
    batch = batch_of(pictures(6), labels_of(6, CLASSES), 8)
    batch["matrices"] = matrices_of(8)
    plain = Trainer(unfreeze="last:3", make=mobilenet)
    compiled = Trainer(replicas=2, unfreeze="last:3", make=mobilenet, xla=True)
    moves, others = plain.moves([batch]), compiled.moves([batch])
    apart = norm(moves[k] - others[k] for k in moves)
    assert apart <= 1e-4 * norm(moves.values())


@pytest.mark.parametrize("replicas", [1, 2])
def test_compiled_it_moves_like_plain(replicas):
    batch = tiny_batch(3, 4)
    batch["matrices"] = matrices_of(4)
    moves = Trainer(unfreeze="all").moves([batch])
    compiled = Trainer(replicas=replicas, unfreeze="all", xla=True)
    others = compiled.moves([batch])
    apart = norm(moves[k] - others[k] for k in moves)
    assert apart <= 1e-4 * norm(moves.values())


@pytest.fixture
def bfloat16():
    """A classifier that computes in it; the policy is put back afterwards."""
    yield functools.partial(tiny_classifier, precision="bfloat16")
    devices.set_precision("float32")
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("replicas", [1, 2])
def test_bfloat16_keeps_variables_and_gradients_in_float32(bfloat16, replicas):
    trainer = Trainer(
        replicas=replicas, unfreeze="all", optimizer=adam, make=bfloat16
    )
    layers = {layer.name: layer for layer in trainer.classifier.backbone.layers}
    assert layers["top_conv"].compute_dtype == "bfloat16"
    assert trainer.classifier.head.compute_dtype == "float32"
    batch = tiny_batch(3, 4)
    before = values_of(trainer.classifier)
    (call,) = trainer.train([batch, batch])
    assert np.all(np.isfinite(call.sums["loss"]))
    assert np.all(np.isfinite(call.gradient_max))
    assert np.all(call.gradient_max)
    variables = (
        *trainer.classifier.variables.values(),
        *trainer.optimizer.variables[1:],
    )
    for variable in variables:
        assert variable.value.dtype == tf.float32, variable.path
    for key in trainer.plan.trainable:
        assert np.any(trainer.classifier.variables[key].numpy() != before[key])


def test_bfloat16_gradients_are_near_those_of_float32(bfloat16):
    halves = bfloat16()
    plan = freeze_plan(halves, "all")
    batch = tiny_batch(8, 8)
    gradients, sums = pure_step(halves, plan, batch)
    whole = tiny_classifier()
    set_trainable(whole, freeze_plan(whole, "all"))
    expected, loss = keras_gradients(whole, batch["images"], batch["labels"])
    assert all(g.dtype == np.float32 for g in gradients.values())
    apart = norm(gradients[k] - expected[k] for k in expected)
    # Eight bits of mantissa, and not none at all.
    assert 1e-5 < apart / norm(expected.values()) < 0.05
    assert sums["loss"] == pytest.approx(8 * loss, rel=0.02)


def fixed_logits(logits: np.ndarray) -> Classifier:
    """A classifier whose logits are its first pixels' red, row for row."""

    class Fixed:
        variables: ClassVar[dict] = {}

        def logits(self, variables, values, images):
            return tf.constant(logits, tf.float32)

    return Fixed()


def evaluate_by_hand(logits, labels, mask) -> dict[str, np.ndarray]:
    step = make_evaluation_step(fixed_logits(np.array(logits)), len(logits[0]))
    batch = {
        "images": tf.zeros((len(labels), 1, 1, 3)),
        "labels": tf.constant(labels, tf.int32),
        "mask": tf.constant(mask, tf.float32),
    }
    return {name: value.numpy() for name, value in step([], batch).items()}


def test_evaluation_sums_by_hand():
    # Softmax of (ln 3, 0) is (3/4, 1/4).
    ln3 = np.log(3)
    sums = evaluate_by_hand(
        [[ln3, 0], [ln3, 0], [0, ln3], [0, 99]], [0, 1, 1, 0], [1, 1, 1, 0]
    )
    assert sums["loss"] == pytest.approx(-np.log([0.75, 0.25, 0.75]).sum())
    np.testing.assert_array_equal(sums["confusion"], [[1, 0], [1, 1]])
    assert sums["count"] == 3
    assert sums["top5"] == 3


@pytest.mark.parametrize(
    ("logits", "label", "hit"),
    [
        ([7, 6, 5, 4, 3, 2, 1], 4, True),
        ([7, 6, 5, 4, 3, 2, 1], 5, False),
        ([1, 2, 3, 4, 5, 6, 7], 2, True),
        ([1, 2, 3, 4, 5, 6, 7], 1, False),
        # A model that diverged is not right.
        ([np.nan] * 7, 0, False),
    ],
)
def test_top_five(logits, label, hit):
    assert evaluate_by_hand([logits], [label], [1])["top5"] == hit


@pytest.mark.parametrize("xla", [False, True])
def test_the_evaluation_function_adds_up_its_steps(xla):
    classifier = tiny_classifier()
    function = make_evaluation_function(
        strategy_of(1), classifier, CLASSES, xla=xla
    )
    batches = [tiny_batch(n, 4, seed=n) for n in (4, 4, 3)]
    whole = function(feed(strategy_of(1), batches), 3)
    parts = [function(feed(strategy_of(1), [b]), 1) for b in batches]
    assert whole["count"] == 11
    assert whole["confusion"].sum() == 11
    for name, value in whole.items():
        assert value.dtype == np.float64
        np.testing.assert_array_equal(value, sum(p[name] for p in parts))
