"""A classifier in two parts, cut where a stage's freeze plan allows.

The trunk is the part that no trainable variable can influence. It is the same
function throughout a stage, so its outputs, the features, need no gradient and
can be cached. The tail is the rest, head included. The tail applied to the
trunk's features gives the classifier's logits.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.model.classifier import HEAD, Classifier, dropped_logits
from trainer.model.freeze import FreezePlan
from trainer.model.pixels import preprocess
from trainer.model.trunk.copies import LayerCopies, copy_head, copy_layers
from trainer.model.trunk.cut import POOL, Cut, find_cut
from trainer.model.trunk.folding import Read, foldable


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Partition:
    """The two parts of a classifier.

    Both are pure functions that take the values of the classifier's variables
    as arguments.

    Attributes:
      classifier: the classifier whose variables the parts compute with.
      cut: names of the layers whose outputs are the features, in order. It is
        empty if there is no trunk, because no frozen layer has a kernel.
      feature_shapes: the shape of each feature of one sample.
      largest_activation: number of values of one sample in the trunk's
        largest layer.
      description: JSON of the trunk's layers in order and of those that are
        folded, without weights.
    """

    classifier: Classifier
    cut: tuple[str, ...]
    feature_shapes: tuple[tuple[int, ...], ...]
    largest_activation: int
    description: str
    _tail: keras.Model
    _copies: LayerCopies
    _folds: Mapping[str, str]
    _frozen: Sequence[keras.layers.Layer]

    @property
    def folded(self) -> tuple[str, ...]:
        """Names of the BatchNorm layers folded into convolutions."""
        return tuple(self._folds)

    @functools.cached_property
    def _trunk(self) -> tuple[keras.Model, LayerCopies]:
        """The trunk and its copies; built at first use.

        A head on cached features needs no trunk, and copying all layers takes
        longer than training that head.
        """
        copies = self._copies
        if self.cut == (POOL,):
            copies = copy_layers(self.classifier, self._folds, frozenset())
        features = [
            copies.tensors.get(name, copies.source) for name in self.cut
        ]
        return keras.Model(copies.source, features, name="trunk"), copies

    def build_trunk(self) -> None:
        """Builds the trunk's copies, unless they are built."""
        _ = self._trunk

    def tail_variables(self) -> dict[str, keras.Variable]:
        """Returns the classifier's variables that the tail reads, by key."""
        used = {id(v) for v in self._copies.originals(self._tail)}
        return {
            key: variable
            for key, variable in self.classifier.variables.items()
            if id(variable) in used
        }

    def trunk_weights(self) -> Iterator[np.ndarray]:
        """Yields the current weights of the trunk's layers, not folded.

        Together with `description` they determine the features, and reading
        them builds no copies.
        """
        read = _reader({})
        for layer in self._frozen:
            for variable in layer.variables:
                with tf.device("CPU:0"):
                    value = read(variable).numpy()
                yield value

    def trunk_constants(self) -> list[np.ndarray]:
        """Returns the trunk's current weights, with BatchNorm folded.

        These are the `constants` that `trunk` takes. Call this after the
        classifier's weights are loaded.
        """
        trunk, copies = self._trunk
        with tf.device("CPU:0"):
            values = copies.values(trunk, _reader({}))
            return [value.numpy() for _, value in values]

    def trunk(
        self, constants: Sequence[np.ndarray | tf.Tensor], images: tf.Tensor
    ) -> list[tf.Tensor]:
        """Computes the features of images.

        Args:
          constants: what `trunk_constants` returned.
          images: float32 (batch, px, px, 3) in 0..255.

        Returns:
          One tensor (batch, *feature shape) for each name in `cut`.
        """
        trunk, copies = self._trunk
        variables = copies.variables(trunk)
        mapping = list(zip(variables, constants, strict=True))
        inputs = preprocess(images, self.classifier.pixels)
        with keras.StatelessScope(state_mapping=mapping):
            found = trunk(inputs, training=False)
        return list(found) if isinstance(found, (list, tuple)) else [found]

    def logits(
        self,
        variables: Sequence[keras.Variable],
        values: Sequence[tf.Tensor],
        inputs: Sequence[tf.Tensor],
    ) -> tf.Tensor:
        """Returns the first value that `logits_and_updates` returns."""
        return self.logits_and_updates(variables, values, inputs)[0]

    def logits_and_updates(
        self,
        variables: Sequence[keras.Variable],
        values: Sequence[tf.Tensor],
        inputs: Sequence[tf.Tensor],
        dropout: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Computes the tail as a pure function of the variables' values.

        Args:
          variables: variables of the classifier, in any order; at least those
            of `tail_variables`.
          values: a value for each variable.
          inputs: the features. Without a trunk: the images alone, float32
            (batch, px, px, 3) in 0..255.
          dropout: see `dropped_logits`; None drops nothing.

        Returns:
          The logits, float32 (batch, classes), and the new value of each
          variable that the forward pass updates, by key. The dict is empty
          unless a layer ignores inference mode.
        """
        given = {id(v): t for v, t in zip(variables, values, strict=True)}
        mapping = self._copies.values(self._tail, _reader(given))
        if not self.cut:
            inputs = [preprocess(inputs[0], self.classifier.pixels)]
        keys = {id(v): key for key, v in self.classifier.variables.items()}
        copies = {
            keys[id(original)]: copy
            for original, copy in self._copies.unfolded(self._tail)
        }
        part = self._tail if dropout is None else self._without_head
        with keras.StatelessScope(state_mapping=mapping) as scope:
            before = {k: scope.get_current_value(v) for k, v in copies.items()}
            found = part(list(inputs), training=False) if part else inputs[0]
            if dropout is not None:
                head = self._tail.get_layer(HEAD).weights
                kernel, bias = map(scope.get_current_value, head)
                found = dropped_logits(found, dropout, kernel, bias)
        after = {k: scope.get_current_value(v) for k, v in copies.items()}
        return found, {k: v for k, v in after.items() if v is not before[k]}

    @functools.cached_property
    def _without_head(self) -> keras.Model | None:
        """The tail without the head; None if nothing remains."""
        if self.cut == (POOL,):
            return None
        # Uses the copied layers' tensors, because the tail has its own inputs,
        # which are not connected to them.
        source, tensors = self._copies.source, self._copies.tensors
        features = [tensors.get(name, source) for name in self.cut]
        return keras.Model(features or [source], tensors[POOL])


def _reader(given: Mapping[int, tf.Tensor]) -> Read:
    """Returns a function that reads given values, or else current values.

    Args:
      given: values by the `id` of their variable.
    """

    def read(variable: keras.Variable) -> tf.Tensor:
        value = given.get(id(variable))
        return tf.convert_to_tensor(variable.value) if value is None else value

    return read


def partition_classifier(
    classifier: Classifier,
    plan: FreezePlan,
    *,
    fold_batch_norm: bool,
    cut_trunk: bool = True,
    quick_gradients: bool = False,
) -> Partition | None:
    """Partitions the classifier at the last place that a plan allows.

    Args:
      classifier: the classifier to partition.
      plan: what the stage trains.
      fold_batch_norm: whether to fold BatchNorm into convolutions.
      cut_trunk: False makes the whole classifier the tail.
      quick_gradients: see `partition_at`.

    Returns:
      The partition, or None if the backbone's graph cannot be read; see
      `find_cut`.
    """
    cut = find_cut(classifier, [plan], cut_trunk=cut_trunk)
    if cut is None:
        return None
    return partition_at(
        classifier,
        cut,
        fold_batch_norm=fold_batch_norm,
        quick_gradients=quick_gradients,
    )


def partition_at(
    classifier: Classifier,
    cut: Cut,
    *,
    fold_batch_norm: bool,
    quick_gradients: bool = False,
) -> Partition:
    """Partitions the classifier at a given cut.

    Args:
      classifier: the classifier that `cut` was made for.
      cut: from `find_cut`.
      fold_batch_norm: whether to fold BatchNorm into convolutions.
      quick_gradients: whether the tail's layers get the gradients of
        `cpu_gradients`. Set it only for steps on a CPU that XLA does not
        compile.
    """
    folds = foldable(cut.graph, cut.layers, cut.tail) if fold_batch_norm else {}
    if cut.names == (POOL,):
        copies = copy_head(classifier)
    else:
        quick = cut.tail if quick_gradients else frozenset[str]()
        copies = copy_layers(classifier, folds, quick)
    features = [copies.tensors.get(name, copies.source) for name in cut.names]
    shapes = _output_shapes(classifier)
    return Partition(
        classifier=classifier,
        cut=cut.names,
        feature_shapes=tuple(shapes[name] for name in cut.names),
        largest_activation=max(
            (math.prod(shapes[name]) for name in cut.frozen), default=0
        ),
        description=_describe(cut, classifier, folds),
        _tail=keras.Model(
            features or [copies.source], copies.tensors[HEAD], name="tail"
        ),
        _copies=copies,
        _folds=folds,
        _frozen=[cut.layers[name] for name in cut.frozen if name in cut.layers],
    )


def _output_shapes(classifier: Classifier) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each layer's output for one sample, by name."""
    outputs = {op.name: op.output for op in classifier.backbone.operations}
    outputs[POOL] = classifier.head.input
    return {name: tuple(output.shape[1:]) for name, output in outputs.items()}


def _describe(
    cut: Cut, classifier: Classifier, folds: Mapping[str, str]
) -> str:
    """Returns a `Partition.description`, which is part of cache keys."""
    parents = cut.graph.parents
    # Leave out inputs: Keras numbers their names anew in each process.
    rows = [
        (
            name,
            [parent for parent in parents[name] if parents[parent]],
            type(cut.layers[name]).__name__ if name in cut.layers else "",
            _config(cut.layers[name]) if name in cut.layers else {},
        )
        for name in cut.frozen
        if parents[name]
    ]
    head = [classifier.pixels, classifier.image_px]
    folded = [name for name in folds if name not in cut.tail]
    return json.dumps([head, rows, folded], sort_keys=True, default=str)


def _config(layer: keras.layers.Layer) -> dict[str, Any]:
    """Returns a layer's configuration without `trainable`.

    It does not change the output of a frozen layer.
    """
    config = layer.get_config()
    return {key: value for key, value in config.items() if key != "trainable"}
