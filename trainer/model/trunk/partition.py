"""A classifier in two parts, cut where a stage's freeze plan allows.

The trunk is what no trainable variable can influence: the same function all
stage long, so its outputs, the features, need no gradient and can be kept.
The tail is the rest, head included. Tail after trunk computes what the
classifier computes.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.model.classifier import HEAD, Classifier
from trainer.model.cpu_gradients import quick_class
from trainer.model.freeze import FreezePlan
from trainer.model.pixels import preprocess
from trainer.model.trunk.cut import POOL, Cut, find_cut
from trainer.model.trunk.folding import fold, foldable
from trainer.model.weights.saved_weights import finalize_layers


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Partition:
    """The two parts, on layers of their own that hold no weights of note.

    Attributes:
      classifier: whose variables the parts compute with.
      cut: names of the layers whose outputs are the features, in order; empty
        where nothing worth a name is frozen, and then there is no trunk.
      folded: names of the BatchNorm layers folded into convolutions.
      feature_shapes: of one sample, for each cut tensor.
      largest_activation: values of one sample in the trunk's largest layer.
      description: of the trunk's layers and their order, without weights.
    """

    classifier: Classifier
    cut: tuple[str, ...]
    folded: tuple[str, ...]
    feature_shapes: tuple[tuple[int, ...], ...]
    largest_activation: int
    description: str
    _trunk: keras.Model | None
    _tail: keras.Model
    _layers: Mapping[str, tuple[keras.layers.Layer, keras.layers.Layer]]
    _fold: Mapping[str, str]

    @property
    def _norms(self) -> dict[str, str]:
        """Of each convolution that takes a fold, the BatchNorm it takes."""
        return {conv: norm for norm, conv in self._fold.items()}

    def tail_variables(self) -> dict[str, keras.Variable]:
        """The classifier's variables that the tail computes with, by key."""
        layers = [
            name
            for name in (layer.name for layer in self._tail.layers)
            if name in self._layers
        ]
        layers += [self._norms[n] for n in layers if n in self._norms]
        used = {
            id(variable)
            for name in layers
            for variable in self._layers[name][0].variables
        }
        return {
            key: variable
            for key, variable in self.classifier.variables.items()
            if id(variable) in used
        }

    def trunk_constants(self) -> list[np.ndarray]:
        """The trunk's weights as they stand, BatchNorm folded.

        They are what `trunk` takes; read them once the weights are loaded.
        """
        read = _reader({})
        with tf.device("CPU:0"):
            return [
                value.numpy() for _, value in self._mapping(self._trunk, read)
            ]

    def trunk(
        self, constants: Sequence[np.ndarray | tf.Tensor], images: tf.Tensor
    ) -> list[tf.Tensor]:
        """The features of images.

        Args:
          constants: of `trunk_constants`.
          images: float32 (batch, px, px, 3) in 0..255.

        Returns:
          For each cut tensor (batch, *its shape).
        """
        assert self._trunk is not None
        variables = [
            variable
            for layer in self._trunk.layers
            if layer.name in self._layers
            for variable in layer.variables
        ]
        mapping = list(zip(variables, constants, strict=True))
        inputs = preprocess(images, self.classifier.pixels)
        with keras.StatelessScope(state_mapping=mapping):
            found = self._trunk(inputs, training=False)
        return list(found) if isinstance(found, (list, tuple)) else [found]

    def logits(
        self,
        variables: Sequence[keras.Variable],
        values: Sequence[tf.Tensor],
        inputs: Sequence[tf.Tensor],
    ) -> tf.Tensor:
        """The first of what `logits_and_updates` returns."""
        return self.logits_and_updates(variables, values, inputs)[0]

    def logits_and_updates(
        self,
        variables: Sequence[keras.Variable],
        values: Sequence[tf.Tensor],
        inputs: Sequence[tf.Tensor],
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The tail as a pure function of the variables' values.

        Args:
          variables: of the classifier, in any order; those of the tail are
            enough.
          values: a value for each.
          inputs: the features; or, where there is no trunk, the images
            alone, float32 (batch, px, px, 3) in 0..255.

        Returns:
          float32 (batch, classes), and the new value of each variable that the
          pass itself changes, by key: none, unless a layer does not heed
          inference mode.
        """
        given = {id(v): t for v, t in zip(variables, values, strict=True)}
        mapping = self._mapping(self._tail, _reader(given))
        if not self.cut:
            inputs = [preprocess(inputs[0], self.classifier.pixels)]
        copies = dict(self._keys(self._tail))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            before = {k: scope.get_current_value(v) for k, v in copies.items()}
            logits = self._tail(list(inputs), training=False)
        after = {k: scope.get_current_value(v) for k, v in copies.items()}
        return logits, {k: v for k, v in after.items() if v is not before[k]}

    def _keys(self, part: keras.Model) -> Iterator[tuple[str, keras.Variable]]:
        """The copies of variables, by the key of what they are copies of."""
        keys = {id(v): key for key, v in self.classifier.variables.items()}
        for layer in part.layers:
            original, copy = self._layers.get(layer.name, (None, None))
            if original is None or layer.name in self._norms:
                continue
            for theirs, mine in zip(
                original.variables, copy.variables, strict=True
            ):
                yield keys[id(theirs)], mine

    def _mapping(
        self, part: keras.Model | None, read: Any
    ) -> list[tuple[keras.Variable, tf.Tensor]]:
        """Each variable of a part with its value."""
        assert part is not None
        mapping: list[tuple[keras.Variable, tf.Tensor]] = []
        for layer in part.layers:
            if layer.name not in self._layers:
                continue
            original, copy = self._layers[layer.name]
            if layer.name in self._norms:
                norm = self._layers[self._norms[layer.name]][0]
                kernel, bias = fold(original, norm, read)
                mapping += [(copy.kernel, kernel), (copy.bias, bias)]
            else:
                mapping += [
                    (mine, read(theirs))
                    for mine, theirs in zip(
                        copy.variables, original.variables, strict=True
                    )
                ]
        return mapping


def _reader(given: Mapping[int, tf.Tensor]) -> Any:
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
    """Cuts the classifier where the plan allows.

    Args:
      classifier: the classifier to cut.
      plan: what the stage trains.
      fold_batch_norm: whether to fold BatchNorm into convolutions.
      cut_trunk: False makes all of it the tail.
      quick_gradients: see `split_at`.

    Returns:
      None where the backbone's graph cannot be read; see `find_cut`.
    """
    cut = find_cut(classifier, [plan], cut_trunk=cut_trunk)
    if cut is None:
        return None
    return split_at(
        classifier,
        cut,
        fold_batch_norm=fold_batch_norm,
        quick_gradients=quick_gradients,
    )


def split_at(
    classifier: Classifier,
    cut: Cut,
    *,
    fold_batch_norm: bool,
    quick_gradients: bool = False,
) -> Partition:
    """Cuts the classifier at a given place.

    Args:
      classifier: of the cut.
      cut: of `find_cut`.
      fold_batch_norm: whether to fold BatchNorm into convolutions.
      quick_gradients: whether the tail's layers have those of `gradients`,
        which are for a CPU and for steps that XLA does not compile.
    """
    parents, frozen = cut.graph.parents, cut.frozen
    folds = foldable(cut.graph, cut.layers, cut.tail) if fold_batch_norm else {}
    quick = cut.tail if quick_gradients else frozenset[str]()
    copies, tensors, source = _copy(classifier, folds, quick)
    tensors |= {name: source for name in parents if not parents[name]}
    features = [tensors[name] for name in cut.names]
    trunk = keras.Model(source, features, name="trunk") if features else None
    # Read before the tail is made, which calls some of the layers again.
    sizes = [
        math.prod(tensors[name].shape[1:]) for name in frozen if name in tensors
    ]
    return Partition(
        classifier=classifier,
        cut=cut.names,
        folded=tuple(folds),
        feature_shapes=tuple(tuple(t.shape[1:]) for t in features),
        largest_activation=max(sizes, default=0),
        description=_describe(frozen, parents, cut.layers, classifier),
        _trunk=trunk,
        _tail=keras.Model(features or [source], tensors[HEAD], name="tail"),
        _layers=copies,
        _fold=folds,
    )


def _describe(
    frozen: Sequence[str],
    parents: Mapping[str, tuple[str, ...]],
    layers: Mapping[str, keras.layers.Layer],
    classifier: Classifier,
) -> str:
    # Without inputs, whose names a process numbers as it goes.
    named = [name for name in frozen if parents[name]]
    rows = [
        (
            name,
            [parent for parent in parents[name] if parents[parent]],
            type(layers[name]).__name__ if name in layers else "",
            _config(layers[name]) if name in layers else {},
        )
        for name in named
    ]
    head = [classifier.pixels, classifier.image_px]
    return json.dumps([head, rows], sort_keys=True, default=str)


def _config(layer: keras.layers.Layer) -> dict[str, Any]:
    # What is trained beside it changes no output.
    config = layer.get_config()
    return {key: value for key, value in config.items() if key != "trainable"}


def _copy(
    classifier: Classifier, folds: Mapping[str, str], quick: frozenset[str]
) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Copies of the layers, the tensors between them, and the input tensor.

    Those named in `quick` get quick gradients, where they can have them.
    """
    convolutions = set(folds.values())
    copies: dict[str, Any] = {}
    tensors: dict[str, Any] = {}

    def copy_layer(operation: Any) -> Any:
        if not isinstance(operation, keras.layers.Layer):
            return operation
        kind = quick_class if operation.name in quick else type
        copies[operation.name] = (
            operation,
            _blank(
                operation,
                kind(operation),
                biased=operation.name in convolutions,
            ),
        )
        return copies[operation.name][1]

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        folded = operation.name in folds
        result = args[0] if folded else operation(*args, **kwargs)
        tensors[operation.name] = result
        return result

    model = keras.models.clone_model(
        classifier.backbone, clone_function=copy_layer, call_function=call
    )
    source = model.inputs[0]
    pool = keras.layers.GlobalAveragePooling2D(name=POOL)
    tensors[POOL] = pool(model.outputs[0])
    head = copy_layer(classifier.head)
    tensors[HEAD] = head(tensors[POOL])
    for original, copy in copies.values():
        if hasattr(copy, "finalize_state"):
            # What it normalises with is no variable.
            copy.set_weights(original.get_weights())
    finalize_layers(model)
    return copies, tensors, source


def _blank(
    layer: keras.layers.Layer, kind: type[keras.layers.Layer], *, biased: bool
) -> keras.layers.Layer:
    """The layer again, as of a kind, without the cost of random weights."""
    config = layer.get_config()
    for name in config:
        if name.endswith("_initializer") and config[name] is not None:
            config[name] = "zeros"
    if biased:
        config["use_bias"] = True
    return kind.from_config(config)
