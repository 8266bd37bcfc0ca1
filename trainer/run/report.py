"""Writes report.html at the end of a run, and again with --stage=report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.config.fields import SOUP
from trainer.data.manifest import UNTESTED, Manifest
from trainer.data.rendering import rendering_of
from trainer.errors import reason_of
from trainer.model.classifier import Classifier
from trainer.model.freeze import FreezePlan, freeze_plan
from trainer.results.commands import command_line
from trainer.results.data_line import data_facts, data_line
from trainer.results.page.run_page import RunFacts, run_page
from trainer.run.examples import ExampleReader, Predicted
from trainer.run.repeat import flags_of, repeat_command
from trainer.workdir import (
    CONFIG,
    EVENTS,
    METRICS,
    REPORT,
    MetricsFile,
    Workdir,
)
from trainer.workdir.stored import stored_config

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Finished:
    """A finished run, of which the report is written.

    Attributes:
      workdir: the workdir of the run.
      config: its configuration.
      manifest: its samples.
      classifier: has the weights of the result.
      logits: float32 (n, classes), of the final samples.
      result: the content of result.json.
      on_tpu: whether the classifier is on a TPU.
    """

    workdir: Workdir
    config: Config
    manifest: Manifest
    classifier: Classifier
    logits: np.ndarray
    result: Mapping[str, Any]
    on_tpu: bool


def write_at_end(finished: Finished) -> bool:
    """Writes the report of a run that has just ended.

    An error is a warning, because result.json has all metrics.

    Returns:
      Whether it was written; False on processes other than the chief, and for
      a run that is not tested, such as a trial of a search.
    """
    workdir = finished.workdir
    untested = finished.manifest.final_split == UNTESTED
    if untested or not workdir.writes:
        return False
    try:
        page = page_of(finished)
        workdir.write_text(REPORT, page)
    except Exception as error:
        # Raises if another process has taken over the workdir.
        workdir.check_held()
        workdir.warn(
            f"{workdir.file(REPORT)}: cannot be written ({reason_of(error)});"
            " the run is complete"
        )
        return False
    return True


def page_of(finished: Finished) -> str:
    """Returns the content of report.html."""
    workdir = finished.workdir
    reader = ExampleReader(
        Predicted.of_logits(finished.manifest.final, finished.logits),
        finished.manifest.class_names,
        image_px=finished.classifier.image_px,
        rendering=rendering_of(finished.config),
    )
    activations, note = _activations(finished, reader)
    stored = workdir.read_json(CONFIG) or {}
    return run_page(
        RunFacts(
            result=finished.result,
            stored=stored,
            lines=MetricsFile(workdir.file(METRICS)).lines(),
            events=MetricsFile(workdir.file(EVENTS)).lines(),
            data=data_line(data_facts(finished.manifest)).partition(": ")[2],
            plans=_plans(finished),
            command=_command(workdir, stored),
            flags=flags_of(stored.get("config", {})),
            mistakes=_tried(finished, "mistakes", reader.mistakes),
            activations=activations,
            activation_note=note,
        )
    )


def _command(workdir: Workdir, stored: Mapping[str, Any]) -> str:
    """Returns the command of the run, or of the soup.

    The configuration of `Finished` may be that of another command.
    """
    if SOUP in stored:
        workdirs = ",".join(stored[SOUP]["workdirs"])
        return command_line({"stage": SOUP, "workdirs": workdirs})
    return repeat_command(stored_config(workdir.file(CONFIG), stored["config"]))


def _plans(finished: Finished) -> list[tuple[str, FreezePlan]]:
    """Returns the freeze plan of each stage of the run."""
    parts = finished.config.finetune_parts
    stages = [
        row["stage"]
        for row in (
            *finished.result.get("earlier_stages", ()),
            finished.result,
        )
    ]
    return [
        (
            stage,
            freeze_plan(
                finished.classifier,
                parts[stage].rule if stage in parts else "none",
            ),
        )
        for stage in stages
    ]


def _activations(
    finished: Finished, reader: ExampleReader
) -> tuple[Sequence[Sequence[Mapping[str, Any]]] | None, str]:
    """Returns the activation maps, or None and a note that says why not."""
    again = "--stage=report on a CPU or GPU computes them."
    if finished.on_tpu:
        return None, f"Not computed on a TPU; {again}"
    found = _tried(
        finished,
        "Grad-CAM",
        lambda: reader.activations(finished.classifier),
    )
    if found is None:
        return None, "The maps could not be computed; see the warnings."
    return found, ""


def _tried(finished: Finished, what: str, find: Callable[[], _T]) -> _T | None:
    """Returns what is found; None, with a warning, if an image is missing."""
    try:
        return find()
    except (OSError, tf.errors.OpError) as error:
        finished.workdir.warn(
            f"{finished.workdir.file(REPORT)}: without the {what}"
            f" ({reason_of(error)})"
        )
        return None
