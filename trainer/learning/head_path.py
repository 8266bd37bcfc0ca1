"""The L2 strength of a solved head, chosen on the training features alone."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trainer.data.groups import make_grouping, nested_folds
from trainer.data.label_sets import label_folds
from trainer.learning import exact_head
from trainer.learning.principal_axes import Rotated

FOLDS = 5
# From large to small, so that each solution starts from a smoother one.
L2_VALUES = tuple(float(f"{x:.3g}") for x in np.logspace(2, -4, 13))
# Used with one sample per class, which leaves none to hold out. On 10 to 450
# photos the best values were 0.02 to 0.3.
FALLBACK_L2 = 0.1
# Enough for validation losses; float32 products are twice as fast.
_STOP = 1e-4
_MAX_ITERATIONS = 300


@dataclasses.dataclass(frozen=True, kw_only=True)
class PathPoint:
    """The result of one L2 strength, each sample held out once.

    Attributes:
      l2: strength of the regularisation.
      loss: mean cross-entropy over the held-out samples.
      accuracy: over the held-out samples, in [0, 1]; with several labels, the
        share of samples whose labels are all correct.
      standard_error: of `loss`, from its means over the folds.
      accuracy_standard_error: of `accuracy`, likewise.
    """

    l2: float
    loss: float
    accuracy: float
    standard_error: float
    accuracy_standard_error: float


def folds_of(
    ids: Sequence[str],
    labels: np.ndarray,
    *,
    seed: int,
    folds: int = FOLDS,
    groups: Sequence[str] = (),
) -> np.ndarray:
    """Assigns samples to stratified folds, by a hash of sample id and seed.

    The samples of a class are dealt to the folds in turn, and the next class
    goes on where the last one ended, so that folds and classes are even. A
    class with fewer samples than folds is held out in some folds only. A class
    of one sample is never held out: a head cannot be trained without it.

    Samples with several labels are stratified over all of them; see
    `data.label_sets.label_folds`.

    With groups, each group is in one fold; see `data.groups.nested_folds`. The
    groups of a class that would be in one fold only are never held out.

    Args:
      ids: of the samples, unique.
      labels: int (n,), or (n, classes) of 0 and 1.
      seed: of the run.
      folds: number of folds.
      groups: the group of each sample; empty without groups.

    Returns:
      int64 (n,), the fold that holds a sample out; -1 for none.
    """
    if labels.ndim == 2:
        salt = f"folds {seed}"
        return label_folds(ids, labels, groups, folds=folds, salt=salt)
    if groups:
        return _folds_of_groups(ids, labels, groups, seed, folds)
    found = np.full(len(ids), -1, np.int64)
    dealt = 0
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label).tolist()
        if len(rows) < 2:
            continue
        for row in sorted(rows, key=lambda row: _rank(ids[row], seed)):
            found[row] = dealt % folds
            dealt += 1
    return found


def _folds_of_groups(
    ids: Sequence[str],
    labels: np.ndarray,
    groups: Sequence[str],
    seed: int,
    folds: int,
) -> np.ndarray:
    grouping = make_grouping(
        ids,
        labels,
        groups,
        num_classes=int(labels.max(initial=-1)) + 1,
        salt=f"folds {seed}",
    )
    found = nested_folds(grouping, folds) - 1
    for label in np.unique(labels):
        if len(np.unique(found[labels == label])) == 1:
            for rows, classes in zip(
                grouping.rows, grouping.classes, strict=True
            ):
                if label in classes:
                    found[rows] = -1
    return found


def _rank(sample_id: str, seed: int) -> tuple[bytes, str]:
    text = f"folds {seed}\n{sample_id}".encode()
    return hashlib.blake2b(text, digest_size=16).digest(), sample_id


def cross_validate(
    rotated: Rotated,
    labels: np.ndarray,
    num_classes: int,
    folds: np.ndarray,
    *,
    importance: np.ndarray | None = None,
    l2_values: Sequence[float] = L2_VALUES,
    check: Callable[[], None] = lambda: None,
) -> tuple[PathPoint, ...]:
    """Returns the path: one point for each L2 strength.

    All folds share the standardisation of the training subset, which reads no
    label. So they share its axes too.

    Args:
      rotated: the features of the training subset.
      labels: int (n,), or (n, classes) of 0 and 1.
      num_classes: at least 2.
      folds: see `folds_of`; at least one sample is held out.
      importance: see `exact_head.loss_and_gradient`; the losses of held-out
        samples have the same factors.
      l2_values: from large to small.
      check: called after every solution; may raise to stop.
    """
    losses = [np.zeros(len(labels)) for _ in l2_values]
    correct = [np.zeros(len(labels), bool) for _ in l2_values]
    used = np.unique(folds[folds >= 0])
    for fold in used:
        train, held = folds != fold, folds == fold
        own, others = rotated.coordinates[train], rotated.coordinates[held]
        solution = None
        for i, l2 in enumerate(l2_values):
            solution = exact_head.solve(
                own,
                labels[train],
                num_classes,
                l2=l2,
                variances=rotated.variances,
                importance=None if importance is None else importance[train],
                start=solution,
                stop=_STOP,
                max_iterations=_MAX_ITERATIONS,
                dtype=np.float32,
            )
            losses[i][held], correct[i][held] = exact_head.losses_of(
                others, labels[held], solution.kernel, solution.bias
            )
            if importance is not None:
                losses[i][held] *= importance[held]
            check()
    return tuple(
        _point(l2, losses[i], correct[i], folds)
        for i, l2 in enumerate(l2_values)
    )


def _point(
    l2: float, losses: np.ndarray, correct: np.ndarray, folds: np.ndarray
) -> PathPoint:
    held = folds >= 0
    return PathPoint(
        l2=l2,
        loss=float(losses[held].mean()),
        accuracy=float(correct[held].mean()),
        standard_error=_standard_error(losses, folds),
        accuracy_standard_error=_standard_error(correct, folds),
    )


def _standard_error(values: np.ndarray, folds: np.ndarray) -> float:
    """Returns the standard error of the mean over the folds; 0 for one fold."""
    used = np.unique(folds[folds >= 0])
    means = [values[folds == fold].mean() for fold in used]
    return (
        float(np.std(means, ddof=1) / np.sqrt(len(means)))
        if len(means) > 1
        else 0.0
    )


def best_point(path: Sequence[PathPoint]) -> PathPoint:
    """Returns the point with the lowest mean validation loss.

    The loss, because accuracy on few samples has many ties. Of equal losses
    the one with the largest L2 strength wins.
    """
    return min(path, key=lambda point: (point.loss, -point.l2))


def chosen_point(path: Sequence[PathPoint]) -> PathPoint:
    """Returns the point that `auto` chooses, by the one-standard-error rule.

    It is the largest L2 strength whose loss is at most one standard error
    above the lowest loss (Breiman et al., 1984). On few photos the lowest loss
    alone often falls on too small a strength; see
    docs/recipes-and-freezing.md for the measurement.
    """
    best = best_point(path)
    bound = best.loss + best.standard_error
    return max(
        (point for point in path if point.loss <= bound),
        key=lambda point: point.l2,
    )


def path_record(
    path: Sequence[PathPoint], *, multilabel: bool = False
) -> dict[str, Any]:
    """Returns the content of head_path.json.

    Args:
      path: the points.
      multilabel: whether samples have several labels. Then the share of samples
        whose labels are all correct is called exact_match.
    """
    points = [dataclasses.asdict(point) for point in path]
    if multilabel:
        points = [
            {k.replace("accuracy", "exact_match"): v for k, v in x.items()}
            for x in points
        ]
    return {
        "rule": "largest strength whose mean validation loss over the held-out"
        " samples is within one standard error of the lowest",
        "folds": FOLDS,
        "l2": chosen_point(path).l2,
        "lowest_loss_l2": best_point(path).l2,
        "path": points,
    }
