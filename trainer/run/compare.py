"""Compares finished runs on their test samples, without TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
from typing import Any

import numpy as np

from trainer.config import Config
from trainer.config.fields import MULTILABEL
from trainer.config.ranges import parse_workdirs
from trainer.config.usage import command_name
from trainer.errors import TrainerError, UsageError, shortened
from trainer.results.comparison import ComparedRun, compare_runs
from trainer.results.predictions_file import (
    SamplePredictions,
    parse_predictions,
)
from trainer.storage import files
from trainer.workdir import CONFIG, MANIFEST, PREDICTIONS, RESULT, Workdir
from trainer.workdir.stored import MAX_BYTES, TestedSample, tested_samples

_SEED_FOLDER = re.compile(r"seed\d+")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FinishedRun:
    """The test results of a finished run, from its workdir.

    Attributes:
      workdir: as the user named it.
      result: the content of result.json.
      class_names: in the order of the labels.
      final_split: the split that the run was tested on.
      samples: the test samples, by id.
    """

    workdir: Workdir
    result: dict[str, Any]
    class_names: tuple[str, ...]
    final_split: str
    samples: dict[str, TestedSample]


def compare(config: Config) -> None:
    """Prints how the runs of `--workdirs` differ, and writes `--output`.

    Raises:
      UsageError: a workdir does not exist, or is that of a study.
      TrainerError: a run is not finished, a file of it is missing or damaged,
        or the runs were not tested on the same samples.
    """
    assert config.workdirs is not None
    runs = [finished_run(path) for path in parse_workdirs(config.workdirs)]
    for other in runs[1:]:
        check_same_test(runs[0], other)
    order = sorted(runs[0].samples)
    comparison = compare_runs(
        tuple(
            ComparedRun(
                workdir=run.workdir.path,
                stage=run.result["stage"],
                correct=_correct(run, order),
            )
            for run in runs
        ),
        final_split=runs[0].final_split,
        classes=len(runs[0].class_names),
        seed=config.seed,
    )
    print("\n".join(comparison.lines()), flush=True)
    if config.output is not None:
        _write(config.output, comparison.to_json())


def finished_run(path: str) -> FinishedRun:
    """Reads the test results of a finished run.

    Raises:
      UsageError: the workdir does not exist, or holds a study.
      TrainerError: the run is not finished, or one of its files is damaged.
    """
    workdir = Workdir(path)
    workdir.require("workdirs")
    label = f"--workdirs: {path!r}"
    models = _models_of_study(path)
    if models:
        raise UsageError(
            f"{label} is the workdir of a study; give those of its models,"
            f" such as {','.join(models[:2])}"
        )
    manifest = workdir.read_json(MANIFEST)
    if workdir.read_json(CONFIG) is None or manifest is None:
        raise TrainerError(
            f"{label} holds no run; give workdirs of finished training runs"
        )
    result = workdir.read_json(RESULT)
    if result is None:
        raise TrainerError(
            f"{label}: its run is not finished; finish it with the command"
            " that began it, or give another workdir"
        )
    if result.get("task") == MULTILABEL:
        raise TrainerError(
            f"{label}: its images have several labels, which cannot be"
            " compared or averaged yet; give runs of images with one label"
        )
    return FinishedRun(
        workdir=workdir,
        result=result,
        class_names=tuple(manifest["class_names"]),
        final_split=result["final_split"],
        samples=tested_samples(
            workdir.file(MANIFEST), manifest, result["final_split"]
        ),
    )


def _models_of_study(path: str) -> list[str]:
    """Returns the workdirs of a study's models; [] if it is no study."""
    return [
        os.path.join(path, seed, model)
        for seed in files.names(path)
        if _SEED_FOLDER.fullmatch(seed)
        for model in files.names(os.path.join(path, seed))
    ]


def check_same_test(first: FinishedRun, other: FinishedRun) -> None:
    """Checks that both runs were tested on the same samples.

    Raises:
      TrainerError: classes, ids, labels or contents differ.
    """
    label = f"--workdirs: {other.workdir.path!r}"
    against = repr(first.workdir.path)
    if first.class_names != other.class_names:
        raise TrainerError(
            f"{label} has the classes {_listed(other.class_names)}, {against}"
            f" has {_listed(first.class_names)}; give runs of the same classes"
        )
    what = _difference(first.samples, other.samples)
    if what is not None:
        raise TrainerError(
            f"{label} was not tested on the samples of {against}: {what}; give"
            " runs with the same --dataset and --test_fraction, and unchanged"
            " images"
        )


def _difference(
    first: dict[str, TestedSample], other: dict[str, TestedSample]
) -> str | None:
    """Returns how the samples differ; None if they do not."""
    both = sorted(first.keys() & other.keys())
    found = {
        "missing": sorted(first.keys() - other.keys()),
        "additional": sorted(other.keys() - first.keys()),
        "with another label": [
            i for i in both if first[i].label != other[i].label
        ],
        "with another content": [
            i for i in both if first[i].digest != other[i].digest
        ],
    }
    parts = [
        f"{len(ids):,} {how} (such as {shortened(ids[0], 60)!r})"
        for how, ids in found.items()
        if ids
    ]
    return ", ".join(parts) if parts else None


def _listed(names: tuple[str, ...]) -> str:
    return shortened(str(list(names)))


def _correct(run: FinishedRun, order: list[str]) -> np.ndarray:
    """Returns whether the run classifies each sample correctly, bool (n,).

    Args:
      run: the run.
      order: ids of its test samples, in the order of the result.
    """
    predictions = _predictions(run)
    found = dict(zip(predictions.ids, predictions.correct, strict=True))
    return np.array([found[sample_id] for sample_id in order], bool)


def _predictions(run: FinishedRun) -> SamplePredictions:
    """Reads predictions.csv.

    Raises:
      TrainerError: it is missing or damaged, or of other samples.
    """
    path = run.workdir.file(PREDICTIONS)
    command = (
        f"{command_name()} --stage=evaluate"
        f" --workdir={shlex.quote(run.workdir.path)}"
    )
    remedy = f"write it again with: {command}"
    try:
        size = files.stat(path).st_size
        data = files.read(path) if size <= MAX_BYTES else None
    except FileNotFoundError:
        raise TrainerError(
            f"{path}: missing, as in runs of an earlier version; write it"
            f" with: {command}"
        ) from None
    if data is None:
        raise TrainerError(f"{path}: has {size:,} bytes; {remedy}")
    found = parse_predictions(path, data, run.class_names, remedy=remedy)
    labels = {i: sample.label for i, sample in run.samples.items()}
    if labels != dict(zip(found.ids, found.labels.tolist(), strict=True)):
        raise TrainerError(
            f"{path}: its samples are not those of {MANIFEST}; {remedy}"
        )
    return found


def _write(path: str, values: dict[str, Any]) -> None:
    try:
        with files.output_stream(path) as stream:
            json.dump(values, stream, indent=2, ensure_ascii=False)
            stream.write("\n")
    except OSError as error:
        raise TrainerError(
            f"--output={path!r}: cannot be written to ({error.strerror}); give"
            " another file"
        ) from error
