"""Quick gradients match TensorFlow's own gradients in double precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.model import cpu_gradients
from trainer.model.cpu_gradients import (
    QuickActivation,
    QuickConv2D,
    QuickDepthwiseConv2D,
    activate,
    convolve,
    convolve_depthwise,
    quick_class,
)

BATCH = 3


def gradients_of(
    function: Callable[..., tf.Tensor],
    values: list[np.ndarray],
    dtype: str,
    *,
    any_batch: bool = False,
) -> list[np.ndarray]:
    """Returns a function's value and gradients, computed in `dtype`."""
    specs = [tf.TensorSpec(value.shape, dtype) for value in values]
    if any_batch:
        specs[0] = tf.TensorSpec((None, *values[0].shape[1:]), dtype)

    @tf.function(input_signature=specs)
    def found(*tensors: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            result = function(*tensors)
        rng = np.random.default_rng(1)
        weights = rng.standard_normal((len(values[0]), *result.shape[1:]))
        upstream = tf.constant(weights, dtype)
        if any_batch:
            # Nor has what comes back a shape.
            upstream = tf.reshape(upstream, tf.shape(result))
        return [result, *tape.gradient(result, tensors, upstream)]

    tensors = [tf.constant(value, dtype) for value in values]
    return [tensor.numpy() for tensor in found(*tensors)]


def assert_close(quick: list[np.ndarray], exact: list[np.ndarray]) -> None:
    for one, other in zip(quick, exact, strict=True):
        assert one.shape == other.shape
        norm = np.linalg.norm(other)
        assert norm > 0
        assert np.linalg.norm(one - other) <= 2e-6 * norm


@pytest.mark.parametrize(
    ("padding", "any_batch"), [("SAME", True), ("VALID", False)]
)
@pytest.mark.parametrize(
    ("height", "width", "rows", "columns", "stride", "multiplier"),
    [
        (7, 7, 5, 5, 1, 1),
        (9, 8, 5, 5, 2, 1),
        (8, 9, 5, 4, 1, 2),
        (11, 12, 7, 7, 1, 1),
        (12, 12, 3, 9, 3, 1),
        (6, 6, 3, 3, 1, 1),
        (6, 7, 1, 6, 2, 1),
    ],
)
def test_depthwise(
    height: int,
    width: int,
    rows: int,
    columns: int,
    stride: int,
    multiplier: int,
    padding: str,
    any_batch: bool,
) -> None:
    rng = np.random.default_rng(0)
    values = [
        rng.standard_normal((BATCH, height, width, 4)),
        rng.standard_normal((rows, columns, 4, multiplier)),
        rng.standard_normal(4 * multiplier),
    ]

    def quick(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        return convolve_depthwise(
            x, kernel, bias, stride=stride, padding=padding
        )

    def plain(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        strides = (1, stride, stride, 1)
        return tf.nn.depthwise_conv2d(x, kernel, strides, padding) + bias

    found = gradients_of(quick, values, "float32", any_batch=any_batch)
    assert_close(found, gradients_of(plain, values, "float64"))
    same = gradients_of(plain, values, "float32")[0]
    np.testing.assert_array_equal(found[0], same)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_depthwise_on_input_smaller_than_its_kernel(side: int) -> None:
    """Compares with sums written out."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, side, side, 2))
    kernel = rng.standard_normal((7, 7, 2, 1))
    upstream = rng.standard_normal((BATCH, side, side, 2))
    padded = np.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0)))
    expected = np.array(
        [
            [
                np.sum(
                    padded[:, i : i + side, j : j + side] * upstream,
                    axis=(0, 1, 2),
                )
                for j in range(7)
            ]
            for i in range(7)
        ]
    )
    found = cpu_gradients._depthwise_gradient(
        tf.constant(x, tf.float32),
        tf.TensorShape(kernel.shape),
        tf.constant(upstream, tf.float32),
        stride=1,
        padding="SAME",
    )
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("height", "width", "kernel", "stride", "padding", "any_batch"),
    [
        (6, 5, (1, 1), 1, "SAME", True),
        (6, 5, (3, 3), 1, "SAME", False),
        (7, 6, (3, 3), 2, "SAME", True),
        (7, 6, (3, 2), 2, "VALID", False),
        (7, 6, (3, 2), 2, "VALID", True),
        (1, 1, (1, 1), 1, "SAME", True),
    ],
)
def test_convolution(
    height: int,
    width: int,
    kernel: tuple[int, int],
    stride: int,
    padding: str,
    any_batch: bool,
) -> None:
    rng = np.random.default_rng(0)
    values = [
        rng.standard_normal((BATCH, height, width, 4)),
        rng.standard_normal((*kernel, 4, 6)),
        rng.standard_normal(6),
    ]

    def plain(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(x, kernel, stride, padding) + bias

    found = gradients_of(
        lambda *given: convolve(*given, stride=stride, padding=padding),
        values,
        "float32",
        any_batch=any_batch,
    )
    assert_close(found, gradients_of(plain, values, "float64"))
    same = gradients_of(plain, values, "float32")[0]
    np.testing.assert_array_equal(found[0], same)


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The activations that are compiled."""
    made: list[Any] = []
    real = cpu_gradients._loop

    def noting(activation: Any) -> Any:
        made.append(activation)
        return real(activation)

    monkeypatch.setattr(cpu_gradients, "_loop", noting)
    return made


@pytest.mark.parametrize("name", ["silu", "gelu", "hard_silu"])
@pytest.mark.parametrize("large", [True, False])
def test_activation(loops: list[Any], name: str, large: bool) -> None:
    activation = keras.activations.get(name)
    shape = (4, 64, 64, 64) if large else (4, 64, 64, 63)
    # Where the slope bends, too.
    x = np.random.default_rng(0).uniform(-8, 8, shape)
    found = gradients_of(lambda x: activate(x, activation), [x], "float32")
    assert_close(found, gradients_of(activation, [x], "float64"))
    assert loops == ([activation] if large else [])


def test_nothing_is_compiled_for_an_unknown_batch(loops: list[Any]) -> None:
    @tf.function(input_signature=[tf.TensorSpec((None, 512, 512, 8))])
    def slope(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = activate(x, keras.activations.silu)
        return tape.gradient(y, x)

    found = slope(tf.zeros((1, 512, 512, 8)))
    np.testing.assert_array_equal(found, np.full((1, 512, 512, 8), 0.5))
    assert not loops


class OwnConv2D(keras.layers.Conv2D):
    """A user's subclass, which may compute something else."""


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (keras.layers.Activation("swish"), QuickActivation),
        (keras.layers.Activation("gelu"), QuickActivation),
        (keras.layers.Activation("hard_swish"), QuickActivation),
        (keras.layers.Activation("sigmoid"), None),
        (keras.layers.Activation("relu"), None),
        (keras.layers.ReLU(6.0), None),
        (keras.layers.Conv2D(4, 3), QuickConv2D),
        (keras.layers.Conv2D(4, 3, strides=2), QuickConv2D),
        (keras.layers.Conv2D(4, 3, strides=(1, 2)), None),
        (keras.layers.Conv2D(4, 3, groups=2), None),
        (keras.layers.Conv2D(4, 3, dilation_rate=2), None),
        (keras.layers.Conv2D(4, 3, activation="relu"), None),
        (keras.layers.Conv2D(4, 3, data_format="channels_first"), None),
        (keras.layers.Conv2D(4, 3, dtype="bfloat16"), None),
        (keras.layers.Conv2D(4, 3, dtype="mixed_bfloat16"), None),
        (OwnConv2D(4, 3), None),
        (keras.layers.SeparableConv2D(4, 5), None),
        (keras.layers.DepthwiseConv2D(5), QuickDepthwiseConv2D),
        (keras.layers.DepthwiseConv2D((3, 4)), QuickDepthwiseConv2D),
        # Quick as it is, and fused with what follows.
        (keras.layers.DepthwiseConv2D((5, 3)), None),
        (keras.layers.Dense(4), None),
    ],
    ids=lambda value: str(getattr(value, "name", value)),
)
def test_layers_with_quick_gradients(
    layer: keras.layers.Layer, expected: type | None
) -> None:
    assert quick_class(layer) is (expected or type(layer))


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(
    ("plain", "quick"),
    [
        (keras.layers.Conv2D(4, 3, padding="same"), QuickConv2D),
        (keras.layers.Conv2D(4, 3, strides=2), QuickConv2D),
        (
            keras.layers.DepthwiseConv2D(5, padding="same"),
            QuickDepthwiseConv2D,
        ),
        (
            keras.layers.DepthwiseConv2D(5, strides=2, depth_multiplier=2),
            QuickDepthwiseConv2D,
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_quick_layers_match_keras_layers(
    plain: keras.layers.Layer, quick: type[keras.layers.Layer], use_bias: bool
) -> None:
    config = {**plain.get_config(), "use_bias": use_bias}
    config["bias_initializer"] = "random_normal"
    x = np.random.default_rng(0).standard_normal((BATCH, 9, 8, 3))
    found = []
    for kind in (quick, type(plain)):
        keras.utils.set_random_seed(0)
        layer = kind.from_config(config)
        layer.build((None, 9, 8, 3))
        symbolic = layer(keras.Input((9, 8, 3)))
        with tf.GradientTape() as tape:
            y = layer(tf.constant(x, tf.float32))
            loss = tf.reduce_sum(y * y)
        assert symbolic.shape[1:] == y.shape[1:]
        weights = [variable.value for variable in layer.weights]
        found.append([y, *tape.gradient(loss, weights)])
    assert len(found[0]) == 2 + use_bias
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-4)
