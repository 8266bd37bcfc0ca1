"""The ingredients of a soup: finished runs whose weights can be averaged."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from trainer.config.recipes import BEFORE_RENDERING
from trainer.config.validation import SPLIT, TEST
from trainer.errors import TrainerError, shortened
from trainer.learning.audit import digests
from trainer.learning.checkpoint_files import checkpoint_step, find_checkpoint
from trainer.learning.restoring import restore_variables
from trainer.learning.start import result_checkpoint
from trainer.run.compare import FinishedRun, check_same_test, finished_run
from trainer.workdir import BACKBONE, CONFIG, MANIFEST, Workdir
from trainer.workdir.stored import TestedSample, tested_samples

# Weights can be averaged only if these flags are equal.
_SAME_FLAGS = (
    "backbone",
    "backbone_args",
    "image_size",
    *BEFORE_RENDERING,
    "precision",
)

Weights = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Ingredient:
    """A finished run, and the checkpoint that its result describes.

    Attributes:
      run: the finished run.
      config: the flags of the run, from config.json.
      architecture: the architecture of the backbone, as JSON.
      validation: the samples that the run was validated on, by id.
      checkpoint: the path prefix of the checkpoint.
    """

    run: FinishedRun
    config: Mapping[str, Any]
    architecture: str
    validation: Mapping[str, TestedSample]
    checkpoint: str

    @property
    def workdir(self) -> Workdir:
        """The workdir of the run."""
        return self.run.workdir

    @property
    def step(self) -> int:
        """The absolute step of the checkpoint."""
        return checkpoint_step(self.checkpoint)


def read_ingredients(paths: Sequence[str]) -> tuple[Ingredient, ...]:
    """Reads finished runs, and checks that their weights can be averaged.

    Args:
      paths: their workdirs, at least two.

    Raises:
      UsageError: a workdir does not exist, or holds a study.
      TrainerError: a run is not finished, or differs from the first in
        backbone, image size, classes, validation samples or test samples.
    """
    found = tuple(_read(path) for path in paths)
    for other in found[1:]:
        _check_same_model(found[0], other)
        # Otherwise one run may have trained on test samples of another.
        check_same_test(found[0].run, other.run)
        _check_same_validation(found[0], other)
    return found


def _read(path: str) -> Ingredient:
    run = finished_run(path)
    stage = run.result["stage"]
    which = result_checkpoint(run.workdir, stage)
    checkpoint = find_checkpoint(run.workdir, stage, which)
    backbone = run.workdir.read_json(BACKBONE)
    if checkpoint is None or backbone is None:
        missing = BACKBONE if backbone is None else f"checkpoint of {stage}"
        raise TrainerError(
            f"--workdirs: {path!r} has no {missing}; restore it, or give"
            " another workdir"
        )
    manifest = run.workdir.read_json(MANIFEST) or {}
    return Ingredient(
        run=run,
        config=(run.workdir.read_json(CONFIG) or {}).get("config", {}),
        architecture=f"{backbone.get('pixels')} {backbone['architecture']}",
        validation=_validation_samples(run.workdir, manifest),
        checkpoint=checkpoint,
    )


def _validation_samples(
    workdir: Workdir, manifest: Mapping[str, Any]
) -> dict[str, TestedSample]:
    """Returns the samples that a run was validated on, by id."""
    # Manifests of earlier versions do not name the source.
    before = TEST if manifest.get("validation_from_test") else SPLIT
    source = manifest.get("validation_source", before)
    split = {SPLIT: "validation", TEST: TEST}.get(source, "train")
    samples = tested_samples(workdir.file(MANIFEST), manifest, split)
    ids = manifest.get("validation_ids", ())
    if not ids or not set(ids) <= samples.keys():
        raise TrainerError(
            f"{workdir.file(MANIFEST)}: its validation_ids are not in the"
            f" split {split}; restore the file, or use another workdir"
        )
    return {sample_id: samples[sample_id] for sample_id in ids}


def _check_same_model(first: Ingredient, other: Ingredient) -> None:
    label = f"--workdirs: {other.workdir.path!r}"
    against = repr(first.workdir.path)
    for name in _SAME_FLAGS:
        mine, theirs = (
            one.config.get(name) or BEFORE_RENDERING.get(name)
            for one in (other, first)
        )
        if mine != theirs:
            raise TrainerError(
                f"{label} has --{name}={shortened(str(mine))}, {against} has"
                f" {shortened(str(theirs))}; give runs with the same value"
            )
    if other.architecture != first.architecture:
        raise TrainerError(
            f"{label} has another form of the backbone than {against}; see"
            f" {BACKBONE}; give runs that started from the same weights"
        )


def _check_same_validation(first: Ingredient, other: Ingredient) -> None:
    if first.validation == other.validation:
        return
    both = first.validation.keys() & other.validation.keys()
    same = sum(first.validation[i] == other.validation[i] for i in both)
    raise TrainerError(
        f"--workdirs: {other.workdir.path!r} was validated on"
        f" {len(other.validation):,} samples, of which {same:,} are among the"
        f" {len(first.validation):,} of {first.workdir.path!r}; give runs with"
        " the same --dataset, --validation, --validation_fraction and"
        " --batch_size"
    )


class WeightSource:
    """Reads the weights of ingredients, and assigns them to a classifier.

    Weights are read one ingredient at a time, so the memory use does not depend
    on the number of ingredients.
    """

    def __init__(
        self,
        ingredients: Sequence[Ingredient],
        variables: Mapping[str, keras.Variable],
    ) -> None:
        """Creates the source.

        Args:
          ingredients: their checkpoints hold the variables.
          variables: the classifier's variables, by key; changed in place.
        """
        self._ingredients = ingredients
        self._variables = variables

    def use(self, index: int) -> Weights:
        """Assigns the weights of an ingredient, and returns them.

        Raises:
          TrainerError: its checkpoint cannot be read.
        """
        restore_variables(self._ingredients[index].checkpoint, self._variables)
        return {key: v.numpy() for key, v in self._variables.items()}

    def use_mean(self, indices: Sequence[int]) -> None:
        """Assigns the mean of the weights of some ingredients.

        The mean is computed in float64. Variables that are not floating point,
        such as the state of a random generator, are copied from the first
        ingredient.

        Args:
          indices: the indices of the ingredients; at least one.
        """
        first, *others = indices
        total = self.use(first)
        floats = [
            key
            for key, value in total.items()
            if np.issubdtype(value.dtype, np.floating)
        ]
        kept = {k: value for k, value in total.items() if k not in floats}
        sums = {k: total[k].astype(np.float64) for k in floats}
        for index in others:
            weights = self.use(index)
            for key in floats:
                sums[key] += weights[key]
        for key, variable in self._variables.items():
            value = kept.get(key)
            if value is None:
                mean = sums[key] / len(indices)
                value = mean.astype(total[key].dtype)
            variable.assign(value)

    def differing(self) -> set[str]:
        """Returns the keys of variables that differ between ingredients."""
        found: set[str] = set()
        first: dict[str, str] = {}
        for index in range(len(self._ingredients)):
            self.use(index)
            now = digests(self._variables)
            first = first or now
            found |= {key for key in now if now[key] != first[key]}
        return found
