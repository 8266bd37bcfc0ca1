"""The inputs of a stage's steps: images, or features of the frozen trunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from trainer import interrupt
from trainer.cache import CachedRows, FileCache, RowCache, RowSpec
from trainer.data.changes import changed_image
from trainer.data.reading import PARALLEL_CALLS, Reading, checked_blocks
from trainer.data.samples import Samples
from trainer.model.trunk.engines import (
    GRAPH,
    LITERT,
    GraphTrunk,
    LiteTrunk,
    MirroredTrunk,
    RoundedTrunk,
    Trunk,
    block_of,
    lite_trunk,
    trunk_key,
)
from trainer.model.trunk.partition import Partition

# Images per block while rows are computed for the cache.
_ROWS_PER_BLOCK = 32
# From this many images on, LiteRT saves more time than the conversion takes.
_MIN_IMAGES_FOR_LITERT = 500
# (what is computed, number done, total number).
Report = Callable[[str, int, int], None]


class Inputs:
    """Reads the samples of a stage; computes and caches rows when needed."""

    def __init__(
        self,
        partition: Partition | None,
        *,
        image_px: int,
        engine: str,
        block: int,
        feature_dtype: str,
        kernel: str,
        cache: RowCache,
        files: FileCache,
        decode_cache: bool,
        machine: str,
        warn: Callable[[str], None],
        report: Report,
    ) -> None:
        """Creates the inputs of a stage.

        Args:
          partition: its trunk runs here. If it is None or has no trunk, the
            step runs all layers.
          image_px: side of the images, in pixels.
          engine: the engine that runs the trunk: graph or litert.
          block: images per pass of the graph engine; 0 chooses the number.
          feature_dtype: float32 or float16. Features are rounded to it,
            whether they are cached or not.
          kernel: how images are warped: projective or gather.
          cache: the cache of features and decoded images.
          files: the cache of the converted trunk.
          decode_cache: whether decoded images are cached.
          machine: identifies everything on the machine that may change the
            last bits of a feature.
          warn: called with a message if LiteRT or the cache cannot be used.
          report: called while rows are computed.
        """
        self._partition = (
            partition if partition is not None and partition.cut else None
        )
        self.kernel = kernel
        self._image_px = image_px
        self._engine = engine
        self._block = block
        self._feature_dtype = feature_dtype
        self._cache = cache
        self._files = files
        self._decode_cache = decode_cache
        self._machine = machine
        self._warn = warn
        self._report = report
        self._made: GraphTrunk | LiteTrunk | RoundedTrunk | None = None
        self._key: dict[str, str] | None = None

    @property
    def trunk(self) -> Trunk | None:
        """The trunk that runs before the step; None if there is none."""
        return self._trunk() if self._partition is not None else None

    def facts(self) -> dict[str, Any]:
        """Returns the trunk's engine, cut and block; {} without a trunk."""
        if self._partition is None:
            return {}
        return {
            "engine": self._engine,
            "cut": list(self._partition.cut),
            "block": self._graph_block() if self._engine == GRAPH else 1,
        }

    def training(self, samples: Samples, *, augment: bool) -> Reading:
        """Returns how to read the training subset.

        Args:
          samples: the training subset.
          augment: whether images are augmented, so that features cannot be
            cached.
        """
        if self._partition is None or augment:
            return self._reading(samples, keep_images=True)
        return self._features(samples, "train") or self._reading(
            samples, keep_images=True
        )

    def evaluation(self, samples: Samples, *, again: bool) -> Reading:
        """Returns how to read a split that is never augmented.

        Args:
          samples: the samples of the split.
          again: whether they will be read more than once.
        """
        if self._partition is not None:
            found = self._features(samples, "evaluation")
            if found is not None:
                return found
        return self._reading(samples, keep_images=again)

    def mirrored(self, samples: Samples) -> Reading | None:
        """Returns how to read features of the mirror images of a split.

        None if the step gets images, which it can mirror itself. The features
        are cached like those of the images, under a key of their own.

        Args:
          samples: the samples of the split.
        """
        if self._partition is None:
            return None
        return self._features(
            samples, "mirrored evaluation", mirrored=True
        ) or self._reading(samples, keep_images=False, mirrored=True)

    def _reading(
        self, samples: Samples, *, keep_images: bool, mirrored: bool = False
    ) -> Reading:
        """Returns how to read images, through the trunk if there is one."""
        images = self._images(samples) if keep_images else None
        if self._partition is None:
            return Reading(image_px=self._image_px, images=images)
        return Reading(
            image_px=self._image_px,
            images=images,
            trunk=self._trunk(mirrored=mirrored),
            feature_shapes=self._partition.feature_shapes,
            kernel=self.kernel,
        )

    def _trunk(self, *, mirrored: bool = False) -> Trunk:
        """Returns the trunk's engine, created on first use.

        Args:
          mirrored: whether it is to compute the features of mirror images.
        """
        if self._made is None:
            trunk = self._make_engine()
            rounds = self._feature_dtype == "float16"
            self._made = RoundedTrunk(trunk) if rounds else trunk
        return MirroredTrunk(self._made) if mirrored else self._made

    def _make_engine(self) -> GraphTrunk | LiteTrunk:
        assert self._partition is not None
        if self._engine == LITERT:
            try:
                return lite_trunk(
                    self._partition,
                    cores=PARALLEL_CALLS,
                    cache=self._files,
                    machine=self._machine,
                )
            except ValueError as error:
                self._warn(
                    f"--trunk_engine=litert: the frozen part {error}; falling"
                    " back to graph, so the last bits may differ"
                )
                self._engine = GRAPH
        return GraphTrunk(self._partition, block=self._graph_block())

    def _graph_block(self) -> int:
        assert self._partition is not None
        return self._block or block_of(self._partition)

    def _key_fields(self) -> dict[str, Any]:
        """Returns the cache key of features, without the image's digest."""
        assert self._partition is not None
        if self._key is None:
            self._key = trunk_key(self._partition)
        return {
            **self._key,
            "kind": "features",
            "engine": self._engine,
            "dtype": self._feature_dtype,
            # The order in which a graph sums depends on the number of threads,
            # and its kernels depend on the processor.
            "machine": self._machine,
        }

    def _features(
        self, samples: Samples, what: str, *, mirrored: bool = False
    ) -> Reading | None:
        """Returns how to read cached features; None without a cache."""
        if not samples.digests:
            return None
        assert self._partition is not None
        engine = self._engine

        def compute(rows: np.ndarray) -> Iterator[list[np.ndarray]]:
            trunk = self._trunk(mirrored=mirrored)
            if trunk.name != engine:
                raise _OtherEngineError
            yield from self._blocks(samples, rows, f"features of {what}", trunk)

        try:
            cached = self._cache.rows(
                samples.digests,
                key_fields=self._key_fields()
                | ({"mirrored": "yes"} if mirrored else {}),
                specs=[
                    RowSpec(shape=shape, dtype=self._feature_dtype)
                    for shape in self._partition.feature_shapes
                ],
                compute=compute,
                warn=self._warn,
            )
        except _OtherEngineError:
            return self._features(samples, what, mirrored=mirrored)
        if cached is None:
            return None
        return Reading(image_px=self._image_px, features=cached)

    def _images(self, samples: Samples) -> CachedRows | None:
        if not self._decode_cache or not samples.digests:
            return None
        side = self._image_px

        def compute(rows: np.ndarray) -> Iterator[list[np.ndarray]]:
            yield from self._blocks(samples, rows, "images", None)

        return self._cache.rows(
            samples.digests,
            key_fields={
                "kind": "pictures",
                "image_px": side,
                "tensorflow": tf.__version__,
            },
            specs=[RowSpec(shape=(side, side, 3), dtype="uint8")],
            compute=compute,
            warn=self._warn,
        )

    def _blocks(
        self,
        samples: Samples,
        rows: np.ndarray,
        what: str,
        trunk: Trunk | None,
    ) -> Iterator[list[np.ndarray]]:
        """Yields images or features of some samples, block by block.

        Args:
          samples: all samples of the split.
          rows: the indices of the samples to compute.
          what: what is computed, for the progress report.
          trunk: computes features from images; None yields images.

        Raises:
          Stopped: a signal was received.
          TrainerError: an image has changed since it was checked.
        """
        dataset = checked_blocks(
            samples, rows, image_px=self._image_px, block=_ROWS_PER_BLOCK
        )
        if trunk is not None:
            dataset = dataset.map(
                lambda images, same: (
                    # A tuple, because tf.data packs a list into one tensor.
                    tuple(
                        tf.numpy_function(
                            trunk,
                            [tf.cast(images, tf.float32)],
                            [tf.float32] * len(self._shapes()),
                            stateful=False,
                        )
                    ),
                    same,
                ),
                num_parallel_calls=PARALLEL_CALLS,
                deterministic=True,
            ).prefetch(1)
        done = 0
        for block, same in dataset.as_numpy_iterator():
            if not same.all():
                changed = rows[done + int(np.argmin(same))]
                raise changed_image(samples.paths[changed])
            parts = [block] if trunk is None else list(block)
            done += len(parts[0])
            self._report(what, done, len(rows))
            yield parts
            interrupt.check()

    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        assert self._partition is not None
        return self._partition.feature_shapes


class _OtherEngineError(Exception):
    """Raised if LiteRT cannot run the trunk, so the rows need another key."""


def auto_engine(images: int, *, graph_only: bool) -> str:
    """Returns the engine that `--trunk_engine=auto` chooses on a CPU.

    Args:
      images: number of images that will go through the trunk.
      graph_only: whether LiteRT is missing.
    """
    return GRAPH if graph_only or images < _MIN_IMAGES_FOR_LITERT else LITERT
