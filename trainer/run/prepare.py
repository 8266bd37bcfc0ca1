"""Prepares a training run: checks flags, sets up devices, reads the data."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from trainer.config import Config, ResolvedConfig
from trainer.config.checks import check_images, check_views
from trainer.config.fields import MULTILABEL
from trainer.data.check import BadImagesError
from trainer.data.dataset_flag import check_dataset
from trainer.data.manifest import Manifest, build_manifest
from trainer.data.samples import Source
from trainer.data.sources import open_source
from trainer.data.table import BadRowsError
from trainer.distribute.runtime import Runtime, make_runtime, plan_devices
from trainer.errors import TrainerError, one_line
from trainer.learning.class_weights import read_class_weights
from trainer.model.backbones import (
    Backbone,
    check_backbone,
    find_backbone,
    parse_backbone_args,
)
from trainer.model.weights.plan import WeightsPlan, plan_weights
from trainer.run.caches import file_cache
from trainer.run.memory import check_batch_fits
from trainer.run.resolve import backbone_name, resolve

# Rows of a table that are printed one by one.
_MAX_ROWS = 20


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RunSetup:
    """The checked flags and the devices of a run, before its data is read.

    Attributes:
      config: the resolved configuration.
      backbone: the backbone's row in the table of backbones.
      backbone_args: the parsed value of `--backbone_args`.
      weights: where the backbone's weights come from.
      runtime: the devices and the processes.
      tests: whether the finished model is evaluated on the test split. If not,
        as in the trials of a search, no image of the test split is read.
    """

    config: ResolvedConfig
    backbone: Backbone
    backbone_args: dict[str, Any]
    weights: WeightsPlan
    runtime: Runtime
    tests: bool = True


def prepare(config: Config, *, tests: bool = True) -> RunSetup:
    """Checks the flags of a training run, and sets up its devices.

    Args:
      config: the configuration as given.
      tests: see `RunSetup`.

    Raises:
      UsageError: the flags are invalid for any data.
      TrainerError: see `make_runtime`.
    """
    check_views(config)
    check_images(config)
    check_dataset(config.dataset)
    backbone = find_backbone(backbone_name(config))
    plan = plan_devices(config)
    resolved = resolve(config, backbone.image_px, on_tpu=plan.on_tpu)
    backbone_args = parse_backbone_args(config.backbone_args)
    check_backbone(resolved.backbone, backbone_args, resolved.image_size)
    check_batch_fits(
        config.batch_size // config.accumulate_steps, resolved.image_size
    )
    read_class_weights(config.class_weights)
    weights = plan_weights(
        resolved.weights,
        backbone=backbone,
        weights_origin=config.weights_origin,
    )
    return RunSetup(
        config=resolved,
        backbone=backbone,
        backbone_args=backbone_args,
        weights=weights,
        runtime=make_runtime(resolved, plan),
        tests=tests,
    )


def read_manifest(
    config: Config,
    earlier: dict[str, Any] | None = None,
    *,
    tests: bool = True,
) -> Manifest:
    """Finds, checks and splits the data of a run.

    If several images cannot be read, it prints all of them before it raises
    the error, which names only one.

    Args:
      config: the resolved configuration.
      earlier: the JSON of the run's manifest, if it has one.
      tests: see `RunSetup`.

    Raises:
      UsageError, TrainerError: see `build_manifest`.
    """
    try:
        with listing_bad_images():
            return _build_manifest(config, earlier, tests)
    except BadRowsError as error:
        print_bad_rows(error)
        raise


@contextlib.contextmanager
def listing_bad_images() -> Iterator[None]:
    """Prints all images that cannot be read, if an error names only one."""
    try:
        yield
    except BadImagesError as error:
        if len(error.bad) > 1:
            for bad in error.bad:
                print(f"cannot be used: {one_line(str(bad))}")
        raise


def open_dataset(
    config: Config, earlier: Mapping[str, Any] | None = None
) -> Source:
    """Finds the samples of `--dataset`; decodes none of them.

    Args:
      config: the configuration.
      earlier: the JSON of the run's manifest, if it has one.

    Raises:
      UsageError, TrainerError: see `sources.open_source`.
    """
    return open_source(
        config.dataset,
        tfds_data_dir=config.tfds_data_dir,
        test_fraction=config.test_fraction,
        columns=config.columns,
        group_by=config.group_by,
        on_bad_row=config.on_bad_image,
        split_names=config.split_names,
        earlier=earlier,
        several=config.task == MULTILABEL,
    )


def print_bad_rows(error: BadRowsError) -> None:
    """Prints the first rows of a table that cannot be used, if several."""
    if len(error.bad) > 1:
        for bad in error.bad[:_MAX_ROWS]:
            print(f"cannot be used: {one_line(str(bad))}")
    if len(error.bad) > _MAX_ROWS:
        print(f"... and {len(error.bad) - _MAX_ROWS} more rows")


def _build_manifest(
    config: Config, earlier: dict[str, Any] | None, tests: bool
) -> Manifest:
    manifest = build_manifest(
        source=open_dataset(config, earlier),
        data_pct=config.data_pct,
        shots=config.shots,
        seed=config.seed,
        batch_size=config.batch_size,
        validation_fraction=config.validation_fraction,
        on_bad_image=config.on_bad_image,
        validation=config.validation_rule,
        earlier=earlier,
        cache=file_cache(config),
        tests=tests,
        on_duplicate=config.on_duplicate,
    )
    _check_labelled(config, manifest)
    return manifest


def _check_labelled(config: Config, manifest: Manifest) -> None:
    """Checks that there are labels to measure, if images may have none."""
    for what, samples in (
        ("validation", manifest.validation),
        ("test", manifest.final),
    ):
        if samples.multilabel and not samples.labels.any():
            raise TrainerError(
                f"--dataset={config.dataset!r}: none of the {len(samples)}"
                f" {what} images has a label, so there is nothing to measure;"
                " add images with labels"
            )
