"""The features that a head is solved on: one row for each training sample."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from trainer import interrupt
from trainer.data.batches import evaluation_batches
from trainer.data.order import Shard
from trainer.errors import TrainerError
from trainer.model.classifier import Classifier
from trainer.model.pixels import preprocess
from trainer.train.stage import StageJob


def head_features(job: StageJob) -> np.ndarray:
    """Computes the head's inputs of all training samples, not augmented.

    They come from the cache or from the trunk, if the stage has either, and
    from backbone and pooling on one device otherwise.

    Args:
      job: of a stage that trains the head only.

    Returns:
      float32 (n, channels), in the order of the samples.

    Raises:
      Stopped: a signal arrived.
      TrainerError: a feature is not finite.
    """
    samples, config = job.train, job.config
    batch_size = config.batch_size // config.accumulate_steps
    batches = evaluation_batches(
        samples,
        reading=job.inputs.training(samples, augment=False),
        shard=Shard(global_batch=batch_size, num_replicas=1),
    )
    compute = feature_function(job.classifier, job.runtime.xla)
    width = job.classifier.head.kernel.shape[0]
    found = np.empty((len(samples), width), np.float32)
    done = 0
    for batch in batches:
        if "features" in batch:
            # The stage's cut is before the head: one feature.
            (rows,) = batch["features"]
        else:
            rows = compute(batch["images"])
        count = min(batch_size, len(samples) - done)
        found[done : done + count] = rows.numpy()[:count]
        done += count
        job.progress.rows("features of the head", done, len(samples))
        interrupt.check()
    finite = np.isfinite(found).all(axis=1)
    if not finite.all():
        raise TrainerError(
            f"{samples.ids[int(np.argmin(finite))]}: its features are not"
            f" finite, nor are those of {int((~finite).sum()) - 1} other"
            " images; give other --weights, or --precision=float32"
        )
    return found


def feature_function(
    classifier: Classifier, xla: bool
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function: images -> pooled features, float32 (n, channels).

    It runs on one device, and reads the weights in each call.

    Args:
      classifier: its backbone and pooling compute the features.
      xla: whether to compile the function.
    """
    model = keras.Model(classifier.model.inputs, classifier.head.input)
    variables = list(model.variables)

    def step(values: list[tf.Tensor], images: tf.Tensor) -> tf.Tensor:
        mapping = list(zip(variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            found = model(preprocess(images, classifier.pixels), training=False)
        return tf.cast(found, tf.float32)

    compiled = tf.function(step, jit_compile=xla, autograph=False)

    @tf.function(autograph=False)
    def compute(images: tf.Tensor) -> tf.Tensor:
        values = [tf.convert_to_tensor(v.value) for v in variables]
        return compiled(values, images)

    return compute
