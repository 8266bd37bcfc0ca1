"""Partitions: tail after trunk computes what the classifier computes."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.classifiers import pictures, tiny_classifier
from tests.support.params import slow
from tools.xla_step import calibrate
from trainer.model import cpu_gradients
from trainer.model.backbones import FORM_NA, build_backbone, find_backbone
from trainer.model.classifier import HEAD, Classifier, make_classifier
from trainer.model.freeze import FreezePlan, freeze_plan
from trainer.model.trunk import copies as copies_module
from trainer.model.trunk import partition as partition_module
from trainer.model.trunk.partition import Partition, partition_classifier

PX = 32
QUICK = ("MobileNetV2", FORM_NA)
# Of each family, the cuts that differ from those of others. The families of
# SLOW_QUICK are compared there.
SLOW = (
    *((rule, *QUICK) for rule in ("none", "last:40", "all")),
    ("last:10", "ResNet50V2", FORM_NA),
    ("last:40", "MobileNetV3Small", FORM_NA),
    ("last:10", "DenseNet121", FORM_NA),
)
SLOW_QUICK = (
    ("all", "ConvNeXtTiny", FORM_NA),
    ("last:40", "EfficientNetLite0", FORM_NA),
    ("all", "EfficientNetLite0", FORM_NA),
)


@functools.lru_cache(maxsize=1)
def live(name: str, form: str) -> Classifier:
    """A classifier with the statistics of a batch, random gamma and beta."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    arguments = {"alpha": 0.35} if name == "MobileNetV2" else {}
    found = make_classifier(
        build_backbone(name, arguments, PX, form=form),
        pixels=find_backbone(name).pixels,
        num_classes=3,
        seed=0,
    )
    rng = np.random.default_rng(0)
    for layer in found.backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            if layer.scale:
                layer.gamma.assign(rng.uniform(0.8, 1.2, layer.gamma.shape))
            layer.beta.assign(rng.uniform(-0.2, 0.2, layer.beta.shape))
    calibrate(found, pictures(32, seed=1))
    return found


def values_of(classifier: Classifier, keys: tuple[str, ...]) -> list[tf.Tensor]:
    return [tf.convert_to_tensor(classifier.variables[k].value) for k in keys]


def inputs_of(partition: Partition, images: np.ndarray) -> list[tf.Tensor]:
    """Returns the inputs of the tail: features, or images."""
    if not partition.cut:
        return [tf.constant(images)]
    return partition.trunk(partition.trunk_constants(), tf.constant(images))


def loss_and_gradients(
    classifier: Classifier, plan: FreezePlan, logits: Any
) -> tuple[np.ndarray, list[tf.Tensor | None]]:
    """Returns logits, and a loss's gradients by every variable."""
    keys = plan.trainable + plan.frozen
    values = values_of(classifier, keys)
    variables = [classifier.variables[key] for key in keys]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        found = logits(variables, values)
        # Different weights, so that no class cancels another.
        total = tf.reduce_sum(tf.nn.log_softmax(found) * [1.0, 0.3, -0.5])
    return found.numpy(), tape.gradient(total, values)


def check(
    classifier: Classifier,
    unfreeze: str,
    *,
    folded: bool,
    quick: bool = False,
) -> Partition:
    """Checks logits, gradients and the place of every trainable variable."""
    plan = freeze_plan(classifier, unfreeze)
    partition = partition_classifier(
        classifier, plan, fold_batch_norm=folded, quick_gradients=quick
    )
    assert partition is not None
    assert bool(partition.cut) == (unfreeze != "all")
    images = pictures(3)
    true, expected = loss_and_gradients(
        classifier,
        plan,
        lambda variables, values: classifier.logits(
            variables, values, tf.constant(images)
        ),
    )
    inputs = inputs_of(partition, images)
    found, slopes = loss_and_gradients(
        classifier,
        plan,
        lambda variables, values: partition.logits(variables, values, inputs),
    )
    bound = 1e-4 if folded else 1e-6
    np.testing.assert_allclose(found, true, atol=bound * np.abs(true).max())
    trained = len(plan.trainable)
    norm = np.sqrt(sum(np.sum(g.numpy() ** 2) for g in expected[:trained]))
    assert norm > 0
    for key, mine, theirs in zip(
        plan.trainable, slopes, expected, strict=False
    ):
        assert mine is not None, key
        difference = np.linalg.norm(mine.numpy() - theirs.numpy())
        assert difference <= bound * norm, key
    check_variables(partition, plan, inputs, found)
    return partition


