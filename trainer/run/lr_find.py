"""Suggests a learning rate for a finetune run."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shlex
import tempfile
from collections.abc import Callable, Iterator

import tensorflow as tf

from trainer.config import Config
from trainer.config.fields import FIELDS, FINETUNE, LR_FIND
from trainer.config.usage import command_name
from trainer.errors import TrainerError, first_line, one_line
from trainer.learning.rate_finder import STEPS, Suggestion, Sweep, sweep_rates
from trainer.learning.start import check_warm_start, find_start
from trainer.model.backbones import find_backbone
from trainer.results.rate_chart import rate_chart
from trainer.results.summaries import TensorBoardWriter
from trainer.run.classifiers import first_classifier
from trainer.run.prepare import RunSetup, prepare, read_manifest
from trainer.run.resolve import backbone_name, resolve
from trainer.run.stage_parts import StageJobs, restore_start, stage_loop
from trainer.run.training import (
    choose_fast_paths,
    print_data,
    with_min_steps,
)
from trainer.workdir import Workdir

RECORD, CHART = "lr_find.json", "lr_find.png"


def lr_find(config: Config, given: frozenset[str]) -> None:
    """Finds a learning rate for a finetune run with the same flags.

    Starts from the same weights as that run: it loads those of `--init_from`,
    or trains the head first. Checkpoints go to a temporary folder. Prints the
    rate, and the command that trains with it.

    Args:
      config: the configuration, with stage lr_find.
      given: names of the flags given explicitly, which the command repeats.

    Raises:
      UsageError: the flags are invalid.
      TrainerError: the run cannot start; `--workdir` holds a run; or the loss
        does not fall at any rate.
      Stopped: a signal was received.
    """
    image_px = find_backbone(backbone_name(config)).image_px
    workdir = Workdir(resolve(config, image_px).workdir)
    workdir.check_holds_only((RECORD, CHART), LR_FIND)
    setup = prepare(
        dataclasses.replace(config, stage=FINETUNE, workdir=workdir.path)
    )
    print(f"workdir: {one_line(workdir.path)}", flush=True)
    new = workdir.create()
    try:
        why, sweep = _sweep(setup)
        command = functools.partial(_command, config, given)
        _report(workdir, setup.config, command, why, sweep)
    except tf.errors.OpError as error:
        raise TrainerError(
            f"{LR_FIND}: {first_line(error)}; fix the cause, and start again"
        ) from error
    finally:
        if new:
            workdir.remove_if_empty()


def _sweep(setup: RunSetup) -> tuple[str, Sweep]:
    """Trains the head if the finetune run would, and then sweeps the rates.

    Returns:
      A phrase that says where the weights come from, and the sweep.
    """
    config = setup.config
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as end:
        scratch = Workdir(folder)
        end.callback(lambda: scratch.metrics().close())
        manifest = read_manifest(config)
        if config.init_from:
            check_warm_start(config, manifest.class_names)
        print_data(manifest, config)
        start = find_start(scratch, config)
        print(f"weights: {one_line(start.why)}", flush=True)
        classifier = first_classifier(setup, scratch, start, manifest)
        options = choose_fast_paths(setup, scratch, manifest)
        jobs = StageJobs(
            setup,
            scratch,
            manifest,
            classifier,
            options,
            TensorBoardWriter(folder, writes=False),
        )
        *head, own = with_min_steps(start.stages, config, manifest)
        step = 0
        for spec in head:
            job, _ = jobs.make(spec, own, step)
            outcome = stage_loop(job).run()
            restore_start(
                scratch,
                classifier,
                spec.stage,
                asked=config.init_from_checkpoint,
                has=outcome.result_checkpoint,
            )
            step = outcome.step
        print(
            f"{LR_FIND}: at most {STEPS} steps of --batch_size="
            f"{config.batch_size} on {len(manifest.train)} training examples",
            flush=True,
        )
        job, _ = jobs.make(own, None, step)
        return start.why, sweep_rates(job)


def _report(
    workdir: Workdir,
    config: Config,
    command_of: Callable[[float], Iterator[str]],
    why: str,
    sweep: Sweep,
) -> None:
    """Writes the record and the chart, and prints the suggestion.

    Args:
      workdir: of the sweep.
      config: of the run that the sweep was for.
      command_of: returns the words of the command that trains with a rate.
      why: where the first weights come from.
      sweep: the rates and their losses.

    Raises:
      TrainerError: the loss has not fallen.
    """
    suggestion = sweep.suggestion()
    steps = len(sweep.rates)
    # Divides by the factor by which --scale_lr will multiply the rate.
    rate = suggestion and float(f"{suggestion.rate / config.rate_factor:.2g}")
    command = shlex.join(command_of(rate)) if rate else None
    marks = dict(_marks(suggestion)) if suggestion else {}
    chart = rate_chart(sweep.rates, sweep.losses, sweep.smoothed, marks)
    workdir.write_bytes(CHART, chart)
    workdir.write_json(
        RECORD,
        {
            "weights": why,
            "optimizer": config.optimizer,
            "unfreeze": config.unfreeze,
            "batch_size": config.batch_size,
            "seed": config.seed,
            "steps": steps,
            "rates": sweep.rates.tolist(),
            "losses": sweep.losses.tolist(),
            "smoothed": sweep.smoothed.tolist(),
            "suggestion": suggestion and suggestion.to_json(),
            "learning_rate": rate,
            "command": command,
        },
    )
    ended = ", then the loss diverged" if steps < STEPS else ""
    print(f"{steps} of {STEPS} steps{ended}")
    for name, mark in marks.items():
        print(f"  {name}: {mark:.2g}")
    print(f"chart: {one_line(workdir.file(CHART))}")
    if command is None:
        raise TrainerError(
            f"--stage={LR_FIND}: the smoothed loss did not clearly fall at any"
            f" rate from {sweep.rates[0]:.2g} to {sweep.rates[-1]:.2g}; give a"
            " larger --batch_size, more data, or start from weights that were"
            " not trained on these images"
        )
    print(f"train with this rate:\n  {command}", flush=True)


def _marks(suggestion: Suggestion) -> Iterator[tuple[str, float]]:
    """Yields a description and a value for each suggested rate."""
    yield "steepest descent of the loss", suggestion.steepest
    yield "a tenth of the best rate", suggestion.tenth_of_minimum


def _command(
    config: Config, given: frozenset[str], rate: float
) -> Iterator[str]:
    """Yields the words of the command that trains with the rate."""
    yield from (*command_name().split(), f"--stage={FINETUNE}")
    for name, field in FIELDS.items():
        if name not in given - {"stage", "workdir"}:
            continue
        value = getattr(config, name)
        if field.type == "bool":
            yield f"--{name}" if value else f"--no{name}"
        else:
            yield f"--{name}={value}"
    yield f"--learning_rate={rate:.2g}"
