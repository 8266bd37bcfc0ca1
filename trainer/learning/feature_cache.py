"""The cached features of a stage's trunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.cache import CachedRows
from trainer.data.changes import changed_image
from trainer.data.reading import parallel_map
from trainer.data.samples import Samples
from trainer.errors import UsageError
from trainer.learning.filling import CacheFill, Compute
from trainer.learning.stage_trunk import StageTrunk
from trainer.learning.views import Views
from trainer.model.trunk.engines import Trunk


class FeatureCache:
    """Rows of features, computed by a trunk where they are missing."""

    def __init__(
        self,
        trunk: StageTrunk,
        fill: CacheFill,
        warn: Callable[[str], None],
    ) -> None:
        """Creates the object; nothing is computed.

        Args:
          trunk: computes the features.
          fill: the cache.
          warn: see `Inputs`.
        """
        self._trunk = trunk
        self._fill = fill
        self._warn = warn
        self._said: set[str] = set()

    def rows(
        self,
        digests: Sequence[str],
        blocks: Compute,
        keys: Mapping[str, Any] | None = None,
    ) -> CachedRows | None:
        """Returns features; None if they are not cached.

        Args:
          digests: what identifies the row of each sample.
          blocks: computes the features of some samples.
          keys: fields of the cache key besides those of the trunk.
        """
        trunk = self._trunk
        if self._fill.several:
            # Before the cache is filled, so that no process begins again.
            trunk.trunk()
        engine = trunk.engine

        def compute(rows: np.ndarray) -> Iterator[list[np.ndarray]]:
            if trunk.trunk().name != engine:
                raise _OtherEngineError
            yield from blocks(rows)

        try:
            return self._fill.rows(
                digests,
                key_fields={**trunk.key_fields(), **(keys or {})},
                specs=trunk.specs(),
                compute=compute,
                warn=self._warn,
            )
        except _OtherEngineError:
            return self.rows(digests, blocks, keys)

    def missing(
        self, digests: Sequence[str], keys: Mapping[str, Any]
    ) -> np.ndarray:
        """Returns the samples whose features are not cached, int64 (n,)."""
        return self._fill.cache.missing(
            digests,
            key_fields={**self._trunk.key_fields(), **keys},
            specs=self._trunk.specs(),
            warn=self._warn,
        )

    def check_room(self, digests: Sequence[str], views: Views) -> None:
        """Checks that the features of all views fit into the cache.

        Raises:
          UsageError: they do not.
        """
        row = self._row_bytes()
        missing = sum(
            len(self.missing(digests, views.key_fields(view)))
            for view in range(views.count)
        )
        size = len(digests) * views.count * row
        cache = self._fill.cache
        why = cache.shortage(size, missing * row)
        if why and (missing or cache.is_off):
            raise UsageError(
                f"--head_views={views.count}: their features take"
                f" {-(-size // 2**20):,} MiB, but {why}; give fewer views, or"
                " a larger cache"
            )

    def warn_uncached(self, what: str, count: int) -> None:
        """Warns once that the features of some samples do not fit."""
        size = count * self._row_bytes()
        why = self._fill.cache.shortage(size, size)
        if self._fill.cache.is_off or not why or what in self._said:
            return
        self._said.add(what)
        self._warn(
            f"features of {what}: not cached, as they take"
            f" {-(-size // 2**20):,} MiB, but {why}"
        )

    def _row_bytes(self) -> int:
        return sum(spec.nbytes for spec in self._trunk.specs())


def through_trunk(
    dataset: tf.data.Dataset, trunk: Trunk, features: int
) -> tf.data.Dataset:
    """Maps blocks of images to blocks of features.

    Args:
      dataset: of pairs: images (n, px, px, 3) in 0..255, and bool (n,).
      trunk: computes the features.
      features: number of features of a sample.

    Returns:
      A dataset of pairs: a tuple of float32 (n, *shape), and the bool (n,).
    """

    def run(images: tf.Tensor, same: tf.Tensor) -> Any:
        found = tf.numpy_function(
            trunk,
            [tf.cast(images, tf.float32)],
            [tf.float32] * features,
            stateful=False,
        )
        # A tuple, because tf.data packs a list into one tensor.
        return tuple(found), same

    return parallel_map(dataset, run).prefetch(1)


def checked_rows(
    dataset: tf.data.Dataset,
    samples: Samples,
    rows: np.ndarray,
    report: Callable[[int], None],
) -> Iterator[list[np.ndarray]]:
    """Yields blocks of images, or of their features.

    Args:
      dataset: see `through_trunk`; of images or of features.
      samples: all samples of the split.
      rows: the indices of the samples in `dataset`.
      report: called with the number of samples done.

    Raises:
      TrainerError: an image has changed since it was checked.
    """
    done = 0
    for block, same in dataset.as_numpy_iterator():
        if not same.all():
            changed = rows[done + int(np.argmin(same))]
            raise changed_image(samples.paths[changed])
        parts = list(block) if isinstance(block, tuple) else [block]
        done += len(parts[0])
        report(done)
        yield parts


class _OtherEngineError(Exception):
    """Raised if the engine cannot run the trunk, so rows need another key."""
