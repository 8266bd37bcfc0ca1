"""Training in training mode, from random weights, to a fixed last step."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable

import keras
import tensorflow as tf

from trainer.model.classifier import Classifier
from trainer.model.freeze import apply_freeze
from trainer.results.summaries import FOLDER, TensorBoardWriter
from trainer.train.calls import make_train_function
from trainer.train.checkpoints import StageCheckpoints, StageState
from trainer.train.figures import Figures, means_of, no_sums
from trainer.workdir import Workdir

STAGE = "from_scratch"
# One layer has weights that decay would pull to no purpose.
_NO_DECAY = ["bias", "gamma", "beta"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """What decides the result, beside the batches.

    Attributes:
      steps: at which training ends, the learning rate being zero.
      learning_rate: AdamW's, after the warm-up.
      warmup_steps: the learning rate rises linearly over these.
      weight_decay: AdamW's; not of biases and BatchNorm.
      clip_global_norm: of the gradient.
      log_every_steps: training figures, means since the last.
      validate_every_steps: and save.
    """

    steps: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    clip_global_norm: float
    log_every_steps: int
    validate_every_steps: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished training: the last validation, and the time in steps."""

    loss: float
    accuracy: float
    seconds: float


def make_optimizer(recipe: Recipe) -> keras.Optimizer:
    """AdamW under a linear warm-up and a cosine to zero."""
    warmup = min(recipe.warmup_steps, recipe.steps - 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else recipe.learning_rate,
        decay_steps=recipe.steps - warmup,
        warmup_target=recipe.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=recipe.weight_decay, beta_2=0.99
    )
    optimizer.exclude_from_weight_decay(var_names=_NO_DECAY)
    return optimizer


def train(
    classifier: Classifier,
    recipe: Recipe,
    *,
    strategy: tf.distribute.Strategy,
    batches: Callable[[int], tf.data.Dataset],
    evaluate: Callable[[], tuple[float, float]],
    workdir: Workdir,
) -> Trained:
    """Trains every layer from the latest checkpoint, or from step 0.

    Args:
      classifier: changed in place.
      recipe: the same on every start.
      strategy: what the classifier was made under.
      batches: step -> the batches from that step on; the batch of a step must
        be a pure function of the step.
      evaluate: loss and accuracy of the classifier as it stands, in inference
        mode.
      workdir: of checkpoints, figures and TensorBoard's files.
    """
    plan = apply_freeze(classifier, "all")
    with strategy.scope():
        optimizer = make_optimizer(recipe)
        optimizer.build([classifier.variables[key] for key in plan.trainable])
    state = StageState(
        stage=STAGE, start_step=0, step=0, epoch_sums=no_sums(),
        window_sums=no_sums(), best=None, digests={}, gradient_max={},
        metrics_position=0, seconds=0.0,
    )  # fmt: skip
    checkpoints = StageCheckpoints(
        workdir,
        variables=classifier.variables,
        optimizer=optimizer,
        state=state,
        keep=2,
    )
    writer = TensorBoardWriter(workdir.file(FOLDER))
    figures = Figures(workdir, writer, STAGE)
    if checkpoints.restore():
        figures.cut(state.metrics_position)
        print(f"resumed at step {state.step}", flush=True)
    call = make_train_function(
        strategy,
        classifier,
        plan,
        optimizer,
        clip_global_norm=recipe.clip_global_norm,
        xla=False,
        from_scratch=True,
    )

    def record(
        split: str, values: dict[str, float], times: dict[str, float]
    ) -> None:
        figures.record(
            split, state.step, None, values, span="steps", times=times
        )
        text = "  ".join(f"{k} {v:.4g}" for k, v in (values | times).items())
        print(f"step {state.step}/{recipe.steps} {split}  {text}", flush=True)

    iterator = iter(strategy.experimental_distribute_dataset(
        batches(state.step)))  # fmt: skip
    while state.step < recipe.steps:
        stops = (recipe.log_every_steps, recipe.validate_every_steps)
        steps = min(every - state.step % every for every in stops)
        steps = min(steps, recipe.steps - state.step)
        began = time.perf_counter()
        sums = call(iterator, steps).sums
        seconds = time.perf_counter() - began
        state.seconds += seconds
        state.step += steps
        for name in state.window_sums:
            state.window_sums[name] += float(sums[name].sum())
        ended = state.step == recipe.steps
        if state.step % recipe.log_every_steps == 0 or ended:
            means = means_of(state.window_sums)
            state.window_sums = no_sums()
            means["learning_rate"] = float(optimizer.learning_rate)
            means["gradient_norm"] = float(sums["gradient_norm"][-1])
            speed = float(sums["count"].sum()) / seconds
            record("train", means, {"images_per_second": speed})
        if state.step % recipe.validate_every_steps == 0 or ended:
            loss, accuracy = evaluate()
            record("validation", {"loss": loss, "accuracy": accuracy}, {})
            state.best = {"step": state.step, "loss": loss,
                          "accuracy": accuracy}  # fmt: skip
            state.metrics_position = figures.position()
            checkpoints.save()
    writer.close()
    assert state.best is not None and math.isfinite(state.best["loss"])
    return Trained(
        loss=state.best["loss"],
        accuracy=state.best["accuracy"],
        seconds=state.seconds,
    )
