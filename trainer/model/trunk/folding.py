"""BatchNorm in inference mode, folded into the convolution before it.

With moving mean m and variance v, BatchNorm computes s * (x - m) + beta, where
s = gamma / sqrt(v + epsilon). This is affine, so a convolution followed by
BatchNorm equals one convolution with

    kernel' = kernel * s        (by output channel)
    bias'   = beta + (bias - m) * s

The formulas are differentiable, so gradients reach kernel, bias, gamma and
beta.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from trainer.model.trunk.graph import Graph

# Excludes SeparableConv2D, which consists of two convolutions with one bias
# after the second.
_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
Read = Callable[[keras.Variable], tf.Tensor]


def foldable(
    graph: Graph, layers: Mapping[str, keras.layers.Layer], tail: frozenset[str]
) -> dict[str, str]:
    """Finds the BatchNorm layers that can be folded into a convolution.

    Args:
      graph: the model's graph.
      layers: the model's layers by name.
      tail: names of the layers in the tail. Both layers of a fold are on the
        same side of the cut between trunk and tail.

    Returns:
      The name of the convolution by the name of the BatchNorm layer, which is
      the convolution's only consumer.
    """
    consumers = graph.consumers()
    found = {}
    for name, parents in graph.parents.items():
        if len(parents) != 1:
            continue
        (parent,) = parents
        if (
            _normalizes_channels(layers.get(name))
            and _is_linear_convolution(layers.get(parent))
            and consumers[parent] == (name,)
            and (name in tail) == (parent in tail)
        ):
            found[name] = parent
    return found


def _normalizes_channels(layer: keras.layers.Layer | None) -> bool:
    """Returns whether a layer is a BatchNorm over the last axis."""
    if not isinstance(layer, keras.layers.BatchNormalization):
        return False
    # The channel axis of (batch, h, w, channels).
    return layer.axis in (-1, 3)


def _is_linear_convolution(layer: keras.layers.Layer | None) -> bool:
    """Returns whether a layer is a convolution without an activation."""
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
    """Returns kernel and bias of the convolution that replaces both layers.

    Args:
      convolution: a Conv2D or DepthwiseConv2D.
      normalization: the BatchNorm that follows it.
      read: returns the value of a variable.

    Returns:
      A kernel of the same shape as the convolution's, and a bias (output
      channels,).
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
