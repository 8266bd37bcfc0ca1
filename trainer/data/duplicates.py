"""Images of equal bytes in several splits, or with several labels."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from trainer.data.check import CheckedSplit
from trainer.data.samples import Samples
from trainer.errors import TrainerError

COLUMNS = ["problem", "split", "id", "other_split", "other_id"]
WARN, SKIP, FAIL = "warn", "skip", "fail"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contradiction:
    """An image that has several labels.

    Attributes:
      samples: (split, id, class name) of each of its copies, at least two.
    """

    samples: tuple[tuple[str, str, str], ...]

    def differing(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Returns split and id of two samples with different labels."""
        first = self.samples[0]
        other = next(x for x in self.samples if x[2] != first[2])
        return first[:2], other[:2]


def contradictions(
    splits: Mapping[str, CheckedSplit], class_names: Sequence[str]
) -> tuple[Contradiction, ...]:
    """Returns the images that have several labels, in the order of the splits.

    Args:
      splits: readable samples by split, with digests.
      class_names: in the order of the labels.
    """
    found = collections.defaultdict(list)
    for split, part in splits.items():
        samples = part.samples
        names = samples.label_names(class_names)
        for digest, sample_id, name in zip(
            samples.digests, samples.ids, names, strict=True
        ):
            found[digest].append((split, sample_id, name))
    return tuple(
        Contradiction(samples=tuple(copies))
        for copies in found.values()
        if len({name for *_, name in copies}) > 1
    )


def shared_content(
    train: CheckedSplit, other: CheckedSplit
) -> tuple[tuple[str, str], ...]:
    """Returns a pair of ids per sample of `other` whose image is in `train`."""
    train_ids: dict[str, str] = {}
    for file, sample_id in zip(train.files, train.samples.ids, strict=True):
        train_ids.setdefault(file.digest, sample_id)
    return tuple(
        (train_ids[file.digest], sample_id)
        for file, sample_id in zip(other.files, other.samples.ids, strict=True)
        if file.digest in train_ids
    )


def kept_rows(
    policy: str,
    train: Samples,
    others: Iterable[Samples],
    class_names: Sequence[str],
) -> np.ndarray:
    """Returns the training samples that a policy leaves.

    `skip` leaves out those whose image is in another split too, and those
    whose image has several labels among the training samples.

    Args:
      policy: `warn`, `skip` or `fail`.
      train: the training samples, with digests.
      others: the samples of the other splits, with digests.
      class_names: in the order of the labels.

    Returns:
      int64 (n,), row numbers in ascending order.

    Raises:
      TrainerError: there are such samples and the policy is `fail`, or `skip`
        leaves no sample of a class.
    """
    if policy == WARN:
        return np.arange(len(train))
    elsewhere = {digest for part in others for digest in part.digests}
    labels: dict[str, set[str]] = collections.defaultdict(set)
    names = train.label_names(class_names)
    for digest, name in zip(train.digests, names, strict=True):
        labels[digest].add(name)
    faulty = np.array(
        [d in elsewhere or len(labels[d]) > 1 for d in train.digests], bool
    )
    if policy == FAIL and faulty.any():
        first = train.ids[int(np.argmax(faulty))]
        raise TrainerError(
            f"--on_duplicate=fail: {faulty.sum():,} training images are also in"
            f" another split or have another label, the first of them {first};"
            " --stage=check_data lists them, and --on_duplicate=skip trains on"
            " the rest"
        )
    rows = np.flatnonzero(~faulty)
    counts = train.take(rows).counts(len(class_names))
    if not counts.all():
        name = class_names[int(np.argmin(counts))]
        raise TrainerError(
            f"--on_duplicate=skip: leaves no training image of class {name!r};"
            " fix the data, which --stage=check_data describes"
        )
    return rows


def without_duplicates(
    policy: str,
    train: CheckedSplit,
    others: Iterable[CheckedSplit],
    class_names: Sequence[str],
) -> CheckedSplit:
    """Returns the training samples that a policy leaves; see `kept_rows`."""
    rows = kept_rows(
        policy, train.samples, [part.samples for part in others], class_names
    )
    return train if len(rows) == len(train.samples) else train.take(rows)


def duplicate_rows(
    shared: Iterable[tuple[str, str]],
    shared_validation: Iterable[tuple[str, str]],
    contradicting: Iterable[Contradiction],
) -> Iterator[list[str]]:
    """Yields the rows of duplicates.csv, without its header.

    Args:
      shared: see `Manifest.shared_content`.
      shared_validation: see `Manifest.shared_validation`.
      contradicting: see `contradictions`.
    """
    for split, pairs in (("test", shared), ("validation", shared_validation)):
        for mine, theirs in pairs:
            yield ["other split", "train", mine, split, theirs]
    for image in contradicting:
        first, *rest = image.samples
        for other in rest:
            if other[2] != first[2]:
                yield ["other label", *first[:2], *other[:2]]
