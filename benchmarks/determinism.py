"""Measures the cost of --deterministic=on for input pipeline and step.

    python -m benchmarks.determinism --rounds=8

Input pipeline and step are built twice in one process, with and without
TensorFlow's op determinism. The two are timed alternately, so other load on the
machine affects both. Prints the median seconds of eight batches of 32 images
and of two steps, and the ratio with/without. The images are noise of 512x384 px
in JPEG files; the step fine-tunes the last ten layers of EfficientNetB0 from
random weights.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

# No public function turns op determinism off again.
from tensorflow.python.framework import config as tf_config

from trainer.config import Config
from trainer.data.batches import training_batches
from trainer.data.manifest import Manifest
from trainer.data.order import Shard
from trainer.data.reading import Reading
from trainer.learning.graph_loops import make_train_function
from trainer.model.classifier import Classifier
from trainer.model.freeze import freeze_plan
from trainer.run.classifiers import new_classifier
from trainer.run.prepare import RunSetup, prepare, read_manifest

Timed = Callable[[], None]
_STEPS = 8
# Wall clock, and processor time of all threads.
Seconds = tuple[float, float]


def main() -> None:
    """Parses the flags, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--of", default="input,step")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--image_size", type=int, default=224)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        draw_photos(Path(folder), args.images)
        config = Config(
            dataset=folder,
            weights="none",
            image_size=args.image_size,
            workdir=f"{folder}/none",
            deterministic="off",
        )
        setup = prepare(config)
        manifest = read_manifest(setup.config)
        classifier = new_classifier(setup, 2, load=False)
        for name, make in {"input": _input, "step": _step}.items():
            if name not in args.of.split(","):
                continue
            pair = {}
            for on in (True, False):
                _switch(on)
                pair[on] = make(setup, manifest, classifier)
                pair[on]()  # Traces.
            print(f"{name}: {summary(measure(pair, args.rounds))}", flush=True)


def measure(pair: dict[bool, Timed], rounds: int) -> dict[bool, list[Seconds]]:
    """Times both alternately; the first one alternates by round."""
    seconds: dict[bool, list[Seconds]] = {True: [], False: []}
    for number in range(rounds):
        for on in (True, False) if number % 2 else (False, True):
            _switch(on)
            began = time.perf_counter(), time.process_time()
            pair[on]()
            ended = time.perf_counter(), time.process_time()
            seconds[on].append((ended[0] - began[0], ended[1] - began[1]))
    return seconds


def summary(seconds: dict[bool, list[Seconds]]) -> str:
    """Returns medians with and without, and quartiles of the ratios."""
    parts = []
    for i, kind in enumerate(("wall", "processor")):
        on, off = ([s[i] for s in seconds[key]] for key in (True, False))
        ratios = [a / b for a, b in zip(on, off, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        parts.append(
            f"{kind} {statistics.median(on):.3f} s with,"
            f" {statistics.median(off):.3f} s without, ratio {middle:.3f}"
            f" ({low:.3f} to {high:.3f})"
        )
    return "; ".join(parts)


def _switch(on: bool) -> None:
    if on:
        tf.config.experimental.enable_op_determinism()
    else:
        tf_config.disable_op_determinism()


def draw_photos(folder: Path, train: int, test: int = 8) -> None:
    """Writes JPEG files of noise of 512x384 px, of two classes.

    Args:
      folder: gets train/CLASS and test/CLASS.
      train: number of images to train on.
      test: number of images to test on.
    """
    rng = np.random.default_rng(0)
    for split, number in (("train", train), ("test", test)):
        for i in range(number):
            path = folder / split / "ab"[i % 2] / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.kron(
                rng.integers(0, 255, (24, 32, 3)), np.ones((16, 16, 1))
            )
            # Less red or less green, so that a run can learn the classes.
            pixels[..., i % 2] *= 0.7
            Image.fromarray(pixels.astype(np.uint8)).save(path, quality=90)


def _input(
    setup: RunSetup, manifest: Manifest, classifier: Classifier
) -> Timed:
    batches = _batches(setup, manifest, classifier, steps=_STEPS)

    def one_pass() -> None:
        # A new iterator per pass: nothing is prefetched between passes.
        for _ in batches:
            pass

    return one_pass


def _batches(
    setup: RunSetup,
    manifest: Manifest,
    classifier: Classifier,
    steps: int,
) -> tf.data.Dataset:
    return training_batches(
        manifest.train,
        reading=Reading(image_px=classifier.image_px),
        shard=Shard(global_batch=setup.config.batch_size, num_replicas=1),
        seed=0,
        start_step=0,
        total_steps=steps,
        augment=True,
    )


def _step(setup: RunSetup, manifest: Manifest, classifier: Classifier) -> Timed:
    plan = freeze_plan(classifier, "last:10")
    with setup.runtime.strategy.scope():
        optimizer = keras.optimizers.Adam(1e-4)
        optimizer.build([classifier.variables[key] for key in plan.trainable])
    train = make_train_function(
        setup.runtime.strategy,
        classifier,
        plan,
        optimizer,
        clip_global_norm=None,
        xla=False,
    )
    # One batch is repeated: reading is timed separately.
    batch = next(iter(_batches(setup, manifest, classifier, steps=1)))
    repeated = tf.data.Dataset.from_tensors(batch).repeat()
    iterator = iter(
        setup.runtime.strategy.experimental_distribute_dataset(repeated)
    )

    def two_steps() -> None:
        train(iterator, 2)

    return two_steps


if __name__ == "__main__":
    main()
