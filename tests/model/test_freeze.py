"""The variables that a stage trains, counted by Keras and by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from trainer.errors import UsageError
from trainer.model.architectures import (
    architecture_json,
    model_from_architecture,
)
from trainer.model.backbones import build_backbone
from trainer.model.classifier import Classifier, make_classifier
from trainer.model.freeze import FreezePlan, freeze_plan, set_trainable


@pytest.fixture(scope="module")
def b0() -> Classifier:
    """EfficientNetB0 in the ImageNet form, with ten classes."""
    keras.utils.clear_session()
    backbone = build_backbone("EfficientNetB0", {}, 32, form="imagenet")
    return make_classifier(backbone, pixels="raw", num_classes=10, seed=0)


@pytest.fixture(scope="module")
def tiny() -> Classifier:
    """Seven layers: input, conv (3x3x3x4), bn (4), act, drop, conv, bn."""
    keras.utils.clear_session()
    inputs = keras.Input((8, 8, 3), name="input")
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="stem_conv")(inputs)
    x = keras.layers.BatchNormalization(name="stem_bn")(x)
    x = keras.layers.ReLU(name="act")(x)
    x = keras.layers.Dropout(0.5, name="drop")(x)
    x = keras.layers.Conv2D(2, 1, name="top_conv")(x)
    x = keras.layers.BatchNormalization(name="top_bn")(x)
    backbone = keras.Model(inputs, x, name="tiny")
    return make_classifier(backbone, pixels="raw", num_classes=3, seed=0)


def size(classifier: Classifier, keys: tuple[str, ...]) -> int:
    """Counts the parameters of variables; excludes a dropout's counter."""
    return sum(
        np.size(classifier.variables[key].numpy())
        for key in keys
        if not key.endswith("seed_generator_state")
    )


def flags(classifier: Classifier) -> list[bool]:
    """Returns all `trainable` flags of models, layers and variables."""
    model, backbone = classifier.model, classifier.backbone
    owners = (model, *model.layers, *backbone.layers, *model.variables)
    return [owner.trainable for owner in owners]


def check_total(classifier: Classifier, plan: FreezePlan) -> None:
    """Checks that a plan has each variable once, and Keras's counts."""
    set_trainable(classifier, plan)
    both = plan.trainable + plan.frozen
    assert sorted(both) == sorted(classifier.variables)
    assert len(set(both)) == len(both)
    model = classifier.model
    assert [classifier.variables[k].path for k in plan.trainable] == [
        v.path for v in model.trainable_variables
    ]
    assert plan.total_params == model.count_params()
    assert plan.total_params == size(classifier, both)
    assert plan.trainable_params == size(classifier, plan.trainable)


@pytest.mark.parametrize(
    ("unfreeze", "layers", "variables", "parameters"),
    [
        ("none", 0, 2, 12_810),
        # 12,810 + squeeze and excite 1152x48+48 and 48x1152+1152, projection
        # 1152x320, its gamma and beta 2x320, top 320x1280 and 2x1280.
        ("last:10", 10, 12, 906_042),
        # All except 42,016 moving means and variances, and the mean (3),
        # variance (3) and count (1) of Normalization.
        ("all", 238, 213, 4_062_381 - 42_023),
    ],
)
def test_efficientnet_b0(b0, unfreeze, layers, variables, parameters):
    plan = freeze_plan(b0, unfreeze)
    check_total(b0, plan)
    assert plan.total_params == 4_062_381
    assert len(plan.unfrozen_layers) == layers
    assert len(plan.trainable) == variables
    assert plan.trainable_params == parameters


def test_last_ten_of_efficientnet_b0(b0):
    plan = freeze_plan(b0, "last:10")
    assert plan.unfrozen_layers[0] == "block7a_se_squeeze"
    assert plan.unfrozen_layers[-1] == "top_activation"
    layers = dict.fromkeys(key.rpartition("/")[0] for key in plan.trainable)
    assert list(layers) == [
        "block7a_se_reduce",
        "block7a_se_expand",
        "block7a_project_conv",
        "block7a_project_bn",
        "top_conv",
        "top_bn",
        "head",
    ]


