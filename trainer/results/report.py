"""Text output: the plan before a run and the table after it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from trainer.config import Config, StageSpec
from trainer.data.manifest import Manifest
from trainer.data.order import steps_per_epoch
from trainer.model.freeze import FreezePlan
from trainer.results.escaping import for_terminal


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
    yield from _layer_lines(stages[-1][1])
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
            f" Adam at a constant {spec.learning_rate:g}{scaled}"
        )
    yield ""
    yield from _sample_lines(manifest)
    yield ""
    yield (
        f"devices: {', '.join(strategy.extended.worker_devices)}"
        f" ({type(strategy).__name__}, {strategy.num_replicas_in_sync}"
        f" replicas), {config.precision}, XLA {'on' if xla else 'off'},"
        f" determinism {'on' if deterministic else 'off'}"
    )


def _layer_lines(plan: FreezePlan) -> Iterator[str]:
    width = max(len(row.name) for row in plan.rows)
    yield f"{'layer':{width}}  {'kind':22} {'parameters':>12}  trainable"
    for row in plan.rows:
        state = (
            f"{row.trainable_params:,}" if row.trainable_params else "frozen"
        )
        yield f"{row.name:{width}}  {row.kind:22} {row.params:>12,}  {state}"


def _sample_lines(manifest: Manifest) -> Iterator[str]:
    names = [for_terminal(name) for name in manifest.class_names]
    columns = {
        "train": manifest.train.counts(len(names)),
        "validation": manifest.validation.counts(len(names)),
        manifest.final_split: manifest.final.counts(len(names)),
    }
    width = max(len(name) for name in (*names, "all classes"))
    yield f"{'samples':{width}}" + "".join(f"{k:>12}" for k in columns)
    for i, name in enumerate(names):
        cells = "".join(f"{counts[i]:>12}" for counts in columns.values())
        yield f"{name:{width}}" + cells
    totals = "".join(f"{c.sum():>12}" for c in columns.values())
    yield f"{'all classes':{width}}" + totals


def result_lines(result: dict[str, Any], workdir: str) -> Iterator[str]:
    """Yields the table at the end of a run.

    Args:
      result: the content of result.json.
      workdir: the workdir to show, with the command that opens TensorBoard on
        it.
    """
    shown = f"{result['final_split']} loss"
    yield ""
    yield f"{'stage':18}{'steps':>8}{shown:>18}{'accuracy':>12}"
    for row in (*result.get("earlier_stages", ()), result):
        yield (
            f"{row['stage']:18}{row['steps']:>8}"
            f"{row['test_loss']:>18.4f}{row['test_accuracy']:>12.4f}"
        )
    yield ""
    yield from per_class_lines(result)
    from_test = result["validation_from_test"]
    source = "photos of the test split" if from_test else "its own split"
    yield (
        f"best validation accuracy {result['best_validation_accuracy']:.4f}"
        f" at step {result['best_step']} (on {source}); the table is of the"
        " last step"
    )
    yield (
        f"{result['train_examples']} training examples,"
        f" {result['trainable_params']:,} of {result['total_params']:,}"
        f" parameters trained, {result['train_seconds']:.0f} s in steps"
    )
    yield f"workdir: {for_terminal(workdir)}"
    yield tensorboard_command(workdir)


def tensorboard_command(workdir: str) -> str:
    """Returns the shell command that opens TensorBoard on a workdir."""
    return f"tensorboard --logdir {for_terminal(shlex.quote(workdir))}"


def per_class_lines(metrics: dict[str, Any]) -> Iterator[str]:
    """Yields one line per class; `metrics` is from `Evaluation.to_json`."""
    if "test_top5_accuracy" in metrics:
        yield f"top-5 accuracy {metrics['test_top5_accuracy']:.4f}"
    per_class = metrics["test_per_class_accuracy"]
    names = [for_terminal(name) for name in per_class]
    width = max(map(len, names))
    for name, accuracy in zip(names, per_class.values(), strict=True):
        shown = "no examples" if accuracy is None else f"{accuracy:.4f}"
        yield f"  {name:{width}}  {shown}"
