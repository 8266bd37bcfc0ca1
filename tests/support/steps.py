"""The pure step, and a classifier with the function that trains it."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tests.support.classifiers import (
    batch_of,
    copy_of,
    labels_of,
    tiny_classifier,
    tiny_images,
)
from tests.support.replicas import feed, strategy_of
from trainer.data.augment import affine, draw_parameters
from trainer.learning.graph_loops import (
    make_train_function,
)
from trainer.learning.steps import (
    make_train_step,
)
from trainer.model.classifier import Classifier
from trainer.model.freeze import freeze_plan

CLASSES = 3
LOGITS = "logits_and_updates"


def matrices_of(count: int) -> np.ndarray:
    """Returns matrices as the pipeline draws them, float32 (count, 2, 2)."""
    return np.stack(
        [
            affine(draw_parameters(0, tf.constant(1, tf.int64), i)).numpy()
            for i in tf.range(count, dtype=tf.int64)
        ]
    )


def tiny_batch(
    count: int, size: int, *, padding: float = 0.0, seed: int = 0
) -> dict[str, np.ndarray]:
    """Returns a batch of `size` rows, of which the first `count` are real."""
    labels = labels_of(count, CLASSES, seed)
    return batch_of(tiny_images(count, seed), labels, size, padding)


def values_of(classifier: Classifier) -> dict[str, np.ndarray]:
    return {k: v.numpy().copy() for k, v in classifier.variables.items()}


def norm(arrays) -> float:
    """Returns the Euclidean norm over all entries."""
    squares = (np.sum(np.square(a, dtype=np.float64)) for a in arrays)
    return float(np.sqrt(sum(squares)))


def keras_gradients(classifier, images, labels) -> tuple[dict, float]:
    """Gradients by key and mean loss, by Keras's own model and loss."""
    model = classifier.model
    with tf.GradientTape() as tape:
        logits = model(images / 127.5 - 1, training=False)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)(
            tf.one_hot(labels, logits.shape[1]), logits
        )
    variables = [v.value for v in model.trainable_variables]
    gradients = tape.gradient(loss, variables)
    paths = [v.path for v in model.trainable_variables]
    arrays = [tf.convert_to_tensor(g).numpy() for g in gradients]
    return dict(zip(paths, arrays, strict=True)), float(loss)


def pure_step(classifier, plan, batch, *, examples=None, graph=True, **options):
    """The output of the pure step, by key of the trainable variables."""
    step = make_train_step(classifier, plan, kernel="projective", **options)
    if graph:
        step = tf.function(step)
    output = step(
        [classifier.variables[k].value for k in plan.trainable],
        [classifier.variables[k].value for k in plan.frozen],
        {name: tf.constant(value) for name, value in batch.items()},
        tf.constant(examples or batch["mask"].sum(), tf.float32),
    )
    gradients = [g.numpy() for g in output.gradients]
    sums = {name: float(value) for name, value in output.sums.items()}
    return dict(zip(plan.trainable, gradients, strict=True)), sums


class Trainer:
    """A classifier under a strategy, and the function that trains it."""

    def __init__(
        self,
        *,
        replicas: int = 1,
        unfreeze: str = "last:2",
        optimizer=None,
        clip: float | None = None,
        xla: bool = False,
        make=tiny_classifier,
        **options,
    ) -> None:
        self.strategy = strategy_of(replicas)
        self.classifier = copy_of(make(), self.strategy)
        with self.strategy.scope():
            self.plan = freeze_plan(self.classifier, unfreeze)
            # At rate 1 plain descent moves by the gradient itself.
            self.optimizer = (
                optimizer() if optimizer else keras.optimizers.SGD(1.0)
            )
            self.optimizer.build(
                [self.classifier.variables[k] for k in self.plan.trainable]
            )
        self.function = make_train_function(
            self.strategy,
            self.classifier,
            self.plan,
            self.optimizer,
            clip_global_norm=clip,
            xla=xla,
            **options,
        )

    def train(self, batches, steps: int | None = None):
        """Trains on the batches, `steps` per call; in one call if unset."""
        iterator = feed(self.strategy, batches)
        return [
            self.function(
                iterator, min(steps or len(batches), len(batches) - i)
            )
            for i in range(0, len(batches), steps or len(batches))
        ]

    def moves(self, batches) -> dict[str, np.ndarray]:
        """Returns the change of each trainable variable, by key."""
        before = values_of(self.classifier)
        self.train(batches)
        after = values_of(self.classifier)
        return {k: after[k] - before[k] for k in self.plan.trainable}


def adam():
    return keras.optimizers.Adam(1e-3)