STEM = ("stem_conv/kernel", "stem_bn/gamma", "stem_bn/beta")
TOP = ("top_conv/kernel", "top_conv/bias", "top_bn/gamma", "top_bn/beta")
HEAD = ("head/kernel", "head/bias")


@pytest.mark.parametrize(
    ("unfreeze", "unfrozen", "trainable"),
    [
        ("none", (), HEAD),
        (
            "all",
            (
                "input",
                "stem_conv",
                "stem_bn",
                "act",
                "drop",
                "top_conv",
                "top_bn",
            ),
            STEM + TOP + HEAD,
        ),
        ("last:1", ("top_bn",), TOP[2:] + HEAD),
        ("last:3", ("drop", "top_conv", "top_bn"), TOP + HEAD),
        (
            "from:drop",
            ("drop", "top_conv", "top_bn"),
            TOP + HEAD,
        ),
        ("from:top_conv", ("top_conv", "top_bn"), TOP + HEAD),
        (
            "regex:.*_bn",
            ("stem_bn", "top_bn"),
            STEM[1:] + TOP[2:] + HEAD,
        ),
        ("regex:act|top_conv", ("act", "top_conv"), TOP[:2] + HEAD),
    ],
)
def test_rules(tiny, unfreeze, unfrozen, trainable):
    plan = freeze_plan(tiny, unfreeze)
    check_total(tiny, plan)
    assert plan.unfreeze == unfreeze
    assert plan.unfrozen_layers == unfrozen
    assert plan.trainable == trainable


@pytest.mark.parametrize(
    "unfreeze", ["none", "all", "last:1", "regex:.*_bn", "from:stem_bn"]
)
def test_moving_statistics_are_always_frozen(tiny, unfreeze):
    plan = freeze_plan(tiny, unfreeze)
    statistics = {
        f"{layer}/moving_{what}"
        for layer in ("stem_bn", "top_bn")
        for what in ("mean", "variance")
    }
    assert statistics <= set(plan.frozen)


def test_rows_count_each_layer(tiny):
    plan = freeze_plan(tiny, "last:1")
    assert [
        (row.name, row.kind, row.params, row.trainable_params)
        for row in plan.rows
    ] == [
        ("stem_conv", "Conv2D", 108, 0),
        ("stem_bn", "BatchNormalization", 16, 0),
        ("top_conv", "Conv2D", 10, 0),
        ("top_bn", "BatchNormalization", 8, 4),
        ("head", "Dense", 9, 9),
    ]


@pytest.mark.parametrize(
    ("unfreeze", "message"),
    [
        (
            "regex:act",
            "--unfreeze='regex:act': none of its 1 layers (act) has a"
            " variable to train; choose more, or none to train the head only",
        ),
        (
            "regex:input|act|drop",
            "--unfreeze='regex:input|act|drop': none of its 3 layers (input,"
            " act, drop) has a variable to train; choose more, or none to"
            " train the head only",
        ),
        # Matches only parts of two names.
        (
            "regex:conv",
            "--unfreeze='regex:conv': matches none of the 7 layer names (the"
            " pattern must match a whole name); try regex:.*conv.* or see"
            " --dry_run for the names",
        ),
        (
            "last:8",
            "--unfreeze='last:8': the backbone has 7 layers; give last:1 to"
            " last:7, or all",
        ),
        (
            "from:top_con",
            "--unfreeze='from:top_con': the backbone has no layer 'top_con'"
            " (did you mean 'top_conv'?); --dry_run lists the layers",
        ),
    ],
)
def test_rules_that_train_nothing(tiny, unfreeze, message):
    with pytest.raises(UsageError) as error:
        freeze_plan(tiny, unfreeze)
    assert str(error.value) == message


def test_many_layers_without_variables_are_not_all_named():
    keras.utils.clear_session()
    inputs = keras.Input((8, 8, 3), name="input")
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    for i in range(4):
        x = keras.layers.ReLU(name=f"act{i}")(x)
    classifier = make_classifier(
        keras.Model(inputs, x), pixels="raw", num_classes=2, seed=0
    )
    with pytest.raises(UsageError, match=r"4 layers \(act0, act1, act2, ..."):
        freeze_plan(classifier, "last:4")


