"""Copies of a classifier's layers, from which trunk and tail are built.

A copy has the configuration of its original, but placeholders for weights. The
caller passes the values of the original's variables to each forward pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from trainer.model.classifier import HEAD, Classifier
from trainer.model.cpu_gradients import quick_class
from trainer.model.trunk.cut import POOL
from trainer.model.trunk.folding import Read, fold
from trainer.model.weights.saved_weights import finalize_layers


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LayerCopies:
    """The copied layers of one classifier, and the tensors between them.

    Attributes:
      layers: (original, copy) of every layer of the backbone and of the head,
        by layer name.
      norm_of: the BatchNorm layer folded into a convolution, by the
        convolution's name.
      tensors: the symbolic output of every copy, of inputs, pooling and head,
        by layer name. A folded BatchNorm has the output of its convolution.
      source: the symbolic input, preprocessed images.
    """

    layers: Mapping[str, tuple[keras.layers.Layer, keras.layers.Layer]]
    norm_of: Mapping[str, str]
    tensors: Mapping[str, keras.KerasTensor]
    source: keras.KerasTensor

    def values(
        self, part: keras.Model, read: Read
    ) -> list[tuple[keras.Variable, tf.Tensor]]:
        """Returns each variable of a part's copies with its value.

        Args:
          part: a model of copies.
          read: returns the value of a variable of the classifier.
        """
        found: list[tuple[keras.Variable, tf.Tensor]] = []
        for original, copy in self._pairs(part):
            if original.name in self.norm_of:
                norm, _ = self.layers[self.norm_of[original.name]]
                kernel, bias = fold(original, norm, read)
                found += [(copy.kernel, kernel), (copy.bias, bias)]
            else:
                found += [
                    (mine, read(theirs))
                    for mine, theirs in zip(
                        copy.variables, original.variables, strict=True
                    )
                ]
        return found

    def unfolded(
        self, part: keras.Model
    ) -> Iterator[tuple[keras.Variable, keras.Variable]]:
        """Yields (original, copy) of each variable unchanged by folding."""
        for original, copy in self._pairs(part):
            if original.name not in self.norm_of:
                yield from zip(original.variables, copy.variables, strict=True)

    def originals(self, part: keras.Model) -> Iterator[keras.Variable]:
        """Yields the classifier's variables that a part reads."""
        for original, _ in self._pairs(part):
            yield from original.variables
            if original.name in self.norm_of:
                norm, _ = self.layers[self.norm_of[original.name]]
                yield from norm.variables

    def variables(self, part: keras.Model) -> list[keras.Variable]:
        """Returns the placeholders of a part, in the order of `values`."""
        return [v for _, copy in self._pairs(part) for v in copy.variables]

    def _pairs(
        self, part: keras.Model
    ) -> Iterator[tuple[keras.layers.Layer, keras.layers.Layer]]:
        """Yields (original, copy) of each layer in a part."""
        for layer in part.layers:
            if layer.name in self.layers:
                yield self.layers[layer.name]


def copy_layers(
    classifier: Classifier, folds: Mapping[str, str], quick: frozenset[str]
) -> LayerCopies:
    """Copies the layers of a classifier and connects the copies.

    Args:
      classifier: the originals.
      folds: each BatchNorm layer to fold, with its convolution.
      quick: names of the layers to give quick gradients, if such a class
        exists.
    """
    convolutions = set(folds.values())
    layers: dict[str, tuple[keras.layers.Layer, keras.layers.Layer]] = {}
    tensors: dict[str, keras.KerasTensor] = {}

    def copy_layer(operation: Any) -> Any:
        if not isinstance(operation, keras.layers.Layer):
            return operation
        name = operation.name
        layer_class = quick_class(operation) if name in quick else None
        copy = _blank(
            operation,
            layer_class or type(operation),
            biased=name in convolutions,
        )
        layers[name] = (operation, copy)
        return copy

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        folded = operation.name in folds
        result = args[0] if folded else operation(*args, **kwargs)
        tensors[operation.name] = result
        return result

    model = keras.models.clone_model(
        classifier.backbone, clone_function=copy_layer, call_function=call
    )
    pool = keras.layers.GlobalAveragePooling2D(name=POOL)
    tensors[POOL] = pool(model.outputs[0])
    tensors[HEAD] = copy_layer(classifier.head)(tensors[POOL])
    for original, copy in layers.values():
        if hasattr(copy, "finalize_state"):
            # Normalization computes with constants, which `values` lacks.
            copy.set_weights(original.get_weights())
    finalize_layers(model)
    return LayerCopies(
        layers=layers,
        norm_of={convolution: norm for norm, convolution in folds.items()},
        tensors=tensors,
        source=model.inputs[0],
    )


def copy_head(classifier: Classifier) -> LayerCopies:
    """Copies the head alone; its source are pooled features."""
    head = classifier.head
    pooled = keras.Input(head.input.shape[1:], dtype=head.input.dtype)
    copy = _blank(head, type(head), biased=False)
    return LayerCopies(
        layers={HEAD: (head, copy)},
        norm_of={},
        tensors={POOL: pooled, HEAD: copy(pooled)},
        source=pooled,
    )


def _blank(
    layer: keras.layers.Layer,
    layer_class: type[keras.layers.Layer],
    *,
    biased: bool,
) -> keras.layers.Layer:
    """Returns a copy of a layer, without the cost of random weights."""
    config = layer.get_config()
    for name in config:
        if name.endswith("_initializer") and config[name] is not None:
            config[name] = "zeros"
    if biased:
        config["use_bias"] = True
    return layer_class.from_config(config)
