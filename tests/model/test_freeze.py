"""Which variables a stage trains, counted by Keras and by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from trainer.errors import UsageError
from trainer.model.backbones import build_backbone
from trainer.model.classifier import Classifier, make_classifier
from trainer.model.freeze import FreezePlan, apply_freeze


@pytest.fixture(scope="module")
def b0() -> Classifier:
    """EfficientNetB0, as weights='imagenet' builds it, and ten classes."""
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
    """Parameters of some variables, by NumPy; a dropout's counter is none."""
    return sum(
        np.size(classifier.variables[key].numpy())
        for key in keys
        if not key.endswith("seed_generator_state")
    )


def check_total(classifier: Classifier, plan: FreezePlan) -> None:
    """Each variable once, and the counts those of Keras."""
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
        # All but 42,016 moving means and variances, and the normalisation's
        # mean (3), variance (3) and count (1).
        ("all", 238, 213, 4_062_381 - 42_023),
    ],
)
def test_efficientnet_b0(b0, unfreeze, layers, variables, parameters):
    plan = apply_freeze(b0, unfreeze)
    check_total(b0, plan)
    assert plan.total_params == 4_062_381
    assert len(plan.unfrozen_layers) == layers
    assert len(plan.trainable) == variables
    assert plan.trainable_params == parameters


def test_last_ten_of_efficientnet_b0(b0):
    plan = apply_freeze(b0, "last:10")
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
    plan = apply_freeze(tiny, unfreeze)
    check_total(tiny, plan)
    assert plan.unfreeze == unfreeze
    assert plan.unfrozen_layers == unfrozen
    assert plan.trainable == trainable


@pytest.mark.parametrize(
    "unfreeze", ["none", "all", "last:1", "regex:.*_bn", "from:stem_bn"]
)
def test_moving_statistics_are_always_frozen(tiny, unfreeze):
    plan = apply_freeze(tiny, unfreeze)
    statistics = {
        f"{layer}/moving_{what}"
        for layer in ("stem_bn", "top_bn")
        for what in ("mean", "variance")
    }
    assert statistics <= set(plan.frozen)


def test_rows_count_each_layer(tiny):
    plan = apply_freeze(tiny, "last:1")
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
        # Only a part of two names.
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
        apply_freeze(tiny, unfreeze)
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
        apply_freeze(classifier, "last:4")


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
    """Finetune after feature_extract, and back, is what it is alone."""

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
    expected = apply_freeze(once, path[-1])
    for unfreeze in path:
        plan = apply_freeze(often, unfreeze)
    assert plan == expected
    check_total(often, plan)
    assert [layer.trainable for layer in often.backbone.layers] == [
        layer.trainable for layer in once.backbone.layers
    ]
