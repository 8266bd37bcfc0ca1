"""Estimates the time of a run from earlier runs on the same machine.

The cache of whole files holds one JSON file with the speed of each stage that
has been trained, by a key of all settings that decide it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.cache import FileCache, key_of
from trainer.config import StageSpec
from trainer.config.fields import FEATURE_EXTRACT
from trainer.data.manifest import Manifest
from trainer.data.order import steps_per_epoch
from trainer.learning.checkpoint_files import (
    LAST,
    checkpoint_step,
    find_checkpoint,
)
from trainer.learning.start import stage_marker
from trainer.results.progress import ConsoleProgress
from trainer.results.stage_time import StageTime, shown_time
from trainer.run.fast_paths import FastPaths
from trainer.run.prepare import RunSetup
from trainer.run.record import run_facts
from trainer.workdir import Workdir

_FILE = {"kind": "stage speeds", "version": 1}
_MAX_KEYS = 200
# Flags with which an image takes the same time. Those of a stage are in its
# `StageSpec`; the samples and the epochs are counted.
_NAMES = """
stage recipe dataset tfds_data_dir data_pct shots on_bad_image on_duplicate
validation validation_fraction epochs head_epochs min_steps unfreeze
head_solver head_views learning_rate head_learning_rate backbone_lr_scale
layer_decay scale_lr momentum weight_decay schedule warmup label_smoothing
class_weights monitor patience time_limit seed workdir keep_checkpoints
cache_dir cache_ram_mib cache_disk_mib dry_run
"""
_NOT_IN_KEY = frozenset(_NAMES.split())
_NOT_IN_SPEC = ("stage", "epochs", "learning_rate", "validate_every")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Speed:
    """How long a stage takes on this machine.

    Attributes:
      fixed: seconds besides the others, such as compiling and the final test.
      image: seconds per training image and epoch.
      validated: seconds per validation image and validation.
      row: seconds per image computed for the cache; None if unknown.
      data: key of the images that are cached.
    """

    fixed: float
    image: float
    validated: float
    row: float | None
    data: str

    def __post_init__(self) -> None:
        for value in (self.fixed, self.image, self.validated, self.row or 0.0):
            if not (type(value) in (int, float) and 0 <= value < math.inf):
                raise ValueError(f"{value!r} is not a time")


def read_speeds(cache: FileCache) -> dict[str, Speed]:
    """Returns all known speeds, the oldest first; those that can be read."""
    found: dict[str, Speed] = {}
    try:
        stored = json.loads(cache.read(_FILE) or b"{}")
        for key, values in stored.items():
            found[key] = Speed(**values)
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass  # Another program's file; what is unknown is not estimated.
    return found


def write_speed(cache: FileCache, key: str, speed: Speed) -> None:
    """Stores a speed in place of an earlier one, if that is possible."""
    found = read_speeds(cache)
    found.pop(key, None)
    newest = [*found.items(), (key, speed)][-_MAX_KEYS:]
    values = {name: dataclasses.asdict(each) for name, each in newest}
    cache.write(_FILE, json.dumps(values).encode())


class RunTime:
    """Estimates the time of a run, and stores the speeds of its stages."""

    def __init__(
        self,
        setup: RunSetup,
        workdir: Workdir,
        manifest: Manifest,
        options: FastPaths,
        progress: ConsoleProgress,
    ) -> None:
        """Creates the object; reads nothing.

        Args:
          setup: the setup of the run.
          workdir: the workdir of the run.
          manifest: the samples of each split.
          options: the fast paths of the run.
          progress: times the stages.
        """
        self._setup = setup
        self._workdir = workdir
        self._manifest = manifest
        self._options = options
        self._progress = progress
        self._stage: tuple[StageSpec, StageSpec | None] | None = None
        self._time: StageTime | None = None

    def line(self, stages: Sequence[StageSpec]) -> str:
        """Returns a line with the time of the run; "" if it is unknown.

        Args:
          stages: the stages to train, in order.
        """
        known = read_speeds(self._options.files)
        total = fixed = 0.0
        for spec, later in zip(stages, [*stages[1:], None], strict=True):
            speed = known.get(self._key(spec, later))
            seconds = None if speed is None else self._seconds(spec, speed)
            if speed is None or seconds is None:
                return ""
            total += seconds
            fixed += speed.fixed
        config = self._setup.config
        early = config.patience is not None or config.time_limit is not None
        if config.time_limit is not None:
            total = min(total, 60 * config.time_limit + fixed)
        shown = f"{'up to' if early else 'about'} {shown_time(total)}"
        return (
            f"time: {shown if total >= 60 else 'under a minute'}, from earlier"
            " runs on this machine"
        )

    def begin(self, spec: StageSpec, later: StageSpec | None) -> None:
        """Begins a stage, after `end` of the one before."""
        self._stage = spec, later
        self._time = None
        # The rest of a stage may be too short to be timed.
        if find_checkpoint(self._workdir, spec.stage, LAST) is None:
            self._time = self._progress.begin_stage()

    def end(self) -> None:
        """Stores the speed of the finished stage."""
        time, stage, manifest = self._time, self._stage, self._manifest
        if time is None or stage is None or not self._workdir.writes:
            return
        image = 0.0 if stage[0].solved else time.per_image()
        if image is None:
            return
        key, cache = self._key(*stage), self._options.files
        earlier = read_speeds(cache).get(key)
        row = time.rows.each
        if row is None and earlier:
            row = earlier.row
        validation = time.per_validation()
        fixed = time.seconds() - time.rows.seconds
        fixed -= image * time.images + validation * time.validations
        speed = Speed(
            fixed=max(fixed, 0.0),
            image=image,
            validated=validation / max(len(manifest.validation), 1),
            row=row,
            data=self._data,
        )
        write_speed(cache, key, speed)

    def _seconds(self, spec: StageSpec, speed: Speed) -> float | None:
        """Returns the seconds of what is left of a stage, if known."""
        manifest = self._manifest
        train, validation = len(manifest.train), len(manifest.validation)
        epochs = max(spec.epochs - self._epochs_done(spec), 0.0)
        validations = math.ceil(epochs / spec.validate_every)
        seconds = speed.fixed + speed.image * train * epochs
        seconds += speed.validated * validation * validations
        if speed.data != self._data:
            # The time to solve the head depends on the images.
            if speed.row is None or spec.solved:
                return None
            rows = train * (1 + spec.views_read) + validation
            seconds += speed.row * (rows + len(manifest.final))
        return seconds

    def _epochs_done(self, spec: StageSpec) -> float:
        """Returns how many epochs earlier processes have trained."""
        path = find_checkpoint(self._workdir, spec.stage, LAST)
        if path is None:
            return 0.0
        config = self._setup.config
        names = [FEATURE_EXTRACT, *config.finetune_parts]
        start = 0
        for name in names[: names.index(spec.stage)]:
            marker = self._workdir.read_json(stage_marker(name))
            start = marker["steps"] if marker else start
        steps = steps_per_epoch(len(self._manifest.train), config.batch_size)
        return (checkpoint_step(path) - start) / (1 if spec.solved else steps)

    def _key(self, spec: StageSpec, later: StageSpec | None) -> str:
        """Returns the key of all that decides the speed of a stage."""
        setup = self._setup
        facts: Mapping[str, Any] = {
            "machine": run_facts(setup, self._options),
            "flags": {
                name: value
                for name, value in setup.config.to_json().items()
                if name not in _NOT_IN_KEY
            },
            "tests": setup.tests,
            "location": self._manifest.location,
            "stages": [
                {k: v for k, v in vars(each).items() if k not in _NOT_IN_SPEC}
                for each in (spec, later)
                if each is not None
            ],
        }
        return key_of(facts)

    @functools.cached_property
    def _data(self) -> str:
        """Returns a key of all images of the run."""
        manifest = self._manifest
        splits = (manifest.train, manifest.validation, manifest.final)
        digests = {digest for split in splits for digest in split.digests}
        return key_of({"digests": sorted(digests)})