def check_variables(
    partition: Partition,
    plan: FreezePlan,
    inputs: list[tf.Tensor],
    logits: np.ndarray,
) -> None:
    """Checks that the tail reads its own variables and no others."""
    used = partition.tail_variables()
    assert set(plan.trainable) <= set(used)
    if not partition.cut:
        assert list(used) == list(partition.classifier.variables)
    else:
        assert len(used) < len(partition.classifier.variables)

    values = values_of(partition.classifier, tuple(used))
    given = {id(v): t for v, t in zip(used.values(), values, strict=True)}
    # Each value is read once, and nothing else is.
    with mock.patch.object(
        partition_module, "_reader", return_value=lambda v: given.pop(id(v))
    ):
        alone = partition.logits(list(used.values()), values, inputs)
    np.testing.assert_array_equal(alone, logits)
    assert not given


@pytest.mark.parametrize(
    ("unfreeze", "name", "form"),
    [("last:10", *QUICK), *slow(*SLOW)],
    ids=str,
)
def test_tail_after_trunk_is_the_classifier(
    unfreeze: str, name: str, form: str
) -> None:
    assert check(live(name, form), unfreeze, folded=True).folded


@pytest.mark.parametrize("unfreeze", ["last:10", *slow(("all",))])
def test_unfolded_tail_after_trunk_is_the_classifier(unfreeze: str) -> None:
    partition = check(live(*QUICK), unfreeze, folded=False)
    assert partition.folded == ()


@pytest.mark.parametrize(
    ("unfreeze", "name", "form"),
    [("last:10", *QUICK), ("all", *QUICK), *slow(*SLOW_QUICK)],
    ids=str,
)
def test_quick_gradients_are_those_of_the_classifier(
    monkeypatch: pytest.MonkeyPatch, unfreeze: str, name: str, form: str
) -> None:
    """Compiles also for small tensors."""
    monkeypatch.setattr(cpu_gradients, "_LOOP_VALUES", 1)
    made = []
    real = copies_module.quick_class

    def noting(layer: keras.layers.Layer) -> type[keras.layers.Layer]:
        made.append((layer.name, real(layer)))
        return real(layer)

    monkeypatch.setattr(copies_module, "quick_class", noting)
    partition = check(live(name, form), unfreeze, folded=True, quick=True)
    # ConvNeXt has no BatchNorm.
    assert bool(partition.folded) == (name != "ConvNeXtTiny")
    # Of the trunk none.
    asked = {layer for layer, _ in made}
    assert asked <= {layer.name for layer in partition._tail.layers} | set(
        partition.folded
    )
    kinds = {kind.__name__ for _, kind in made if kind.__name__[:5] == "Quick"}
    expected = {
        "MobileNetV2": {"QuickConv2D"},
        # Its convolutions are grouped, or hidden in nested models.
        "ConvNeXtTiny": {"QuickActivation"},
        # ReLU6 is quick as it is.
        "EfficientNetLite0": {"QuickConv2D", "QuickDepthwiseConv2D"},
    }
    if unfreeze == "all":
        assert kinds == expected[name]
    assert kinds


@pytest.mark.parametrize("folded", [False, True], ids=["plain", "folded"])
def test_whole_classifier_as_the_tail(folded: bool) -> None:
    """The partition of --trunk_engine=step, without a trunk."""
    classifier = live(*QUICK)
    plan = freeze_plan(classifier, "last:10")
    partition = partition_classifier(
        classifier, plan, fold_batch_norm=folded, cut_trunk=False
    )
    assert partition is not None
    assert (partition.cut, partition.feature_shapes) == ((), ())
    # 52 convolutions, each with its BatchNorm.
    assert len(partition.folded) == (52 if folded else 0)
    images = pictures(3)
    true, _ = loss_and_gradients(
        classifier,
        plan,
        lambda variables, values: classifier.logits(
            variables, values, tf.constant(images)
        ),
    )
    found, _ = loss_and_gradients(
        classifier,
        plan,
        lambda variables, values: partition.logits(
            variables, values, [tf.constant(images)]
        ),
    )
    np.testing.assert_allclose(found, true, atol=1e-4 * np.abs(true).max())


