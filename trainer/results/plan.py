"""The plan of a run, which --dry_run prints."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf

from trainer.config import Config, StageSpec
from trainer.config.fields import CONSTANT, MONITOR_NAMES, OPTIMIZER_TITLES
from trainer.data.manifest import Manifest
from trainer.data.order import steps_per_epoch
from trainer.data.validation import source_phrase
from trainer.errors import counted
from trainer.model.freeze import FreezePlan
from trainer.results.columns import padded
from trainer.results.escaping import for_terminal
from trainer.results.report import unbalanced_lines


def plan_lines(
    config: Config,
    manifest: Manifest,
    stages: list[tuple[StageSpec, FreezePlan]],
    strategy: tf.distribute.Strategy,
    *,
    xla: bool,
    deterministic: bool,
) -> Iterator[str]:
    """Yields the lines of the plan that --dry_run prints."""
    yield from _layer_lines(stages)
    yield ""
    scaled = f", scaled by {config.rate_factor:g}" if config.scale_lr else ""
    for spec, plan in stages:
        steps = steps_per_epoch(len(manifest.train), config.batch_size)
        yield (
            f"stage {spec.stage}: {plan.total_params:,} parameters in all,"
            f" {plan.trainable_params:,} trainable"
        )
        if plan.unfrozen_layers:
            yield (
                f"  --unfreeze={plan.unfreeze}:"
                f" {len(plan.unfrozen_layers)} layers,"
                f" {plan.unfrozen_layers[0]} ... {plan.unfrozen_layers[-1]}"
            )
        elif spec.part:
            yield f"  --unfreeze={plan.unfreeze}: the head only"
        if spec.solved:
            l2 = f"L2 {config.head_l2}"
            what = (
                f"{spec.views} augmented views of the"
                if spec.views
                else ("un-augmented")
            )
            yield f"  head solved by L-BFGS on {what} images, {l2}"
            continue
        if spec.views:
            yield (
                f"  features of {spec.views_read} augmented views of each"
                " image, cached before the first step"
            )
        yield (
            f"  {spec.epochs} epochs of {steps} steps of"
            f" {config.batch_size} = {spec.epochs * steps} steps,"
            f" {_updates(config)} {spec.learning_rate:g}{scaled}"
        )
    yield from _stop_lines(config)
    yield ""
    yield from _sample_lines(manifest)
    yield from unbalanced_lines(manifest)
    yield ""
    yield (
        f"devices: {', '.join(strategy.extended.worker_devices)}"
        f" ({type(strategy).__name__},"
        f" {counted(strategy.num_replicas_in_sync, 'replica')}),"
        f" {config.precision}, XLA {'on' if xla else 'off'},"
        f" determinism {'on' if deterministic else 'off'}"
    )


def _stop_lines(config: Config) -> Iterator[str]:
    """Yields when a stage may end early."""
    if config.patience is not None:
        yield (
            f"a stage ends after {config.patience} epochs without a better"
            f" validation {MONITOR_NAMES[config.monitor]}"
        )
    if config.time_limit is not None:
        yield f"the run ends after {config.time_limit:g} minutes of training"


def _updates(config: Config) -> str:
    """Returns the optimizer and the schedule, as before a learning rate."""
    name = OPTIMIZER_TITLES[config.optimizer]
    if config.schedule == CONSTANT:
        return f"{name} at a constant"
    return f"{name}, {config.schedule} schedule from"


def _layer_lines(stages: list[tuple[StageSpec, FreezePlan]]) -> Iterator[str]:
    """Yields a table of the layers that the stage or any part of it trains."""
    last = stages[-1][1]
    parted = [(spec.part, plan) for spec, plan in stages if spec.part]
    width = max(len(row.name) for row in last.rows)
    yield f"{'layer':{width}}  {'kind':22} {'parameters':>12}  trainable"
    for number, row in enumerate(last.rows):
        counts = {
            part: plan.rows[number].trainable_params for part, plan in parted
        }
        most = max(counts.values(), default=row.trainable_params)
        state = f"{most:,}" if most else "frozen"
        names = [str(part) for part, count in counts.items() if count]
        if 0 < len(names) < len(counts):
            ending = "s" if len(names) > 1 else ""
            state += f" in part{ending} {', '.join(names)}"
        yield f"{row.name:{width}}  {row.kind:22} {row.params:>12,}  {state}"


def _sample_lines(manifest: Manifest) -> Iterator[str]:
    names = [for_terminal(name) for name in manifest.class_names]
    parts = {
        "train": manifest.train,
        "validation": manifest.validation,
        manifest.final_split: manifest.final,
    }
    columns = {k: part.counts(len(names)) for k, part in parts.items()}
    heading, *names, total = padded(["samples", *names, "all classes"])
    yield heading + "".join(f"{k:>12}" for k in columns)
    for i, name in enumerate(names):
        cells = "".join(f"{counts[i]:>12}" for counts in columns.values())
        yield name + cells
    totals = "".join(f"{len(part):>12}" for part in parts.values())
    yield total + totals
    yield f"validation: {source_phrase(manifest.validation_source)}"
