"""Exact evaluation: every example counts once on any number of replicas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from trainer import interrupt
from trainer.data.batches import evaluation_batches
from trainer.data.order import Shard, steps_per_epoch
from trainer.data.reading import Reading
from trainer.data.samples import Samples
from trainer.learning.graph_loops import make_evaluation_function
from trainer.learning.inputs import Inputs
from trainer.learning.steps import TOP_K
from trainer.model.classifier import Classifier
from trainer.model.trunk.partition import Partition
from trainer.results.evaluation import Evaluation
from trainer.results.multilabel import MultilabelEvaluation, sigmoid
from trainer.results.thresholds import best_thresholds

# Steps in one graph call; signals are handled between calls.
_CALL_STEPS = 8
Report = Callable[[int, int], None]


def _no_report(done: int, total: int) -> None:
    del done, total


class Evaluator:
    """Evaluates a classifier with its current weights."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        classifier: Classifier,
        class_names: tuple[str, ...],
        *,
        batch_size: int,
        xla: bool,
        partition: Partition | None = None,
        inputs: Inputs | None = None,
        flip: bool = False,
    ) -> None:
        """Creates an evaluator.

        Args:
          strategy: the strategy under which the classifier was created.
          classifier: its weights may change between evaluations.
          class_names: in the order of the logits.
          batch_size: global batch; metrics do not depend on it.
          xla: whether to compile the pure step.
          partition: see `make_evaluation_function`.
          inputs: reads the samples; None decodes them in every evaluation.
          flip: whether to average the probabilities of each image with those
            of its mirror image.
        """
        self._flip = flip
        self._strategy = strategy
        self._classifier = classifier
        self._class_names = class_names
        self._batch_size = batch_size
        self._inputs = inputs
        # Building a data set can take longer than evaluating on it.
        self._cached: (
            tuple[Samples, tf.distribute.DistributedDataset] | None
        ) = None
        self._function = make_evaluation_function(
            strategy,
            classifier,
            len(class_names),
            xla=xla,
            partition=partition,
            flip=flip,
        )

    def evaluate(
        self,
        samples: Samples,
        *,
        again: bool = False,
        outputs: bool = False,
        report: Report = _no_report,
    ) -> Evaluation:
        """Returns the metrics over all samples.

        Args:
          samples: at least one sample.
          again: whether the caller will evaluate on these samples again.
          outputs: whether to return the logits of every sample too, on every
            process. The metrics are the same either way.
          report: is called with the numbers of evaluated and of all samples.
        """
        totals, logits = self._totals(samples, again, outputs, report)
        count = float(totals["count"])
        confusion = np.rint(totals["confusion"]).astype(np.int64)
        return Evaluation(
            loss=float(totals["loss"]) / count,
            accuracy=float(np.trace(confusion)) / count,
            top5_accuracy=(
                float(totals["top5"]) / count
                if len(self._class_names) > TOP_K
                else None
            ),
            confusion=confusion,
            class_names=self._class_names,
            outputs=logits,
        )

    def evaluate_labels(
        self,
        samples: Samples,
        *,
        again: bool = False,
        thresholds: np.ndarray | None = None,
        report: Report = _no_report,
    ) -> MultilabelEvaluation:
        """Returns the metrics over all samples, which have several labels.

        Every process gets the logits of all samples, from which all metrics
        but the loss are computed.

        Args:
          samples: at least one sample.
          again: see `evaluate`.
          thresholds: see `MultilabelEvaluation`; None chooses them on these
            samples.
          report: see `evaluate`.
        """
        totals, logits = self._totals(samples, again, True, report)
        assert logits is not None
        if thresholds is None:
            thresholds = best_thresholds(samples.labels, sigmoid(logits))
        return MultilabelEvaluation(
            loss=float(totals["loss"]) / float(totals["count"]),
            targets=samples.labels,
            outputs=logits,
            thresholds=thresholds,
            class_names=self._class_names,
        )

    def _totals(
        self, samples: Samples, again: bool, outputs: bool, report: Report
    ) -> tuple[dict[str, Any], np.ndarray | None]:
        """Returns the sums over all samples, and their logits if asked for."""
        iterator = iter(self._batches(samples, again))
        steps = steps_per_epoch(len(samples), self._batch_size)
        totals: dict[str, Any] = {}
        logits = (
            np.empty((len(samples), len(self._class_names)), np.float32)
            if outputs
            else None
        )
        for done in range(0, steps, _CALL_STEPS):
            sums = self._function(
                iterator, min(_CALL_STEPS, steps - done), outputs=outputs
            )
            if logits is not None:
                # The slice drops the padding, which ends the last batch.
                part = logits[done * self._batch_size :][: len(sums["logits"])]
                part[:] = sums.pop("logits")[: len(part)]
            totals = {k: totals.get(k, 0.0) + v for k, v in sums.items()}
            report(int(totals["count"]), len(samples))
            interrupt.check()
        return totals, logits

    def _batches(
        self, samples: Samples, again: bool
    ) -> tf.distribute.DistributedDataset:
        if self._cached is not None and self._cached[0] is samples:
            return self._cached[1]
        made = self._make_batches(samples, again)
        if again:
            self._cached = samples, made
        return made

    def _make_batches(
        self, samples: Samples, again: bool
    ) -> tf.distribute.DistributedDataset:
        reading = Reading(image_px=self._classifier.image_px)
        mirrored = None
        if self._inputs is not None:
            reading = self._inputs.evaluation(samples, again=again)
            if self._flip:
                mirrored = self._inputs.mirrored(samples)

        def dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return evaluation_batches(
                samples,
                reading=reading,
                mirrored=mirrored,
                shard=Shard(
                    global_batch=self._batch_size,
                    num_replicas=self._strategy.num_replicas_in_sync,
                    pipeline=context.input_pipeline_id,
                    num_pipelines=context.num_input_pipelines,
                ),
            )

        return self._strategy.distribute_datasets_from_function(dataset)
