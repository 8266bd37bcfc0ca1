"""Heads on the tiny backbone: their weights, and their scores by NumPy."""

from __future__ import annotations

import pathlib

import keras
import numpy as np
import tensorflow as tf

from tests.support.photos import CLASSES
from tests.support.runs import saved_arrays
from tests.support.tiny import tiny_backbone
from trainer.data.rendering import render
from trainer.model.pixels import preprocess

STAGE = "feature_extract"


def _checkpoint(workdir: pathlib.Path) -> str:
    (index,) = (workdir / "checkpoints" / STAGE / "last").glob("*.index")
    return str(index).removesuffix(".index")


def model_weights(workdir: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the arrays of the model in the checkpoint, by key."""
    found = {}
    for name, array in saved_arrays(_checkpoint(workdir)).items():
        if name.startswith("model/"):
            key = name.removeprefix("model/").partition("/.ATTR")[0]
            found[key.replace(".S", "/")] = array
    return found


def change_head(
    workdir: pathlib.Path, kernel: np.ndarray, bias: np.ndarray
) -> None:
    """Saves another head in the checkpoint of a finished run."""
    values = model_weights(workdir) | {"head/kernel": kernel, "head/bias": bias}
    variables = {key: tf.Variable(value) for key, value in values.items()}
    folder = str(workdir / "checkpoints" / STAGE / "last")
    tf.train.CheckpointManager(
        tf.train.Checkpoint(model=variables),
        folder,
        max_to_keep=1,
        checkpoint_name="ckpt",
    ).save(checkpoint_number=12)


def scores(
    photos: pathlib.Path, split: str, values: dict[str, np.ndarray]
) -> tuple[float, float]:
    """Returns accuracy and loss, computed with Keras and NumPy."""
    keras.utils.clear_session()
    backbone = tiny_backbone()
    for variable in backbone.variables:
        variable.assign(values[variable.path])
    right, losses = [], []
    for label, name in enumerate(sorted(CLASSES)):
        for file in sorted((photos / split / name).iterdir()):
            image = render(tf.constant(file.read_bytes()), 32)
            features = backbone(preprocess(image[None], "tf"), training=False)
            pooled = np.asarray(features).mean(axis=(1, 2))[0]
            logits = pooled @ values["head/kernel"] + values["head/bias"]
            shifted = logits.astype(np.float64) - logits.max()
            right.append(int(np.argmax(logits)) == label)
            losses.append(np.log(np.exp(shifted).sum()) - shifted[label])
    return float(np.mean(right)), float(np.mean(losses))
