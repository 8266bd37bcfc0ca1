"""Exports the trained classifier of a workdir."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from trainer.config import Config
from trainer.config.export_formats import parse_formats
from trainer.config.fields import INT8, TFLITE
from trainer.data.manifest import Manifest
from trainer.data.rendering import rendering_fields, rendering_of
from trainer.errors import TrainerError, UsageError, one_line
from trainer.results.calibration import Calibration
from trainer.results.escaping import for_terminal
from trainer.results.export import Formats, write_export
from trainer.results.format_check import Measurement
from trainer.run.calibrate import stored_calibration
from trainer.run.card_facts import card_facts
from trainer.run.export_check import FormatCheck
from trainer.run.export_checks import check_formats
from trainer.run.export_images import (
    calibration_images,
    find_images,
    generated_images,
    images_to_compare,
    images_to_measure,
)
from trainer.run.label_thresholds import trained_thresholds
from trainer.run.trained import Trained, open_trained
from trainer.workdir import EXPORT_FOLDER


def export(config: Config, given: frozenset[str]) -> str:
    """Writes the models of --export_formats, and compares their predictions.

    Args:
      config: the configuration, with stage export.
      given: see `use.evaluate`.

    Returns:
      The folder that was written.

    Raises:
      UsageError: the workdir does not exist, or a format cannot be written.
      TrainerError: an exported model predicts something else; or the folder
        cannot be replaced.
    """
    _check(config)
    trained = open_trained(config, given)
    manifest = find_images(trained, given)
    formats = _formats(config, trained, manifest)
    check = _format_check(config, trained, manifest)
    folder = config.output or trained.workdir.file(EXPORT_FOLDER)
    calibration = stored_calibration(trained)
    side = trained.classifier.image_px
    encoded = images_to_compare(
        None if manifest is None else manifest.final, side
    )
    measured: list[Measurement] = []

    def measure(written: str) -> Measurement:
        measured.append(check.measure(written, formats))
        return measured[0]

    differences = write_export(
        folder,
        trained.classifier,
        trained.class_names,
        encoded,
        {
            "stage": trained.stage,
            "checkpoint": trained.which,
            "step": trained.step,
            "tta": trained.run.tta,
            "calibration": calibration.to_json(),
            **rendering_fields(trained.run),
        },
        temperature=calibration.temperature if calibration.fitted else None,
        flip=trained.flips,
        rendering=rendering_of(trained.run),
        thresholds=check.thresholds,
        formats=formats,
        measure=measure,
        card=card_facts(trained, manifest, calibration),
    )
    _print(trained, calibration, differences, len(encoded))
    print("\n".join(measured[0].lines()))
    print(f"export: {one_line(folder)}")
    return folder


def _check(config: Config) -> None:
    check_formats(config)
    if TFLITE in parse_formats(config.export_formats) and not hasattr(
        tf, "lite"
    ):
        raise UsageError(
            f"--export_formats={config.export_formats}: this TensorFlow has no"
            f" tf.lite; leave {TFLITE} out"
        )


def _formats(
    config: Config, trained: Trained, manifest: Manifest | None
) -> Formats:
    """Returns the models to write, with the images that int8 needs.

    Raises:
      TrainerError: these images cannot be read.
    """
    names = parse_formats(config.export_formats)
    if config.quantize != INT8:
        return Formats(names, config.quantize)
    if manifest is None:
        raise TrainerError(
            f"--quantize={INT8}: measures ranges on training photos, but the"
            " run's photos cannot be read; give --dataset=FOLDER, or another"
            " --quantize"
        )
    images = calibration_images(
        manifest.train, trained.classifier.image_px, rendering_of(trained.run)
    )
    return Formats(names, config.quantize, images)


def _format_check(
    config: Config, trained: Trained, manifest: Manifest | None
) -> FormatCheck:
    side, several = trained.classifier.image_px, trained.classifier.multilabel
    pixels, labels = (
        (generated_images(side), None)
        if manifest is None
        else images_to_measure(manifest.final, side, rendering_of(trained.run))
    )
    return FormatCheck(
        classifier=trained.classifier,
        flip=trained.flips,
        thresholds=trained_thresholds(trained) if several else None,
        pixels=pixels,
        labels=labels,
        of_images=None if manifest is None else len(manifest.final),
        split="" if manifest is None else manifest.final_split,
        force=config.force,
        warn=trained.workdir.warn,
    )


def _print(
    trained: Trained,
    calibration: Calibration,
    differences: Mapping[str, float],
    images: int,
) -> None:
    print(f"exported {trained.title}")
    print(
        f"  calibrated_probabilities: temperature {calibration.temperature:.3g}"
        if calibration.fitted
        else f"  no temperature, because {for_terminal(calibration.why_not)}"
    )
    for name, difference in differences.items():
        print(
            f"  {name}: largest difference of a probability {difference:.1e}"
            f" on {images} images"
        )
