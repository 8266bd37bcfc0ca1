"""The line that says what a run trains on, and what looks wrong about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from trainer.config.fields import DEMO_BACKBONE, FEATURE_EXTRACT, NONE, Fields
from trainer.config.unfreeze import parse_parts
from trainer.config.validation import SPLIT, TEST, TRAIN
from trainer.data.passed_over import PassedOver
from trainer.data.sample_weights import weights_phrase
from trainer.data.samples import HELD_OUT
from trainer.errors import counted
from trainer.results.escaping import for_terminal

if TYPE_CHECKING:
    from trainer.data.manifest import Manifest
    from trainer.data.samples import Samples
    from trainer.data.training_split import TrainingSplit

# Below these the accuracy of two epochs differs by chance; at 100 images, the
# standard error of an accuracy of 0.9 is 0.03.
_MIN_VALIDATION, _MIN_VALIDATION_PER_CLASS = 100, 3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DataFacts:
    """The facts that the line shows.

    Attributes:
      class_names: in the order of the labels.
      train: int (classes,), training samples of each class.
      train_total: readable samples of the training split, before `data_pct`
        and before any is held out.
      validation: int (classes,), validation samples of each class.
      validation_source: SPLIT, TEST, TRAIN, or a phrase such as 'fold 2 of 5'.
      final: int (classes,), samples of each class that results are of.
      final_split: 'test', 'validation' or another word if no split is read.
      origins: where the splits come from; see `samples.Source`.
      groups: number of groups of training samples.
      weights: of the training samples; None if all are 1, or if they are not
        used.
      skipped: images left out because they cannot be read.
      bad_rows: rows of a table that were left out.
      passed_over: files that are not used.
      notes: see `samples.Source`.
      labelled: if a sample may have several labels, the number of samples to
        train on, to validate on, and that results are of; else None.
    """

    class_names: tuple[str, ...]
    train: np.ndarray
    train_total: int
    validation: np.ndarray
    validation_source: str
    final: np.ndarray
    final_split: str
    origins: Mapping[str, str]
    groups: int
    weights: np.ndarray | None = None
    skipped: int
    bad_rows: int
    passed_over: PassedOver
    notes: tuple[str, ...]
    labelled: tuple[int, int, int] | None = None

    @property
    def photos(self) -> tuple[int, int, int]:
        """Number of samples to train on, to validate on, and to test on."""
        if self.labelled is not None:
            return self.labelled
        counts = (self.train, self.validation, self.final)
        train, validation, final = (int(count.sum()) for count in counts)
        return train, validation, final


def data_facts(manifest: Manifest) -> DataFacts:
    """Returns the facts of a manifest."""
    classes = len(manifest.class_names)
    sizes = len(manifest.train), len(manifest.validation), len(manifest.final)
    return DataFacts(
        class_names=manifest.class_names,
        train=manifest.train.counts(classes),
        train_total=manifest.train_total,
        validation=manifest.validation.counts(classes),
        validation_source=manifest.validation_source,
        final=manifest.final.counts(classes),
        final_split=manifest.final_split,
        origins=manifest.origins,
        groups=_groups(manifest.train),
        weights=manifest.train.weights,
        skipped=len(manifest.skipped),
        bad_rows=len(manifest.bad_rows),
        passed_over=manifest.passed_over,
        notes=manifest.notes,
        labelled=sizes if manifest.train.multilabel else None,
    )


def training_facts(
    split: TrainingSplit, held_out: np.ndarray, how: str
) -> DataFacts:
    """Returns the facts of a stage that reads the training split alone.

    Args:
      split: the training split.
      held_out: int (classes,), samples of each class that are held out once
        in cross-validation.
      how: how samples are held out, such as '5-fold cross-validation'.
    """
    return DataFacts(
        class_names=split.class_names,
        train=split.samples.counts(len(split.class_names)),
        train_total=split.total,
        validation=held_out,
        validation_source=how,
        final=np.zeros_like(held_out),
        final_split="",
        origins=split.origins,
        groups=_groups(split.samples),
        weights=None,
        skipped=split.skipped,
        bad_rows=split.bad_rows,
        passed_over=split.passed_over,
        notes=split.notes,
    )


def data_line(facts: DataFacts) -> str:
    """Returns what a run trains on, in one line."""
    labels = [_labels(facts)] if facts.labelled else []
    parts = [
        _classes_phrase(facts),
        *labels,
        f"train: {_train(facts)}",
        f"validation: {_validation(facts)}",
        f"test: {_final(facts)}",
        _sizes(facts),
    ]
    if facts.groups:
        parts.append(f"{counted(facts.groups, 'group')} of training photos")
    if facts.weights is not None:
        parts.append(f"{weights_phrase(facts.weights)} in the training loss")
    if facts.bad_rows:
        parts.append(f"{counted(facts.bad_rows, 'unusable row')} left out")
    if facts.skipped:
        parts.append(f"{counted(facts.skipped, 'unreadable photo')} left out")
    parts += facts.passed_over.lines()
    return f"data: {'; '.join(parts)}"


def data_warnings(facts: DataFacts, fields: Fields) -> Iterator[str]:
    """Yields the text of a warning for each thing that looks wrong.

    Args:
      facts: of the data.
      fields: the resolved flags of the run.
    """
    yield from training_warnings(facts, fields)
    yield from _few_validation(facts)
    yield from _swapped(facts)
    yield from _dead_network(fields)


def training_warnings(facts: DataFacts, fields: Fields) -> Iterator[str]:
    """Yields the warnings about the training images alone."""
    yield from map(for_terminal, facts.notes)
    ones = np.flatnonzero(facts.train == 1)
    if not len(ones) or fields.shots == 1:
        return
    if fields.data_pct < 1:
        yield (
            f"one training photo only in {len(ones):,} of"
            f" {_classes_phrase(facts)}, because --data_pct is"
            f" {fields.data_pct:g} %; {100 * fields.data_pct:g} % is"
            f" --data_pct={100 * fields.data_pct:g}"
        )
        return
    names = ", ".join(for_terminal(facts.class_names[i]) for i in ones[:5])
    more = f" and {len(ones) - 5:,} more" if len(ones) > 5 else ""
    remedy = "add photos, or remove the class"
    if fields.data_pct < 100:
        remedy = f"--data_pct is {fields.data_pct:g} %; add photos, or use more"
    yield f"one training photo only in {names}{more}; {remedy}"


def _swapped(facts: DataFacts) -> Iterator[str]:
    """Yields a warning if more photos are tested on than trained on."""
    tests = facts.photos[2]
    if facts.final_split != TEST or tests <= facts.train_total:
        return
    remedy = (
        "if the folders are exchanged, name them by --train_split and"
        " --test_split"
    )
    if not facts.origins.get(TRAIN, "/").endswith("/"):
        remedy = "check the column of splits"
    if _is_held_out(facts, TEST):
        remedy = "give a smaller --test_fraction"
    yield (
        f"{tests:,} test photos are more than the {facts.train_total:,}"
        f" training photos; {remedy}"
    )


def _few_validation(facts: DataFacts) -> Iterator[str]:
    total, least = facts.photos[1], int(facts.validation.min())
    if total < _MIN_VALIDATION:
        what = f"{counted(total, 'validation photo')} in all"
    elif least < _MIN_VALIDATION_PER_CLASS:
        name = for_terminal(facts.class_names[int(facts.validation.argmin())])
        what = f"{counted(least, 'validation photo')} of {name}"
    else:
        return
    remedy = "add photos, or compare by --validation=kfold:5"
    if facts.labelled:
        remedy = "add photos"
    if facts.validation_source == TEST and total < facts.photos[2]:
        remedy = "--validation_fraction=1 uses all test photos"
    elif facts.validation_source not in (SPLIT, TEST, TRAIN) or (
        # The trials of a search read no test split, and take no folds.
        facts.final_split not in (TEST, "validation")
    ):
        remedy = "add photos"
    metric = "mAP and thresholds vary" if facts.labelled else "accuracy varies"
    yield f"only {what}, so validation {metric} by chance; {remedy}"


def _dead_network(fields: Fields) -> Iterator[str]:
    """Yields a line if a random backbone stays frozen."""
    parts = parse_parts(fields.unfreeze)
    rules = [part.rule for part in parts] or [fields.unfreeze]
    frozen = fields.stage == FEATURE_EXTRACT or "all" not in rules
    if fields.weights != NONE or fields.init_from or not frozen:
        return
    remedy = "give --weights=imagenet, or --stage=finetune --unfreeze=all"
    if fields.backbone != DEMO_BACKBONE:
        remedy += (
            f"; without a network, --backbone={DEMO_BACKBONE} has ImageNet"
            " weights on this machine"
        )
    yield (
        "--weights=none without --unfreeze=all: frozen layers keep their random"
        f" weights and never learn; {remedy}"
    )


def _train(facts: DataFacts) -> str:
    count = facts.photos[0]
    of = f"{count:,} of " if count < facts.train_total else ""
    return f"{of}{counted(facts.train_total, 'photo')}{_from(facts, 'train')}"


def _validation(facts: DataFacts) -> str:
    count = facts.photos[1]
    if facts.validation_source == SPLIT:
        return f"{counted(count, 'photo')}{_from(facts, 'validation')}"
    if facts.validation_source == TEST:
        return f"{count:,} of the test photos"
    where = "" if facts.validation_source == TRAIN else facts.validation_source
    of = f"{where} of" if where else "held out from"
    return f"{counted(count, 'photo')}, {of} the training photos"


def _final(facts: DataFacts) -> str:
    if facts.final_split == TEST:
        return f"{counted(facts.photos[2], 'photo')}{_from(facts, TEST)}"
    if facts.final_split == "validation":
        return "none, so the results are of the validation photos"
    return "not read"


def _classes_phrase(facts: DataFacts) -> str:
    return f"{len(facts.class_names):,} classes"


def _labels(facts: DataFacts) -> str:
    mean = facts.train.sum() / max(facts.photos[0], 1)
    return f"{mean:.2f} labels per training photo"


def _sizes(facts: DataFacts) -> str:
    small, large = int(facts.train.argmin()), int(facts.train.argmax())
    if facts.train[small] == facts.train[large]:
        return f"{counted(int(facts.train[small]), 'photo')} of each class"
    names = [for_terminal(facts.class_names[i]) for i in (small, large)]
    return (
        f"smallest class {names[0]} with {facts.train[small]:,}, largest"
        f" {names[1]} with {facts.train[large]:,}"
    )


def _from(facts: DataFacts, split: str) -> str:
    """Returns ` from photos/train/`, or ` held out from photos/`."""
    origin = for_terminal(facts.origins.get(split, ""))
    if not origin:
        return ""
    return f" {origin}" if _is_held_out(facts, split) else f" from {origin}"


def _is_held_out(facts: DataFacts, split: str) -> bool:
    return facts.origins.get(split, "").startswith(HELD_OUT)


def _groups(samples: Samples) -> int:
    """Returns the number of groups; a sample without one counts as one."""
    named = set(samples.groups) - {""}
    return len(named) + samples.groups.count("") if named else 0
