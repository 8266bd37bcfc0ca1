"""The inputs of a stage's steps: images, or features of the frozen trunk."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.cache import CachedRows, FileCache, RowCache, RowSpec
from trainer.data.reading import Reading, checked_blocks, image_key_fields
from trainer.data.rendering import PLAIN, Rendering
from trainer.data.samples import Samples
from trainer.distribute.processes import ALONE, Processes
from trainer.errors import TrainerError, UsageError
from trainer.learning.feature_cache import (
    FeatureCache,
    checked_rows,
    through_trunk,
)
from trainer.learning.filling import CacheFill
from trainer.learning.stage_trunk import StageTrunk
from trainer.learning.views import Views, view_blocks, view_digests
from trainer.model.trunk.device import DEVICE, TrunkDevices
from trainer.model.trunk.engines import Trunk
from trainer.model.trunk.partition import Partition

# Images per block while rows are computed for the cache.
_ROWS_PER_BLOCK = 32
# What is computed, number done, total number.
Report = Callable[[str, int, int], None]


class Inputs:
    """Reads the samples of a stage; computes and caches rows when needed."""

    def __init__(
        self,
        partition: Partition | None,
        *,
        image_px: int,
        rendering: Rendering = PLAIN,
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
        devices: TrunkDevices | None = None,
        processes: Processes = ALONE,
    ) -> None:
        """Creates the inputs of a stage.

        Args:
          partition: its trunk runs here; without one the step runs all layers.
          image_px: side of the images, in pixels.
          rendering: how they are decoded and resized.
          engine: graph, litert or device; see `FastPaths`.
          block: images per pass of the graph engine; 0 chooses the number.
          feature_dtype: float32 or float16, to which all features are rounded.
          kernel: how images are warped: projective or gather.
          cache: the cache of features and decoded images.
          files: the cache of the converted trunk.
          decode_cache: whether decoded images are cached.
          machine: what may change the last bits of a feature here.
          warn: called with a message if LiteRT or the cache cannot be used.
          report: called while rows are computed.
          devices: of the device engine.
          processes: the processes of the job, which fill the cache together.
        """
        self._trunk: StageTrunk | None = None
        self._fill = CacheFill(cache, processes)
        self._cached: FeatureCache | None = None
        if partition is not None and partition.cut:
            self._trunk = StageTrunk(
                partition,
                engine=engine,
                block=block,
                feature_dtype=feature_dtype,
                files=files,
                machine=machine,
                devices=devices,
                warn=warn,
            )
            self._cached = FeatureCache(self._trunk, self._fill, warn)
        self.kernel = kernel
        self._image_px = image_px
        self._rendering = rendering
        self._augmented_in_step = engine == DEVICE  # It may fall back later.
        self._decode_cache = decode_cache
        self._warn = warn
        self._report = report

    @property
    def trunk(self) -> Trunk | None:
        """The trunk that runs before the step; None if there is none."""
        return self._trunk.trunk() if self._trunk is not None else None

    def facts(self) -> dict[str, Any]:
        """Returns the trunk's engine, cut and block; {} without a trunk."""
        return self._trunk.facts() if self._trunk is not None else {}

    def training(self, samples: Samples, *, augment: bool) -> Reading:
        """Returns how to read the training subset.

        Args:
          samples: the training subset.
          augment: whether images are augmented, so that features cannot be
            cached.
        """
        if augment and self._augmented_in_step:
            return self._images_only(samples, keep_images=True)
        if self._trunk is None or augment:
            return self._reading(samples, keep_images=True)
        return self._cached_reading(samples, "train") or self._reading(
            samples, keep_images=True
        )

    def evaluation(self, samples: Samples, *, again: bool) -> Reading:
        """Returns how to read a split that is never augmented.

        Args:
          samples: the samples of the split.
          again: whether they will be read more than once.
        """
        if self._trunk is not None:
            found = self._cached_reading(samples, "evaluation")
            if found is not None:
                return found
        return self._reading(samples, keep_images=again)

    def mirrored(self, samples: Samples) -> Reading | None:
        """Returns how to read the features of the mirror images of a split.

        Returns None if the step reads images, because it mirrors them itself.
        The features are cached under another key than those of the images.
        """
        if self._trunk is None:
            return None
        found = self._cached_reading(samples, "mirrored", mirrored=True)
        if found is not None:
            return found
        reading = self._reading(samples, keep_images=False)
        return dataclasses.replace(reading, trunk=self._trunk.mirrored())

    def _reading(self, samples: Samples, *, keep_images: bool) -> Reading:
        """Returns how to read images, through the trunk if there is one."""
        reading = self._images_only(samples, keep_images=keep_images)
        if self._trunk is None:
            return reading
        return dataclasses.replace(
            reading,
            trunk=self._trunk.trunk(),
            feature_shapes=self._trunk.shapes,
            kernel=self.kernel,
        )

    def _images_only(self, samples: Samples, *, keep_images: bool) -> Reading:
        """Returns how to read images for a step that runs all layers."""
        return Reading(
            image_px=self._image_px,
            rendering=self._rendering,
            images=self._images(samples) if keep_images else None,
        )

    def views(
        self,
        samples: Samples,
        count: int,
        *,
        seed: int,
        policy: str,
        plain: bool = False,
    ) -> CachedRows:
        """Returns the cached features of augmented views of samples.

        Args:
          samples: the training subset.
          count: number of augmented views of each sample.
          seed: of the run.
          policy: a value of --augment other than off.
          plain: whether the images as they are come first.

        Returns:
          The rows of all samples in one view, then in the next.

        Raises:
          UsageError: there are no features, or they do not fit into the cache;
            nothing is computed.
          TrainerError: the disk has become full.
        """
        cache, flag = self._cached, f"--head_views={count}"
        if cache is None or not samples.digests:
            raise UsageError(
                f"{flag}: the step computes all layers here, so there are no"
                " features to cache; leave it out"
            )
        views = Views(
            count=count,
            seed=seed,
            kernel=self.kernel,
            policy=policy,
            rendering=self._rendering,
        )
        digests = view_digests(samples)
        cache.check_room(digests, views)
        found = [self._features(samples, "train")] if plain else []
        images = None
        for view in range(count):
            keys = views.key_fields(view)
            missing = len(cache.missing(digests, keys)) > 0
            if self._fill.any_process(missing) and images is None:
                images = self._images(samples)
            blocks = functools.partial(
                self._view_blocks, samples, images, views, view
            )
            found.append(cache.rows(digests, blocks, keys))
        complete = [part for part in found if part is not None]
        if len(complete) < len(found):
            raise TrainerError(
                f"{flag}: the cache has no space left for their features; free"
                " some space, or give fewer views"
            )
        return CachedRows.joined(complete)

    def _view_blocks(
        self,
        samples: Samples,
        images: CachedRows | None,
        views: Views,
        view: int,
        rows: np.ndarray,
    ) -> Iterator[list[np.ndarray]]:
        """Yields the features of one view of some samples."""
        return self._computed(
            view_blocks(
                samples,
                rows,
                views,
                view,
                images=images,
                image_px=self._image_px,
                block=_ROWS_PER_BLOCK,
            ),
            samples,
            rows,
            f"features of view {view + 1}/{views.count}",
            self.trunk,
        )

    def _features(
        self, samples: Samples, what: str, *, mirrored: bool = False
    ) -> CachedRows | None:
        """Returns the cached features of samples; None without a cache."""
        if not samples.digests:
            return None
        assert self._cached is not None
        assert self._trunk is not None
        engine = self._trunk.mirrored if mirrored else self._trunk.trunk

        def blocks(rows: np.ndarray) -> Iterator[list[np.ndarray]]:
            return self._blocks(samples, rows, f"features of {what}", engine())

        keys = {"mirrored": "yes"} if mirrored else {}
        keys.update(self._rendering.key_fields())
        found = self._cached.rows(samples.digests, blocks, keys)
        if found is None:
            self._cached.warn_uncached(what, len(samples))
        return found

    def _cached_reading(
        self, samples: Samples, what: str, *, mirrored: bool = False
    ) -> Reading | None:
        """Returns how to read cached features; None without a cache."""
        found = self._features(samples, what, mirrored=mirrored)
        if found is None:
            return None
        return Reading(image_px=self._image_px, features=found)

    def _images(self, samples: Samples) -> CachedRows | None:
        if not self._decode_cache or not samples.digests:
            return None
        side = self._image_px

        def compute(rows: np.ndarray) -> Iterator[list[np.ndarray]]:
            yield from self._blocks(samples, rows, "images", None)

        return self._fill.rows(
            samples.digests,
            key_fields=image_key_fields(side, self._rendering),
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
          TrainerError: an image has changed since it was checked.
        """
        dataset = checked_blocks(
            samples,
            rows,
            image_px=self._image_px,
            block=_ROWS_PER_BLOCK,
            rendering=self._rendering,
        )
        yield from self._computed(dataset, samples, rows, what, trunk)

    def _computed(
        self,
        dataset: tf.data.Dataset,
        samples: Samples,
        rows: np.ndarray,
        what: str,
        trunk: Trunk | None,
    ) -> Iterator[list[np.ndarray]]:
        """Yields blocks of images, or their features; see `_blocks`."""
        if trunk is not None:
            assert self._trunk is not None
            dataset = through_trunk(dataset, trunk, len(self._trunk.shapes))
        return checked_rows(
            dataset,
            samples,
            rows,
            lambda done: self._report(what, done, len(rows)),
        )
