"""Layers with gradients that are faster on a CPU than TensorFlow's own.

The gradients are the same sums in another order, so only rounding differs.
Forward passes are unchanged. Measured with TensorFlow 2.21 (oneDNN on x86):

- The gradient of swish, GELU and hard swish is a chain of five to ten
  operations, each of which reads and writes whole tensors. XLA compiles the
  chain to one loop, which takes a third of the time.
- The gradient of a depthwise kernel wider than three columns takes eight times
  as long as that of a kernel with three columns. So it is computed three
  columns at a time.
- TensorFlow's gradient of a bias takes longer than a mean over all positions,
  most of all if it is fused with the kernel's gradient. So it is computed as a
  mean, times the number of positions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

# Depthwise kernels up to this width have a fast gradient.
_COLUMNS = 3
# XLA compiles each shape separately, which takes 50 ms. That does not pay for
# tensors with fewer values than this.
_LOOP_VALUES = 2**20
_CHAINS = {
    keras.activations.silu,
    keras.activations.gelu,
    keras.activations.hard_silu,
}
Gradients = tuple[tf.Tensor, ...]


def quick_class(layer: keras.layers.Layer) -> type[keras.layers.Layer]:
    """Returns the class with quick gradients for a layer, or its own class."""
    if layer.compute_dtype != "float32":
        return type(layer)
    # Exact types only: a subclass may compute something else.
    if type(layer) is keras.layers.Activation and layer.activation in _CHAINS:
        return QuickActivation
    if type(layer) is keras.layers.Conv2D and _is_plain(layer):
        return QuickConv2D if layer.groups == 1 else type(layer)
    if type(layer) is keras.layers.DepthwiseConv2D and _is_plain(layer):
        wide = layer.kernel_size[1] > _COLUMNS
        return QuickDepthwiseConv2D if wide else type(layer)
    return type(layer)


def _is_plain(layer: keras.layers.Layer) -> bool:
    """Returns whether this module supports a convolution's options."""
    return (
        layer.data_format == "channels_last"
        and set(layer.dilation_rate) == {1}
        and len(set(layer.strides)) == 1
        and layer.activation is keras.activations.linear
    )


class QuickActivation(keras.layers.Activation):
    """An activation whose gradient is compiled to one loop."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Applies the activation to each value of a tensor of any shape."""
        return activate(inputs, self.activation)


class QuickConv2D(keras.layers.Conv2D):
    """A convolution whose bias gradient is computed as a mean."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Computes what `keras.layers.Conv2D` computes."""
        if not self.use_bias:
            return super().call(inputs)
        return _as_configured(self, inputs, convolve)


class QuickDepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """A depthwise convolution that computes its kernel gradient by columns."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Computes what `keras.layers.DepthwiseConv2D` computes."""
        if not self.use_bias:
            return super().call(inputs)
        return _as_configured(self, inputs, convolve_depthwise)


def _as_configured(
    layer: keras.layers.Layer,
    x: tf.Tensor,
    convolution: Callable[..., tf.Tensor],
) -> tf.Tensor:
    """Convolves with a layer's kernel, bias, stride and padding."""
    return convolution(
        x,
        tf.convert_to_tensor(layer.kernel),
        tf.convert_to_tensor(layer.bias),
        stride=layer.strides[0],
        padding=layer.padding.upper(),
    )


