"""Runs a probe: measures each backbone, and writes the comparison."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.check import BadImagesError
from trainer.data.dataset_flag import check_dataset
from trainer.data.rendering import rendering_of
from trainer.data.table import BadRowsError
from trainer.data.training_split import TrainingSplit, training_split
from trainer.errors import TrainerError, one_line, reason_of
from trainer.learning.head_path import FOLDS, L2_VALUES, folds_of
from trainer.model.weights.plan import weights_digest
from trainer.probe import chart, child
from trainer.probe.candidates import Candidate, find_candidates
from trainer.probe.measure import unmeasured
from trainer.probe.row import Row, row_from_json
from trainer.probe.scores import NEIGHBOURS
from trainer.probe.table import (
    command_line,
    equals_of_best,
    ranked,
    recommended,
    table_lines,
)
from trainer.results.data_line import (
    data_line,
    training_facts,
    training_warnings,
)
from trainer.run.caches import file_cache
from trainer.run.prepare import open_dataset, print_bad_rows
from trainer.run.resolve import default_workdir
from trainer.workdir import Workdir
from trainer.workdir.lock import locked

PROBE_JSON, PROBE_PNG = "probe.json", "probe.png"


def probe(config: Config) -> None:
    """Compares backbones on the training images.

    Writes probe.json after every backbone, so that the same command goes on
    where it was stopped.

    Args:
      config: of the command.

    Raises:
      UsageError: a flag is invalid, or weights are not on this machine.
      TrainerError: the data cannot be used; or every backbone failed.
      Stopped: a signal arrived.
    """
    check_dataset(config.dataset)
    candidates = find_candidates(config)
    # The images are checked on the CPU, and GPUs are left to the processes
    # that measure, unless this one already uses them, as a notebook may.
    with contextlib.suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")
    workdir = Workdir(config.workdir or default_workdir(config))
    print(f"workdir: {one_line(workdir.path)}", flush=True)
    new = workdir.create()
    try:
        with locked(workdir):
            workdir.remove_partial()
            _probe(config, candidates, workdir)
    except BaseException:
        if new:
            workdir.remove_if_empty()
        raise


def _probe(
    config: Config, candidates: Sequence[Candidate], workdir: Workdir
) -> None:
    split = _read_split(config)
    _print_data(config, split)
    record = _Record(config, split, workdir)
    record.add(candidates)
    rows = record.rows
    print()
    for line in table_lines(rows):
        print(line)
    chosen = recommended(rows)
    if chosen is None:
        raise TrainerError(
            f"--stage=probe: none of the {len(rows)} backbones could be"
            f" measured; the first error is {rows[0].label}: {rows[0].error};"
            " give other --backbones"
        )
    equal = equals_of_best(rows)
    best = one_line(equal[0].label)
    print(f"* accuracy within the 95 % interval of the best, {best}")
    print(f"recommended: {one_line(chosen.label)}{_why(equal)}")
    _draw(rows, workdir)
    print(f"to train it:\n  {command_line(config, chosen)}")


def _why(equal: Sequence[Row]) -> str:
    """Returns why one of several equal backbones is recommended."""
    if not equal[1:]:
        return ""
    unknown = any(row.images_per_second is None for row in equal)
    return f", the {'smallest' if unknown else 'fastest'} of these"


def _read_split(config: Config) -> TrainingSplit:
    """Reads the training samples; prints all bad images before it fails."""
    try:
        return training_split(
            source=open_dataset(config),
            data_pct=config.data_pct,
            seed=config.seed,
            on_bad_image=config.on_bad_image,
            cache=file_cache(config),
            shots=config.shots,
        )
    except BadImagesError as error:
        if len(error.bad) > 1:
            for bad in error.bad:
                print(f"cannot be used: {one_line(str(bad))}")
        raise
    except BadRowsError as error:
        print_bad_rows(error)
        raise


def _print_data(config: Config, split: TrainingSplit) -> None:
    """Prints what is compared on, and warns of what looks wrong."""
    held_out = _held_out(split, config.seed)
    facts = training_facts(split, held_out, f"{FOLDS}-fold cross-validation")
    print(data_line(facts), flush=True)
    for text in training_warnings(facts, config):
        print(f"warning: {text}", flush=True)


def _held_out(split: TrainingSplit, seed: int) -> np.ndarray:
    """Returns int (classes,), the samples of each class held out once.

    Raises:
      TrainerError: every class has one sample.
    """
    samples = split.samples
    folds = folds_of(
        samples.ids, samples.labels, seed=seed, groups=samples.groups
    )
    held_out = np.flatnonzero(folds >= 0)
    if not len(held_out):
        raise TrainerError(
            f"--dataset: {split.name} has one training image per class, so none"
            " can be held out; give more images, or a larger --data_pct"
        )
    return split.samples.take(held_out).counts(len(split.class_names))


class _Record:
    """The rows of a probe, and probe.json.

    Attributes:
      rows: in the order of the candidates.
    """

    def __init__(
        self, config: Config, split: TrainingSplit, workdir: Workdir
    ) -> None:
        """Reads the rows of earlier probes in the workdir."""
        self.rows: list[Row] = []
        self._config = config
        self._split = split
        self._workdir = workdir
        self._known = _known_rows(workdir)
        self._cache = file_cache(config)

    def add(self, candidates: Sequence[Candidate]) -> None:
        """Measures backbones that have no row yet, and writes probe.json."""
        keys = [_key(candidate, self._split) for candidate in candidates]
        missing = sum(key not in self._known for key in keys)
        with child.Processes(missing) as processes:
            for candidate, key in zip(candidates, keys, strict=True):
                self.rows.append(self._row(candidate, key, processes))
                self._write()

    def _row(
        self, candidate: Candidate, key: str, processes: child.Processes
    ) -> Row:
        label = candidate.label
        row = self._known.get(key)
        if row is not None:
            print(f"{one_line(label)}: in {PROBE_JSON}", flush=True)
            # The same backbone may be written in another way.
            return dataclasses.replace(row, label=label)
        print(f"{one_line(label)}: measuring", flush=True)
        job = child.Job(
            candidate=candidate,
            split=self._split,
            key=key,
            measured=self._cache.read(_done(key)) is not None,
        )
        try:
            row = processes.measure(job)
        except TrainerError as error:
            self._workdir.warn(one_line(f"{label}: {error}"))
            return unmeasured(candidate, key, str(error))
        self._cache.write(_done(key), b"1")
        return row

    def _write(self) -> None:
        shown = {row.key for row in self.rows}
        others = [row for key, row in self._known.items() if key not in shown]
        chosen = recommended(self.rows)
        self._workdir.write_json(
            PROBE_JSON,
            {
                "dataset": self._split.name,
                "fingerprint": self._split.fingerprint,
                "classes": list(self._split.class_names),
                "train_examples": len(self._split.samples),
                "folds": FOLDS,
                "neighbours": NEIGHBOURS,
                "test_split_used": False,
                "rows": [row.to_json() for row in ranked(self.rows)],
                "within_interval_of_best": [
                    row.label for row in equals_of_best(self.rows)
                ],
                "recommended": chosen.label if chosen else None,
                "command": command_line(self._config, chosen)
                if chosen
                else None,
                # Of other data or backbones; a probe of these finds them.
                "earlier_rows": [row.to_json() for row in others],
            },
        )


def _done(key: str) -> Mapping[str, Any]:
    """Returns the cache key of the note that a backbone was measured."""
    return {"kind": "probed", "key": key}


def _known_rows(workdir: Workdir) -> dict[str, Row]:
    """Returns the complete rows of probe.json, by key."""
    try:
        stored = workdir.read_json(PROBE_JSON) or {}
    except TrainerError as error:
        workdir.warn(f"{error}; all backbones are measured again")
        return {}
    found: dict[str, Row] = {}
    for name in ("rows", "earlier_rows"):
        values = stored.get(name)
        for value in values if isinstance(values, list) else []:
            row = row_from_json(value)
            if row is not None:
                found.setdefault(row.key, row)
    return found


def _key(candidate: Candidate, split: TrainingSplit) -> str:
    """Returns a digest of everything that a row depends on."""
    config = candidate.config
    fields: Mapping[str, Any] = {
        "format": 1,
        "fingerprint": split.fingerprint,
        "backbone": config.backbone,
        "backbone_args": config.backbone_args,
        "weights": weights_digest(candidate.weights),
        "weights_kind": candidate.weights.kind,
        "weights_origin": config.weights_origin,
        "image_px": config.image_size,
        "seed": config.seed,
        "trunk_engine": config.trunk_engine,
        "folds": FOLDS,
        "l2_values": L2_VALUES,
        "neighbours": NEIGHBOURS,
        "versions": [tf.__version__, keras.__version__],
        **rendering_of(config).key_fields(),
    }
    text = json.dumps(fields, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _draw(rows: Sequence[Row], workdir: Workdir) -> None:
    """Writes the chart, or warns; probe.json has all its numbers."""
    path = workdir.file(PROBE_PNG)
    try:
        image = chart.draw(rows)
        if image is not None:
            workdir.write_bytes(PROBE_PNG, image)
            print(f"chart: {one_line(path)}")
    except Exception as error:
        workdir.warn(f"{path}: cannot be written ({reason_of(error)})")
