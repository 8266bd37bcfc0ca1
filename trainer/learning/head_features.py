"""The inputs of a head: the pooled features of samples, one row for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer import interrupt
from trainer.data.batches import evaluation_batches
from trainer.data.order import Shard
from trainer.data.reading import Reading
from trainer.data.samples import Samples
from trainer.distribute.processes import ALONE, Processes
from trainer.errors import TrainerError
from trainer.learning.inputs import Report
from trainer.model.classifier import Classifier
from trainer.model.pixels import preprocess


def head_features(
    samples: Samples,
    classifier: Classifier,
    reading: Reading,
    *,
    batch_size: int,
    xla: bool,
    report: Report,
    processes: Processes = ALONE,
) -> np.ndarray:
    """Computes the head's inputs of samples, one row for each.

    They come from the cache or from the trunk, if the reading has either, and
    from backbone and pooling on one device otherwise. Processes take the
    batches in turn, and each gets the rows of all. The batches are those of one
    process, so the rows are too, bit for bit, on equal machines.

    Args:
      samples: at least one sample.
      classifier: its backbone and pooling compute the features.
      reading: how to read the samples, not augmented; a trunk, or cached
        features, must end before the head.
      batch_size: samples per pass.
      xla: whether to compile backbone and pooling.
      report: called after every pass.
      processes: the processes that share the work; all must call this.

    Returns:
      float32 (n, channels), in the order of the samples.

    Raises:
      Stopped: a signal was received.
      TrainerError: a feature is not finite.
    """
    batches = evaluation_batches(
        samples,
        reading=reading,
        shard=Shard(
            global_batch=batch_size * processes.count,
            num_replicas=processes.count,
            pipeline=processes.index,
            num_pipelines=processes.count,
        ),
    )
    compute = feature_function(classifier, xla)
    width = classifier.head.kernel.shape[0]
    found = np.empty((len(samples), width), np.float32)
    done = 0
    for batch in batches:
        # The cut is before the head: one feature.
        (rows,) = batch.get("features") or (compute(batch["images"]),)
        passed = processes.stacked(rows.numpy())
        count = min(len(passed), len(samples) - done)
        found[done : done + count] = passed[:count]
        done += count
        report("features of the head", done, len(samples))
        interrupt.check()
    check_finite_rows(found, samples.ids)
    return found


def check_finite_rows(rows: np.ndarray, ids: Sequence[str]) -> None:
    """Checks that all features are finite.

    Args:
      rows: (n, channels), of one view of the samples or of several.
      ids: of the samples; n is a multiple of their number.

    Raises:
      TrainerError: a feature is not finite.
    """
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        finite = finite.reshape(-1, len(ids)).all(axis=0)
        raise TrainerError(
            f"{ids[int(np.argmin(finite))]}: its features are not finite, nor"
            f" are those of {int((~finite).sum()) - 1} other images; give other"
            " --weights, or --precision=float32"
        )


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