def activate(
    x: tf.Tensor, activation: Callable[[tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """Applies an activation; XLA compiles its gradient for large tensors.

    Args:
      x: float32 of any shape. Without a static shape nothing is compiled.
      activation: an elementwise function.

    Returns:
      float32, of the shape of x.
    """
    if not x.shape.is_fully_defined() or math.prod(x.shape) < _LOOP_VALUES:
        return activation(x)

    @tf.custom_gradient
    def activated(x: tf.Tensor) -> tuple[tf.Tensor, Any]:
        return activation(x), functools.partial(_loop(activation), x)

    return activated(x)


@functools.cache
def _loop(
    activation: Callable[[tf.Tensor], tf.Tensor],
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns a compiled function (x, upstream gradient) -> gradient.

    The function is cached for the life of the process, so stages share the
    compiled code.
    """

    def gradient(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = activation(x)
        return tape.gradient(y, x, upstream)

    return tf.function(gradient, jit_compile=True, autograph=False)


def convolve(
    x: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor,
    *,
    stride: int,
    padding: str,
) -> tf.Tensor:
    """Convolves and adds a bias, with the gradients of this module.

    Args:
      x: float32 (batch, h, w, channels); h and w are known statically.
      kernel: float32 (rows, columns, channels, output channels).
      bias: float32 (output channels,).
      stride: in both directions.
      padding: SAME or VALID.

    Returns:
      float32 (batch, h', w', output channels).
    """
    options = {"strides": (1, stride, stride, 1), "padding": padding}

    def kernel_gradient(
        x: tf.Tensor, shape: tf.TensorShape, upstream: tf.Tensor
    ) -> tf.Tensor:
        return tf.raw_ops.Conv2DBackpropFilter(
            input=x, filter_sizes=shape, out_backprop=upstream, **options
        )

    return _convolved(
        (x, kernel, bias),
        functools.partial(tf.nn.conv2d, **options),
        functools.partial(tf.raw_ops.Conv2DBackpropInput, **options),
        kernel_gradient,
    )


def convolve_depthwise(
    x: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor,
    *,
    stride: int,
    padding: str,
) -> tf.Tensor:
    """Convolves depthwise and adds a bias, with the gradients of this module.

    Args:
      x: float32 (batch, h, w, channels); h and w are known statically.
      kernel: float32 (rows, columns, channels, multiplier).
      bias: float32 (channels * multiplier,).
      stride: in both directions.
      padding: SAME or VALID.

    Returns:
      float32 (batch, h', w', channels * multiplier).
    """
    options = {"strides": (1, stride, stride, 1), "padding": padding}
    return _convolved(
        (x, kernel, bias),
        functools.partial(tf.nn.depthwise_conv2d, **options),
        functools.partial(
            tf.raw_ops.DepthwiseConv2dNativeBackpropInput, **options
        ),
        functools.partial(_depthwise_gradient, stride=stride, padding=padding),
    )


def _convolved(
    given: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    convolution: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    input_gradient: Callable[..., tf.Tensor],
    kernel_gradient: Callable[
        [tf.Tensor, tf.TensorShape, tf.Tensor], tf.Tensor
    ],
) -> tf.Tensor:
    """Convolves and adds a bias, with given gradients.

    Args:
      given: float32: input (batch, h, w, channels), kernel of rank 4, and bias
        (output channels,).
      convolution: maps (input, kernel) to the output without bias.
      input_gradient: TensorFlow's operation for the input's gradient.
      kernel_gradient: maps (input, kernel shape, upstream gradient) to the
        kernel's gradient.

    Returns:
      float32 (batch, h', w', output channels).
    """

    @tf.custom_gradient
    def convolved(
        x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor
    ) -> tuple[tf.Tensor, Any]:
        y = tf.nn.bias_add(convolution(x, kernel), bias)

        def gradients(upstream: tf.Tensor) -> Gradients:
            # If the batch size is unknown, the gradient may lack height and
            # width.
            upstream = tf.ensure_shape(upstream, y.shape)
            return (
                input_gradient(
                    input_sizes=tf.shape(x),
                    filter=kernel,
                    out_backprop=upstream,
                ),
                kernel_gradient(x, kernel.shape, upstream),
                _bias_gradient(upstream),
            )

        return y, gradients

    return convolved(*given)


def _bias_gradient(upstream: tf.Tensor) -> tf.Tensor:
    """Sums float32 (batch, h, w, channels) over all axes but the last."""
    height, width = upstream.shape[1:3]
    means = tf.nn.avg_pool2d(upstream, (height, width), 1, "VALID")
    return tf.reduce_sum(means, (0, 1, 2)) * (height * width)


def _depthwise_gradient(
    x: tf.Tensor,
    kernel_shape: tf.TensorShape,
    upstream: tf.Tensor,
    *,
    stride: int,
    padding: str,
) -> tf.Tensor:
    """Computes the kernel's gradient, a few columns at a time.

    Kernel columns j to j + n read the input from column j on. So their gradient
    equals that of a kernel n columns wide on the input without its first j
    columns.
    """
    rows, columns, channels, multiplier = kernel_shape
    top, bottom = _paddings(
        x.shape[1], upstream.shape[1], rows, stride, padding
    )
    width, places = x.shape[2], upstream.shape[2]
    left, _ = _paddings(width, places, columns, stride, padding)
    parts = []
    for first in range(0, columns, _COLUMNS):
        wide = min(_COLUMNS, columns - first)
        # Columns of the input; outside 0..width they are padding.
        begin = first - left
        end = begin + (places - 1) * stride + wide
        inside = x[:, :, min(max(begin, 0), width) : min(max(end, 0), width)]
        before = max(min(-begin, end - begin), 0)
        after = end - begin - before - inside.shape[2]
        seen = tf.pad(inside, ((0, 0), (top, bottom), (before, after), (0, 0)))
        parts.append(
            tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=seen,
                filter_sizes=(rows, wide, channels, multiplier),
                out_backprop=upstream,
                strides=(1, stride, stride, 1),
                padding="VALID",
            )
        )
    return tf.concat(parts, axis=1)


def _paddings(
    size: int, places: int, kernel: int, stride: int, padding: str
) -> tuple[int, int]:
    """Returns the padding before and after one axis, as TensorFlow pads.

    Args:
      size: length of the input along the axis.
      places: length of the output.
      kernel: length of the kernel.
      stride: step between outputs.
      padding: SAME or VALID.
    """
    if padding == "VALID":
        return 0, 0
    total = max((places - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