@pytest.mark.parametrize(
    "path",
    [
        ("none", "last:2"),
        ("none", "last:2", "none"),
        ("all", "regex:.*_bn"),
        ("last:2", "last:2"),
        ("all", "none", "all"),
    ],
)
def test_only_the_last_rule_counts(path):
    """The result does not depend on the rules set before."""

    def build() -> Classifier:
        keras.utils.clear_session()
        inputs = keras.Input((8, 8, 3))
        x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
        x = keras.layers.BatchNormalization(name="one_bn")(x)
        x = keras.layers.BatchNormalization(name="two_bn")(x)
        return make_classifier(
            keras.Model(inputs, x), pixels="raw", num_classes=2, seed=0
        )

    once, often = build(), build()
    expected = freeze_plan(once, path[-1])
    set_trainable(once, expected)
    for unfreeze in path:
        plan = freeze_plan(often, unfreeze)
        set_trainable(often, plan)
    assert plan == expected
    check_total(often, plan)
    assert flags(often) == flags(once)


RULES = (
    "none",
    "all",
    "last:1",
    "last:3",
    "last:5",
    "from:stem_bn",
    "from:top_conv",
    "regex:.*_bn",
    "regex:act|top_conv",
)


@pytest.mark.parametrize("before", ["none", "all", "regex:stem_conv|act"])
@pytest.mark.parametrize("unfreeze", RULES)
def test_plan_changes_nothing_and_equals_keras_afterwards(
    tiny, unfreeze, before
):
    set_trainable(tiny, freeze_plan(tiny, before))
    flags_before = flags(tiny)
    plan = freeze_plan(tiny, unfreeze)
    assert flags(tiny) == flags_before

    set_trainable(tiny, plan)
    for named, ours in (
        (tiny.model.trainable_variables, plan.trainable),
        (tiny.model.non_trainable_variables, plan.frozen),
    ):
        assert {id(v) for v in named} == {id(tiny.variables[k]) for k in ours}
    for layer in tiny.backbone.layers:
        assert layer.trainable == (layer.name in plan.unfrozen_layers)
    assert tiny.backbone.trainable == bool(plan.unfrozen_layers)


@pytest.mark.parametrize("rule", ["regex:act", "regex:conv", "last:8"])
def test_refused_rule_changes_no_flag(tiny, rule):
    set_trainable(tiny, freeze_plan(tiny, "last:3"))
    before = flags(tiny)
    with pytest.raises(UsageError):
        freeze_plan(tiny, rule)
    assert flags(tiny) == before


@pytest.mark.parametrize("stored", ["none", "last:2", "all"])
def test_plan_ignores_flags_of_a_stored_architecture(tiny, stored):
    set_trainable(tiny, freeze_plan(tiny, stored))
    keras.utils.clear_session()
    backbone = model_from_architecture(architecture_json(tiny.backbone))
    again = make_classifier(backbone, pixels="raw", num_classes=3, seed=0)
    for unfreeze in RULES:
        plan = freeze_plan(again, unfreeze)
        assert plan == freeze_plan(tiny, unfreeze)
        check_total(again, plan)


def test_plan_covers_the_layers_within_a_nested_backbone():
    keras.utils.clear_session()
    block = keras.Sequential(
        [keras.layers.Dense(4), keras.layers.BatchNormalization()],
        name="block",
    )
    inputs = keras.Input((8, 8, 3), name="input")
    x = block(keras.layers.Conv2D(4, 3, name="stem")(inputs))
    classifier = make_classifier(
        keras.Model(inputs, x), pixels="raw", num_classes=2, seed=0
    )
    plan = freeze_plan(classifier, "last:1")
    assert [key.rpartition("/")[2] for key in plan.trainable] == [
        *("kernel", "bias", "gamma", "beta"),
        *("kernel", "bias"),
    ]
    check_total(classifier, plan)
