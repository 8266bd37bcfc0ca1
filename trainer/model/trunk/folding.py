"""BatchNorm in inference mode, folded into the convolution before it.

With moving mean m and variance v, BatchNorm computes s * (x - m) + beta with
s = gamma / sqrt(v + epsilon), which is affine. So convolution and BatchNorm
together are one convolution with

    kernel' = kernel * s        (by output channel)
    bias'   = beta + (bias - m) * s

The formulas are tensor arithmetic, so that gradients reach kernel, bias,
gamma and beta through them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from trainer.model.trunk.graph import Graph

# A separable convolution is left alone: its first half is linear too, but its
# bias comes after the second.
_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
Read = Callable[[keras.Variable], tf.Tensor]


def foldable(
    graph: Graph, layers: Mapping[str, keras.layers.Layer], tail: frozenset[str]
) -> dict[str, str]:
    """Which convolution takes which BatchNorm.

    Args:
      graph: of the model.
      layers: of the model, by name.
      tail: names of the layers that a trainable variable can influence. The
        cut stands before them, and no fold reaches across it.

    Returns:
      Names of BatchNorm layers, each with the convolution that feeds it and
      nothing else.
    """
    consumers = graph.consumers()
    found = {}
    for name, parents in graph.parents.items():
        if len(parents) != 1:
            continue
        (parent,) = parents
        if (
            _normalises_channels(layers.get(name))
            and _is_linear_convolution(layers.get(parent))
            and consumers[parent] == (name,)
            and (name in tail) == (parent in tail)
        ):
            found[name] = parent
    return found


def _normalises_channels(layer: keras.layers.Layer | None) -> bool:
    if not isinstance(layer, keras.layers.BatchNormalization):
        return False
    # The channels of (batch, h, w, channels).
    return layer.axis in (-1, 3)


def _is_linear_convolution(layer: keras.layers.Layer | None) -> bool:
    return (
        isinstance(layer, _CONVOLUTIONS)
        and layer.activation is keras.activations.linear
        and layer.data_format == "channels_last"
    )


def fold(
    convolution: keras.layers.Layer,
    normalization: keras.layers.BatchNormalization,
    read: Read,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Kernel and bias of the two layers together.

    Args:
      convolution: a Conv2D or DepthwiseConv2D.
      normalization: what follows it.
      read: the value of a variable.

    Returns:
      Of the shape of the convolution's kernel, and (output channels,).
    """
    kernel = read(convolution.kernel)
    scale = tf.math.rsqrt(
        read(normalization.moving_variance) + normalization.epsilon
    )
    if normalization.scale:
        scale *= read(normalization.gamma)
    shift = -read(normalization.moving_mean)
    if convolution.use_bias:
        shift += read(convolution.bias)
    bias = shift * scale
    if normalization.center:
        bias += read(normalization.beta)
    if isinstance(convolution, keras.layers.DepthwiseConv2D):
        # Output channels are input channels times multiplier, in that order.
        return kernel * tf.reshape(scale, kernel.shape[2:]), bias
    return kernel * scale, bias
