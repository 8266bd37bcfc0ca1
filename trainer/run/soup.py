"""Averages the weights of finished runs into a new workdir."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from trainer.config import Config
from trainer.config.fields import EVALUATE, SOUP
from trainer.config.ranges import parse_workdirs
from trainer.data.manifest import Manifest
from trainer.errors import TrainerError, first_line, reason_of
from trainer.learning.checkpoint_files import LAST, PREFIX
from trainer.learning.start import stage_marker
from trainer.model.freeze import freeze_plan
from trainer.results.escaping import for_terminal
from trainer.results.evaluate import Evaluator
from trainer.results.greedy_soup import Score, Trial, greedy_soup
from trainer.results.predictions_file import write_predictions
from trainer.results.report import result_lines
from trainer.run.calibrate import final_metrics
from trainer.run.ingredients import Ingredient, WeightSource, read_ingredients
from trainer.run.prepare import read_manifest
from trainer.run.soup_result import soup_result
from trainer.run.trained import (
    Trained,
    open_fast_paths,
    open_trained,
    with_data,
)
from trainer.storage import files
from trainer.workdir import BACKBONE, CONFIG, MANIFEST, RESULT, Workdir
from trainer.workdir.folds import check_no_folds
from trainer.workdir.lock import locked
from trainer.workdir.stored import stored_config


def soup(config: Config, given: frozenset[str]) -> None:
    """Writes the greedy soup of `--workdirs` to the new `--workdir`.

    Ingredients are selected on the validation samples of the runs. The test
    samples are used once, for the final soup.

    Args:
      config: the configuration, with stage soup.
      given: names of the flags given explicitly.

    Raises:
      UsageError: a workdir does not exist.
      TrainerError: the runs cannot be averaged, or `--workdir` holds something
        else.
    """
    assert config.workdir is not None
    assert config.workdirs is not None
    paths = parse_workdirs(config.workdirs)
    ingredients = read_ingredients(paths)
    workdir = Workdir(config.workdir)
    check_no_folds(workdir, "workdir")
    if _is_complete(workdir, _facts(ingredients)):
        return
    new = workdir.create()
    try:
        with locked(workdir):
            workdir.remove_partial()
            _cook(config, given, ingredients, workdir)
    except tf.errors.OpError as error:
        raise TrainerError(
            f"{SOUP}: {first_line(error)}; fix the cause, and start again"
        ) from error
    finally:
        if new:
            workdir.remove_if_empty()


def _facts(ingredients: Sequence[Ingredient]) -> dict[str, Any]:
    """Returns what config.json records about the ingredients."""
    return {
        "workdirs": [files.absolute(i.workdir.path) for i in ingredients],
        "steps": [i.step for i in ingredients],
        # A run may be trained again in the same folder.
        "results": [_digest(i.run.result) for i in ingredients],
    }


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _is_complete(workdir: Workdir, facts: dict[str, Any]) -> bool:
    """Prints the result and returns True if the soup is complete.

    Raises:
      TrainerError: the workdir holds something else, such as a run or a soup
        of other runs.
    """
    stored = workdir.read_json(CONFIG)
    if stored is None:
        # A search or a probe has no config.json. A soup that was stopped may
        # have left the first of its files.
        workdir.check_holds_only((BACKBONE, MANIFEST), SOUP)
        return False
    if stored.get(SOUP) != facts:
        what = "a soup of other runs" if SOUP in stored else "a run"
        raise TrainerError(
            f"--workdir={workdir.path!r}: holds {what}; give a new folder"
        )
    result = workdir.read_json(RESULT)
    if result is None:
        return False
    print("the weights were averaged already; the results:")
    print("\n".join(result_lines(result, workdir.path)))
    return True


def _cook(
    config: Config,
    given: frozenset[str],
    ingredients: Sequence[Ingredient],
    workdir: Workdir,
) -> None:
    """Selects the ingredients, and writes the soup to the locked workdir."""
    trained = _open(config, given, ingredients[0])
    manifest = _manifest(trained, ingredients[0])
    if manifest.validates_on_final:
        workdir.warn(
            "the runs were validated on images of the"
            f" {manifest.final_split} split, so the weights are chosen on"
            " images of the result, whose accuracy is too high; give runs"
            " trained with --validation=train:0.1"
        )
    source = WeightSource(ingredients, trained.classifier.variables)
    evaluator = _evaluator(trained, manifest, source)

    def score() -> Score:
        found = evaluator.evaluate(manifest.validation, again=True)
        return Score(accuracy=found.accuracy, loss=found.loss)

    def score_of_mean(indices: Sequence[int]) -> Score:
        source.use_mean(indices)
        return score()

    alone = [score_of_mean((index,)) for index in range(len(ingredients))]
    trials = greedy_soup(alone, score_of_mean)
    for trial in trials:
        print(_trial_line(trial, ingredients), flush=True)
    source.use_mean([trial.index for trial in trials if trial.accepted])
    if trained.flips:
        evaluator = _evaluator(trained, manifest, source, flip=True)
    evaluation = evaluator.evaluate(manifest.final, outputs=True)
    metrics = final_metrics(manifest, evaluator, evaluation)
    result = soup_result(ingredients, trials, manifest, metrics)
    _write(workdir, ingredients, trials[0], result)
    write_predictions(workdir, manifest.final, evaluation)
    _write_weights(workdir, trained, result)
    # Written last: if it is missing, the same command writes everything again.
    workdir.write_json(RESULT, result)
    print("\n".join(result_lines(result, workdir.path)), flush=True)


def _open(
    config: Config, given: frozenset[str], ingredient: Ingredient
) -> Trained:
    """Opens the classifier and the devices as `evaluate` does."""
    of_one = dataclasses.replace(
        config,
        stage=EVALUATE,
        workdir=ingredient.workdir.path,
        workdirs=None,
    )
    opened = open_trained(of_one, given)
    return with_data(opened, given)


def _manifest(trained: Trained, ingredient: Ingredient) -> Manifest:
    """Returns the samples of the runs.

    Raises:
      TrainerError: the images have changed since the runs.
    """
    run = stored_config(trained.workdir.file(CONFIG), ingredient.config)
    # The validation samples depend on the batch size of the run, and
    # `with_data` drops --validation if --dataset is given.
    asked = dataclasses.replace(
        trained.run, batch_size=run.batch_size, validation=run.validation
    )
    stored = trained.workdir.read_json(MANIFEST) or {}
    manifest = read_manifest(asked, stored)
    same = manifest.fingerprint == stored.get("fingerprint")
    if not same or list(manifest.validation.ids) != stored["validation_ids"]:
        raise TrainerError(
            f"--dataset={trained.run.dataset!r}: its images are not those of"
            f" the run in {trained.workdir.path}; restore them, or give their"
            " new location as --dataset"
        )
    return manifest


def _evaluator(
    trained: Trained,
    manifest: Manifest,
    source: WeightSource,
    *,
    flip: bool = False,
) -> Evaluator:
    """Returns an evaluator whose trunk is shared by all ingredients."""
    classifier = trained.classifier
    tail = source.differing() | set(freeze_plan(classifier, "none").trainable)
    plan = dataclasses.replace(
        trained.plan,
        trainable=tuple(k for k in classifier.variables if k in tail),
        frozen=tuple(k for k in classifier.variables if k not in tail),
    )
    images = len(manifest.validation) + len(manifest.final)
    trained = dataclasses.replace(trained, plan=plan)
    partition, inputs = open_fast_paths(trained, images=images, constant=False)
    return Evaluator(
        trained.runtime.strategy,
        classifier,
        trained.class_names,
        batch_size=trained.run.batch_size,
        xla=trained.runtime.xla,
        partition=partition,
        inputs=inputs,
        flip=flip,
    )


def _trial_line(trial: Trial, ingredients: Sequence[Ingredient]) -> str:
    verdict = "added" if trial.accepted else "left out"
    return (
        f"  {verdict:9} validation accuracy {trial.alone.accuracy:.4f}, loss"
        f" {trial.alone.loss:.4f}; of the mean with it"
        f" {trial.with_it.accuracy:.4f}, {trial.with_it.loss:.4f}:"
        f" {for_terminal(ingredients[trial.index].workdir.path)}"
    )


def _write(
    workdir: Workdir,
    ingredients: Sequence[Ingredient],
    best: Trial,
    result: dict[str, Any],
) -> None:
    """Writes all files except the checkpoint, predictions and result.json."""
    # Checkpoints of an earlier start that was killed.
    if files.exists(workdir.file("checkpoints")):
        files.remove_tree(workdir.file("checkpoints"))
    source = ingredients[best.index].workdir
    for name in (BACKBONE, MANIFEST):
        workdir.write_json(name, source.read_json(name) or {})
    stored = source.read_json(CONFIG) or {}
    workdir.write_json(
        CONFIG,
        {
            "config": {**stored["config"], "workdir": workdir.path},
            "environment": stored.get("environment", {}),
            SOUP: _facts(ingredients),
        },
    )
    files.make_dirs(workdir.checkpoints(result["stage"], LAST))
    marker = {**result, "metrics_position": 0}
    workdir.write_json(stage_marker(result["stage"]), marker)


def _write_weights(
    workdir: Workdir, trained: Trained, result: dict[str, Any]
) -> None:
    """Writes the checkpoint.

    Raises:
      TrainerError: the disk is full or read-only.
    """
    variables = trained.classifier.variables
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(model={k: v.value for k, v in variables.items()}),
        workdir.checkpoints(result["stage"], LAST),
        max_to_keep=1,
        checkpoint_name=PREFIX,
    )
    workdir.check_held()
    try:
        manager.save(checkpoint_number=result["steps"])
    except (tf.errors.OpError, OSError) as error:
        raise TrainerError(
            f"{manager.directory}: the weights cannot be saved"
            f" ({reason_of(error)}); free disk space, and start again"
        ) from error
