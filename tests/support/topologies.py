"""Measures the same training on several topologies."""

from __future__ import annotations

import pathlib

import numpy as np
import tensorflow as tf

from tests.support.classifiers import (
    batch_of,
    copy_of,
    labels_of,
    tiny_classifier,
    tiny_images,
)
from tests.support.replicas import Descent, feed
from trainer import interrupt
from trainer.data.augment import affine, draw_parameters
from trainer.distribute import devices, strategies
from trainer.distribute.topology import find_topology
from trainer.learning.graph_loops import (
    make_evaluation_function,
    make_train_function,
)
from trainer.learning.optimizers import SummedAdam
from trainer.model.freeze import freeze_plan

CLASSES = 3
BATCH = 8
CLIP = 0.2
# The limit of the gradient's norm, and the number of parts of each replica's
# rows; each of four replicas has two rows.
WAYS = ((None, 1), (CLIP, 2))
# The reference is also clipped without parts.
WAYS_OF_ONE = (*WAYS, (CLIP, 1))
# Real rows of the batch. With 3 of 8 rows, two of four replicas have only
# padding.
ROWS = (8, 5, 3)
ADAM_STEPS = 20
# The batches of an epoch of 19 examples: two are full, one is padded.
EPOCH_ROWS = (8, 8, 3)


def batch(rows: int, seed: int) -> dict[str, np.ndarray]:
    """Returns a global batch with parameters of its augmentation."""
    labels = labels_of(rows, CLASSES, seed)
    made = batch_of(tiny_images(rows, seed), labels, BATCH)
    ids = tf.range(BATCH, dtype=tf.int64)
    epoch = tf.constant(seed, tf.int64)
    drawn = [affine(draw_parameters(0, epoch, i)).numpy() for i in ids]
    return {**made, "matrices": np.stack(drawn)}


def measure(folder: pathlib.Path, replicas: tuple[int, ...]) -> None:
    """Saves FOLDER/PROCESSESxREPLICAS.npz for each number of replicas.

    If there are several processes, the chief saves.
    """
    topology = find_topology("auto", "finetune")
    devices.configure(max(replicas))
    for count in replicas:
        with interrupt.watched():
            strategy = strategies.make_strategy(
                "mirrored" if topology.count == 1 else "multi_worker",
                BATCH,
                count,
                topology,
            )
        found = _measured(strategy)
        if topology.is_chief:
            np.savez(folder / f"{topology.count}x{count}.npz", **found)


class _Trainer:
    """A classifier under a strategy, and the function that trains it."""

    def __init__(self, strategy, make_optimizer, clip, parts) -> None:
        self.strategy = strategy
        self.classifier = copy_of(tiny_classifier(CLASSES), strategy)
        with strategy.scope():
            plan = freeze_plan(self.classifier, "all")
            optimizer = make_optimizer()
            self._trained = {
                k: self.classifier.variables[k] for k in plan.trainable
            }
            optimizer.build(list(self._trained.values()))
        self._start = self._values()
        self._function = make_train_function(
            strategy,
            self.classifier,
            plan,
            optimizer,
            clip_global_norm=clip,
            xla=False,
            accumulate_steps=parts,
        )

    def _values(self) -> dict[str, np.ndarray]:
        return {k: v.numpy() for k, v in self._trained.items()}

    def moves(self, batches) -> dict[str, np.ndarray]:
        """Returns the changes that the batches make to the start, by key."""
        return self.moves_and_sums(batches)[0]

    def moves_and_sums(self, batches) -> tuple[dict, dict]:
        """Returns the changes, and the sums of the steps."""
        for key, value in self._start.items():
            self._trained[key].assign(value)
        call = self._function(feed(self.strategy, batches), len(batches))
        after = self._values()
        return {k: after[k] - self._start[k] for k in after}, call.sums


def _measured(strategy: tf.distribute.Strategy) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {
        "replicas": np.array(strategy.num_replicas_in_sync)
    }
    batches = [batch(EPOCH_ROWS[step % 3], step) for step in range(ADAM_STEPS)]
    one = strategy.num_replicas_in_sync == 1
    for clip, parts in WAYS_OF_ONE if one else WAYS:
        # At rate 1, plain descent moves by the gradient itself.
        descent = _Trainer(strategy, lambda: Descent(1.0), clip, parts)
        for rows in ROWS:
            for key, value in descent.moves([batch(rows, rows)]).items():
                found[f"gradient {clip} {parts} {rows} {key}"] = value
        adam = _Trainer(strategy, lambda: SummedAdam(1e-3), clip, parts)
        moves, sums = adam.moves_and_sums(batches)
        for key, value in moves.items():
            found[f"adam {clip} {parts} {key}"] = value
        for key, value in sums.items():
            found[f"sums {clip} {parts} {key}"] = value
    evaluate = make_evaluation_function(
        strategy, adam.classifier, CLASSES, xla=False
    )
    tested = [batch(rows, 100 + rows) for rows in ROWS]
    for part in tested:
        del part["matrices"]
    totals = evaluate(feed(strategy, tested), len(tested), outputs=True)
    return found | {f"evaluation {k}": v for k, v in totals.items()}