@pytest.mark.slow
def test_the_cut_of_efficientnet() -> None:
    """The tail computes as the classifier does, also with quick gradients."""
    partition = check(
        live("EfficientNetB0", "imagenet"),
        "last:10",
        folded=True,
        quick=True,
    )
    assert partition.cut == ("block7a_activation", "block7a_se_reshape")
    # 32 px leave one place; six times 192 channels.
    assert partition.feature_shapes == ((1, 1, 1152), (1, 1, 1152))


def test_a_frozen_backbone_is_cut_after_pooling() -> None:
    classifier = live(*QUICK)
    plan = freeze_plan(classifier, "none")
    partition = partition_classifier(classifier, plan, fold_batch_norm=True)
    assert partition is not None
    assert partition.feature_shapes == ((1280,),)
    features = inputs_of(partition, pictures(2))[0]
    head = classifier.head
    expected = features @ head.kernel.value + head.bias.value
    variables = list(classifier.variables.values())
    found = partition.logits(
        variables, [v.value for v in variables], [features]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("unfreeze", ["none", "last:10", "last:40"])
def test_no_variable_that_trains_is_in_the_trunk(unfreeze: str) -> None:
    """Training cannot change a bit of the trunk or of the features."""
    classifier = live(*QUICK)
    plan = freeze_plan(classifier, unfreeze)
    partition = partition_classifier(classifier, plan, fold_batch_norm=True)
    assert partition is not None
    images = tf.constant(pictures(2))
    before = partition.trunk_constants()
    features = partition.trunk(before, images)
    variables = list(classifier.variables.values())
    logits = partition.logits(variables, [v.value for v in variables], features)
    saved = {k: classifier.variables[k].numpy() for k in plan.trainable}
    for key, value in saved.items():
        classifier.variables[key].assign(value * 1.5 + 0.1)
    after = partition.trunk_constants()
    moved = partition.logits(variables, [v.value for v in variables], features)
    for key, value in saved.items():
        classifier.variables[key].assign(value)
    for one, two in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, two)
    assert np.abs(logits - moved).max() > 0.01


@pytest.mark.parametrize("unfreeze", ["none", "last:10", "last:40"])
def test_no_gradient_of_the_tail_reaches_the_trunk(unfreeze: str) -> None:
    classifier = live(*QUICK)
    plan = freeze_plan(classifier, unfreeze)
    partition = partition_classifier(classifier, plan, fold_batch_norm=False)
    assert partition is not None
    inputs = inputs_of(partition, pictures(2))
    _, slopes = loss_and_gradients(
        classifier,
        plan,
        lambda variables, values: partition.logits(variables, values, inputs),
    )
    reached = {
        key.rsplit("/", 1)[0]
        for key, gradient in zip(
            plan.trainable + plan.frozen, slopes, strict=True
        )
        if gradient is not None
    }
    tail = {layer.name for layer in classifier.backbone.layers[-40:]} | {HEAD}
    if unfreeze == "none":
        tail = {HEAD}
    assert HEAD in reached
    assert reached <= tail


def test_descriptions_of_trunks_differ() -> None:
    classifier = live(*QUICK)
    descriptions = set()
    cases = [(classifier, rule) for rule in ("none", "last:10", "last:40")]
    tiny = tiny_classifier()
    for change in ({}, {"pixels": "caffe"}, {"image_px": 9}):
        cases.append((dataclasses.replace(tiny, **change), "none"))
    for other, rule in cases:
        plan = freeze_plan(other, rule)
        partition = partition_classifier(other, plan, fold_batch_norm=True)
        assert partition is not None
        descriptions.add(partition.description)
    assert len(descriptions) == 6


def test_a_layer_called_twice_gives_no_partition() -> None:
    keras.utils.clear_session()
    inputs = keras.Input((8, 8, 3))
    shared = keras.layers.Conv2D(3, 1)
    backbone = keras.Model(inputs, shared(shared(inputs)))
    classifier = make_classifier(backbone, pixels="raw", num_classes=3, seed=0)
    plan = freeze_plan(classifier, "none")
    assert partition_classifier(classifier, plan, fold_batch_norm=True) is None
