"""Computes the features and the scores of one backbone."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from trainer import interrupt
from trainer.cache import FileCache
from trainer.data.reading import Reading
from trainer.data.training_split import TrainingSplit
from trainer.errors import one_line
from trainer.learning.head_features import head_features
from trainer.learning.head_path import folds_of
from trainer.learning.inputs import Inputs, Report
from trainer.model.classifier import Classifier
from trainer.model.freeze import freeze_plan
from trainer.probe.candidates import Candidate
from trainer.probe.row import Row
from trainer.probe.scores import (
    class_mean_accuracy,
    head_score,
    neighbours_accuracy,
)
from trainer.results.progress import ConsoleProgress
from trainer.results.statistics import wilson_interval
from trainer.run.caches import file_cache
from trainer.run.classifiers import new_classifier
from trainer.run.fast_paths import FastPaths, fast_paths
from trainer.run.prepare import RunSetup, prepare

# Samples per pass where no engine computes the features.
_BATCH = 32


def unmeasured(candidate: Candidate, key: str, error: str = "") -> Row:
    """Returns the row of a backbone without scores.

    Args:
      candidate: the backbone.
      key: see `Row`.
      error: why there are no scores.
    """
    config = candidate.config
    assert config.backbone is not None
    assert config.image_size is not None
    return Row(
        key=key,
        label=candidate.label,
        backbone=config.backbone,
        backbone_args=config.backbone_args,
        weights=config.weights,
        weights_origin=config.weights_origin,
        image_px=config.image_size,
        error=error,
    )


def measure(
    candidate: Candidate, split: TrainingSplit, key: str, *, measured: bool
) -> Row:
    """Measures one backbone on the training samples.

    Args:
      candidate: the backbone.
      split: its samples; at least one class has two.
      key: see `Row`.
      measured: whether its speed was measured by an earlier probe. Then that
        one is used, because other processes may slow down this one.

    Raises:
      Stopped: a signal arrived.
      TrainerError: the weights, or a feature, cannot be used.
    """
    began = time.perf_counter()
    setup = prepare(candidate.config)
    classes = len(split.class_names)
    classifier = new_classifier(setup, classes, load=True)
    extracted = _features(setup, classifier, split, measured)
    samples = split.samples
    folds = folds_of(
        samples.ids,
        samples.labels,
        seed=setup.config.seed,
        groups=samples.groups,
    )
    known = extracted.features, samples.labels, classes, folds
    # As for a solved head: threads gain nothing, and one thread rounds alike
    # on any number of cores.
    with threadpool_limits(1, user_api="blas"):
        head = head_score(*known, check=interrupt.check)
        near = neighbours_accuracy(*known)
        mean = class_mean_accuracy(*known)
    variables = classifier.backbone.variables
    parameters = sum(int(np.prod(v.shape)) for v in variables)
    return dataclasses.replace(
        unmeasured(candidate, key),
        parameters=parameters,
        megabytes=round(parameters * 4 / 1e6, 3),
        head_accuracy=head.accuracy,
        head_interval=wilson_interval(head.accuracy, int((folds >= 0).sum())),
        head_l2=head.l2,
        neighbours_accuracy=near,
        class_mean_accuracy=mean,
        engine=extracted.engine,
        images_per_second=extracted.speed,
        images_timed=extracted.timed,
        seconds=round(time.perf_counter() - began, 3),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Extracted:
    """The features of the samples, and how fast they were computed.

    Attributes:
      features: float32 (n, channels).
      engine: see `Row`.
      speed: images per second; None if unknown.
      timed: number of images that were computed now.
    """

    features: np.ndarray
    engine: str
    speed: float | None
    timed: int


def _features(
    setup: RunSetup,
    classifier: Classifier,
    split: TrainingSplit,
    measured: bool,
) -> _Extracted:
    """Returns the features of all samples, from the cache where they are."""
    config, samples = setup.config, split.samples
    options = fast_paths(
        config, setup.runtime, images=len(samples), training=False
    )
    shown = ConsoleProgress(len(samples)).rows
    filling, reading_all = _Timer(shown), _Timer(shown)
    inputs = _inputs(options, classifier, filling)
    reading = inputs.training(samples, augment=False)
    features = head_features(
        samples,
        classifier,
        reading,
        batch_size=_BATCH,
        xla=setup.runtime.xla,
        report=reading_all,
    )
    engine = str(inputs.facts().get("engine", "step"))
    # Rows that were not computed for the cache come from it.
    timer = filling if _is_cached(reading) else reading_all
    known = _Speeds(file_cache(config), _speed_key(config, engine, options))
    speed, earlier = timer.speed(), known.read()
    if speed is None or (measured and earlier is not None):
        return _Extracted(
            features=features, engine=engine, speed=earlier, timed=0
        )
    known.write(speed)
    return _Extracted(
        features=features, engine=engine, speed=speed, timed=timer.done
    )


def _inputs(
    options: FastPaths, classifier: Classifier, report: Report
) -> Inputs:
    """Returns inputs whose features are the pooled ones."""
    paths = options.for_stage(
        classifier, freeze_plan(classifier, "none"), warn=_warn, report=report
    )
    return paths.inputs


def _warn(text: str) -> None:
    print(f"warning: {one_line(text)}", flush=True)


def _is_cached(reading: Reading) -> bool:
    return reading.features is not None


class _Timer:
    """Measures the speed of computed rows between the first and last report.

    So tracing and conversion do not count.
    """

    def __init__(self, report: Report) -> None:
        """Creates a timer that passes all reports on."""
        self._report = report
        self._began = time.perf_counter()
        self._first: tuple[float, int] | None = None
        self._last = 0.0
        self.done = 0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Notes that `done` rows have been computed."""
        self._last, self.done = time.perf_counter(), done
        if self._first is None:
            self._first = self._last, done
        self._report(what, done, total)

    def speed(self) -> float | None:
        """Returns images per second; None if none were computed.

        Rows in a single block have no second report. Their speed counts from
        the start.
        """
        if self._first is None:
            return None
        start, done = self._first
        if done == self.done:
            start, done = self._began, 0
        return round((self.done - done) / max(self._last - start, 1e-9), 3)


class _Speeds:
    """The measured speed of a backbone on this machine, in the cache."""

    def __init__(self, cache: FileCache, key_fields: Mapping[str, Any]) -> None:
        self._cache = cache
        self._key_fields = key_fields

    def read(self) -> float | None:
        """Returns an earlier measurement; None if there is none."""
        content = self._cache.read(self._key_fields)
        try:
            return None if content is None else float(json.loads(content))
        except (TypeError, ValueError):
            return None

    def write(self, speed: float) -> None:
        """Keeps a measurement for later probes whose features are cached."""
        self._cache.write(self._key_fields, json.dumps(speed).encode())


def _speed_key(
    config: Any, engine: str, options: FastPaths
) -> Mapping[str, Any]:
    return {
        "kind": "speed",
        "backbone": config.backbone,
        "backbone_args": config.backbone_args,
        "image_px": config.image_size,
        "engine": engine,
        "machine": options.machine,
    }
