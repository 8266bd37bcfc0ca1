"""The classifier: backbone without top, global average pooling, Dense head."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import keras
import tensorflow as tf

from trainer.model.mirrored import mean_logits, mean_sigmoid_logits, mirror
from trainer.model.pixels import preprocess

HEAD = "head"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Classifier:
    """A Keras model with its pixel contract and its variables by key.

    Attributes:
      model: preprocessed images -> logits, float32 (batch, classes).
      backbone: the part of `model` without pooling and head.
      head: the Dense layer.
      pixels: the backbone's pixel contract; see `pixels.preprocess`.
      image_px: side of the images.
      variables: every variable of the model by a unique key, which is the same
        in every process.
      can_train: keys of the variables that Keras trains if no layer is frozen.
        Moving statistics and seeds are not among them.
      multilabel: whether an image may have any number of classes, so that each
        has a probability of its own: the sigmoid of its logit.
    """

    model: keras.Model
    backbone: keras.Model
    head: keras.layers.Dense
    pixels: str
    image_px: int
    variables: dict[str, keras.Variable]
    can_train: frozenset[str]
    multilabel: bool = False

    def logits(
        self,
        variables: Sequence[keras.Variable],
        values: Sequence[tf.Tensor],
        images: tf.Tensor,
    ) -> tf.Tensor:
        """Computes the forward pass as a pure function of variables' values.

        Every layer runs in inference mode: BatchNorm normalizes with its
        moving statistics, dropout and stochastic depth are off.

        Args:
          variables: all variables of the model, in any order.
          values: a value for each variable.
          images: float32 (batch, image_px, image_px, 3) in 0..255.

        Returns:
          float32 (batch, classes).
        """
        return self.logits_and_updates(variables, values, images)[0]

    def probabilities(
        self, images: tf.Tensor, *, flip: bool = False
    ) -> tf.Tensor:
        """Computes probabilities with the variables' current values.

        Args:
          images: float32 (batch, image_px, image_px, 3) in 0..255.
          flip: whether to average the probabilities of each image with those
            of its mirror image.

        Returns:
          float32 (batch, classes).
        """
        variables = list(self.variables.values())
        values = [tf.convert_to_tensor(v.value) for v in variables]
        logits = self.logits(variables, values, images)
        if flip:
            mirrored = self.logits(variables, values, mirror(images))
            logits = self.mean_logits(logits, mirrored)
        return self.probabilities_of(logits)

    def probabilities_of(self, logits: tf.Tensor) -> tf.Tensor:
        """Returns the softmax of logits; with several labels, the sigmoid."""
        if self.multilabel:
            return tf.sigmoid(logits)
        return tf.nn.softmax(logits)

    def mean_logits(self, plain: tf.Tensor, mirrored: tf.Tensor) -> tf.Tensor:
        """Returns the logits of the mean of two probabilities."""
        if self.multilabel:
            return mean_sigmoid_logits(plain, mirrored)
        return mean_logits(plain, mirrored)

    def logits_and_updates(
        self,
        variables: Sequence[keras.Variable],
        values: Sequence[tf.Tensor],
        images: tf.Tensor,
        dropout: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Computes the logits and the variable updates of the forward pass.

        Args:
          variables: see `logits`.
          values: see `logits`.
          images: see `logits`.
          dropout: see `dropped_logits`; None drops nothing.

        Returns:
          The logits, and the new value of each variable that the forward pass
          updates (moving statistics, seeds), by key. The dict is empty unless a
          layer ignores inference mode.
        """
        inputs = preprocess(images, self.pixels)
        mapping = list(zip(variables, values, strict=True))
        model = self.model if dropout is None else self._without_head
        # In this scope Keras reads the given values instead of the variables. A
        # function that XLA compiles must not read mirrored variables.
        with keras.StatelessScope(state_mapping=mapping) as scope:
            before = self._values_in(scope)
            # This overrides the training=False recorded in the model.
            found = model(inputs, training=False)
            if dropout is not None:
                kernel, bias = map(scope.get_current_value, self.head.weights)
                found = dropped_logits(found, dropout, kernel, bias)
        after = self._values_in(scope)
        return found, {
            key: after[key] for key in after if after[key] is not before[key]
        }

    @functools.cached_property
    def _without_head(self) -> keras.Model:
        """The model from preprocessed images to the head's input."""
        return keras.Model(self.model.inputs, self.head.input)

    def _values_in(self, scope: keras.StatelessScope) -> dict[str, tf.Tensor]:
        return {
            key: scope.get_current_value(variable)
            for key, variable in self.variables.items()
        }


def make_classifier(
    backbone: keras.Model,
    *,
    pixels: str,
    num_classes: int,
    seed: int,
    multilabel: bool = False,
) -> Classifier:
    """Puts global average pooling and a new head on a backbone.

    Args:
      backbone: a model without top, from (px, px, 3) to (h, w, channels). All
        its layers are made trainable.
      pixels: its pixel contract.
      num_classes: at least 2.
      seed: determines the head's initial weights.
      multilabel: see `Classifier`.
    """
    image_px = backbone.input_shape[1]
    inputs = keras.Input((image_px, image_px, 3), name="pixels")
    head = keras.layers.Dense(
        num_classes,
        kernel_initializer=keras.initializers.GlorotUniform(
            seed=derived_seed(seed, HEAD)
        ),
        # Softmax and loss need float32 even if the backbone uses bfloat16.
        dtype="float32",
        name=HEAD,
    )
    features = keras.layers.GlobalAveragePooling2D(name="pool")(
        backbone(inputs, training=False)
    )
    model = keras.Model(inputs, head(features), name="classifier")
    # A stored architecture may contain frozen layers. Set False first: if
    # `trainable` is True already, Keras does not pass True on to the layers.
    backbone.trainable = False
    backbone.trainable = True
    variables = variable_keys(model)
    return Classifier(
        model=model,
        backbone=backbone,
        head=head,
        pixels=pixels,
        image_px=image_px,
        variables=variables,
        can_train=frozenset(k for k, v in variables.items() if v.trainable),
        multilabel=multilabel,
    )


def dropped_logits(
    inputs: tf.Tensor, dropout: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor
) -> tf.Tensor:
    """Computes the head's logits with dropout on its inputs.

    Args:
      inputs: (batch, channels), the head's inputs.
      dropout: float32 (batch, channels), the factors of the inputs.
      kernel: float32 (channels, classes), the head's kernel.
      bias: float32 (classes,), the head's bias.

    Returns:
      The logits, float32 (batch, classes).
    """
    return tf.matmul(tf.cast(inputs, tf.float32) * dropout, kernel) + bias


def variable_keys(
    owner: keras.Model | keras.Optimizer,
) -> dict[str, keras.Variable]:
    """Returns the owner's variables by path; numbers repeated paths."""
    keys: dict[str, keras.Variable] = {}
    for variable in owner.variables:
        key, number = variable.path, 1
        while key in keys:
            number += 1
            key = f"{variable.path}#{number}"
        keys[key] = variable
    return keys


def derived_seed(seed: int, purpose: str) -> int:
    """Derives an independent seed in [0, 2**31) for one purpose."""
    text = f"{seed}/{purpose}".encode()
    digest = hashlib.blake2b(text, digest_size=4).digest()
    return int.from_bytes(digest, "little") & 0x7FFFFFFF
