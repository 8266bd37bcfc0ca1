"""Class probabilities of each image, by a head that never saw it."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from scipy.special import softmax
from threadpoolctl import threadpool_limits

from trainer import interrupt
from trainer.cache import FileCache
from trainer.doctor.pool import Pool
from trainer.errors import untrusted
from trainer.learning import exact_head
from trainer.learning.head_features import head_features
from trainer.learning.head_path import chosen_point, cross_validate, folds_of
from trainer.learning.principal_axes import Rotated, rotated, standardisation
from trainer.model.freeze import freeze_plan
from trainer.model.weights.plan import weights_digest
from trainer.native_memory import return_freed
from trainer.results.progress import ConsoleProgress
from trainer.run.classifiers import new_classifier
from trainer.run.fast_paths import fast_paths
from trainer.run.prepare import RunSetup

# From large to small. The order of suspects barely depends on the strength, so
# few values are compared, on few images.
_L2_VALUES = (10.0, 1.0, 0.1)
_IMAGES_FOR_L2, _MAX_AXES = 2000, 512
_BATCH = 32


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class OutOfFold:
    """Predictions for images that were held out.

    Attributes:
      rows: int64 (m,), the images that were held out once.
      probabilities: float32 (m, classes).
      channels: number of features of an image.
      images_per_second: speed of the features when they were computed.
    """

    rows: np.ndarray
    probabilities: np.ndarray
    channels: int
    images_per_second: float


def out_of_fold(
    setup: RunSetup,
    pool: Pool,
    groups: np.ndarray,
    *,
    cache: FileCache,
    warn: Callable[[str], None],
) -> OutOfFold | None:
    """Returns the predictions of the exact head by cross-validation.

    All splits are one set here. Copies of one image are in one fold, as a head
    that has seen a copy would agree with its label.

    Args:
      setup: the flags and devices.
      pool: the images.
      groups: int (n,), see `findings.groups_of`.
      cache: holds the predictions of an earlier start.
      warn: called with the text of a warning.

    Returns:
      None if no image can be held out.
    """
    classes = len(pool.class_names)
    folds = grouped_folds(pool, groups, seed=setup.config.seed)
    rows = np.flatnonzero(folds >= 0)
    if not len(rows) or classes < 2:
        return None
    key = _key(setup, pool, folds)
    content = cache.read(key)
    if content is not None:
        return _unpacked(content)
    began = time.perf_counter()
    features = _features(setup, pool, warn)
    speed = len(features) / (time.perf_counter() - began)
    channels = features.shape[1]
    # Keras and TensorFlow hold the graphs of the features. Their memory must
    # not add to that of the head.
    keras.utils.clear_session()
    return_freed()
    # As for a solved head: threads gain nothing, and one thread rounds alike
    # on any number of cores.
    with threadpool_limits(1, user_api="blas"):
        axes = largest_axes(features)
        del features
        probabilities = held_out_probabilities(
            axes, pool.samples.labels, classes, folds
        )
    found = OutOfFold(
        rows=rows,
        probabilities=probabilities[rows].astype(np.float32),
        channels=channels,
        images_per_second=speed,
    )
    cache.write(key, _packed(found))
    return found


def grouped_folds(pool: Pool, groups: np.ndarray, *, seed: int) -> np.ndarray:
    """Returns int64 (n,), the fold of each image; see `head_path.folds_of`.

    The first image of a group decides for all of it.
    """
    samples = pool.samples
    _, first, inverse = np.unique(
        groups, return_index=True, return_inverse=True
    )
    ids = [samples.ids[row] for row in first]
    return folds_of(ids, samples.labels[first], seed=seed)[inverse]


def largest_axes(features: np.ndarray) -> Rotated:
    """Returns features in at most 512 axes, to save memory and time.

    Args:
      features: float32 (n, d).
    """
    return rotated(features, standardisation(features), max_axes=_MAX_AXES)


def held_out_probabilities(
    axes: Rotated,
    labels: np.ndarray,
    num_classes: int,
    folds: np.ndarray,
) -> np.ndarray:
    """Returns float64 (n, classes), zeros for images that no fold holds out.

    The L2 strength is the one that `--head_l2=auto` would choose among fewer.

    Args:
      axes: of the features of n images.
      labels: int (n,).
      num_classes: at least 2.
      folds: int (n,), see `head_path.folds_of`.
    """
    some = slice(None, None, -(-len(labels) // _IMAGES_FOR_L2))
    path = cross_validate(
        dataclasses.replace(axes, coordinates=axes.coordinates[some]),
        labels[some],
        num_classes,
        folds[some],
        l2_values=_L2_VALUES,
        check=interrupt.check,
    )
    found = np.zeros((len(labels), num_classes))
    for fold in np.unique(folds[folds >= 0]):
        train, held = folds != fold, folds == fold
        solution = exact_head.solve(
            axes.coordinates[train],
            labels[train],
            num_classes,
            l2=chosen_point(path).l2,
            variances=axes.variances,
            stop=1e-4,
            dtype=np.float32,
        )
        interrupt.check()
        logits = axes.coordinates[held] @ solution.kernel + solution.bias
        found[held] = softmax(logits, axis=1)
    return found


def _features(
    setup: RunSetup, pool: Pool, warn: Callable[[str], None]
) -> np.ndarray:
    """Returns float32 (n, channels), from the cache where they are."""
    samples = pool.samples
    classifier = new_classifier(setup, len(pool.class_names), load=True)
    # Building and loading free much, and the conversion needs most of all.
    return_freed()
    shown = ConsoleProgress(len(samples)).rows
    paths = fast_paths(
        setup.config, setup.runtime, images=len(samples), training=False
    ).for_stage(
        classifier, freeze_plan(classifier, "none"), warn=warn, report=shown
    )
    return head_features(
        samples,
        classifier,
        paths.inputs.training(samples, augment=False),
        batch_size=_BATCH,
        xla=setup.runtime.xla,
        report=shown,
    )


def _key(setup: RunSetup, pool: Pool, folds: np.ndarray) -> dict[str, object]:
    config = setup.config
    return {
        "kind": "out of fold",
        "format": 2,
        "data": pool.fingerprint(),
        "folds": hashlib.blake2b(folds.tobytes(), digest_size=16).hexdigest(),
        "backbone": config.backbone,
        "backbone_args": config.backbone_args,
        "weights": weights_digest(setup.weights),
        "weights_kind": setup.weights.kind,
        "weights_origin": config.weights_origin,
        "image_px": config.image_size,
        "l2_values": _L2_VALUES,
        "versions": [tf.__version__, keras.__version__],
    }


def _packed(found: OutOfFold) -> bytes:
    stream = io.BytesIO()
    facts = [found.channels, found.images_per_second]
    np.savez(
        stream,
        rows=found.rows,
        probabilities=found.probabilities,
        facts=np.array(json.dumps(facts)),
    )
    return stream.getvalue()


def _unpacked(content: bytes) -> OutOfFold:
    with (
        untrusted("the cached predictions", "remove the cache folder"),
        np.load(io.BytesIO(content), allow_pickle=False) as stored,
    ):
        channels, speed = json.loads(str(stored["facts"]))
        return OutOfFold(
            rows=stored["rows"],
            probabilities=stored["probabilities"],
            channels=channels,
            images_per_second=speed,
        )
