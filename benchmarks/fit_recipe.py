"""The parts of `--recipe=best` that Keras provides."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from trainer.config.fields import BEST_RECIPE
from trainer.config.recipes import RECIPES

BEST = RECIPES[BEST_RECIPE]


def adamw(learning_rate: float, steps: int) -> keras.optimizers.Optimizer:
    """Returns the optimizer of `--recipe=best` for a stage of `steps`."""
    warmup = round(BEST["warmup"] * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=learning_rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(
        schedule,
        weight_decay=BEST["weight_decay"],
        use_ema=True,
        ema_momentum=BEST["ema"],
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def mirrored_accuracy(model: keras.Model, test: tf.data.Dataset) -> float:
    """Returns the accuracy of the mean over images and mirror images."""
    correct = []
    for images, labels in test:
        mean = model(images) + model(tf.image.flip_left_right(images))
        correct.append(np.argmax(mean, axis=1) == np.argmax(labels, axis=1))
    return float(np.mean(np.concatenate(correct)))
