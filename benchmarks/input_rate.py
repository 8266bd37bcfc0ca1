"""Measures how fast images are read, decoded and resized, per core.

    python -m benchmarks.input_rate --dataset=photos --image_size=224 --cores=1

Runs the input pipeline of a GPU or TPU (order, read, decode, resize, batch, and
draw the matrices of the warp) without a cache and without a training step.
Prints images/s by wall clock and by processor time, which other load on the
machine affects less. Then prints the same for the check of every image at the
start of a run. Shows medians and quartiles of several rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator

import tensorflow as tf

from trainer.config import Config
from trainer.data import reading
from trainer.data.batches import training_batches
from trainer.data.check import check_images
from trainer.data.order import Shard
from trainer.data.reading import Reading
from trainer.data.samples import Samples
from trainer.data.sources import open_source

# Images per second of wall-clock time and of processor time.
Rates = tuple[float, float]


def main() -> None:
    """Parses the flags, measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dataset", required=True, help="a folder")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40, help="per round")
    parser.add_argument("--rounds", type=int, default=8)
    args = parser.parse_args()
    # Set this before TensorFlow sizes its thread pools.
    cores = sorted(os.sched_getaffinity(0))[: args.cores]
    os.sched_setaffinity(0, cores)
    reading.PARALLEL_CALLS = len(cores)
    samples = open_source(
        args.dataset,
        tfds_data_dir=None,
        test_fraction=Config().test_fraction,
    ).train
    size = statistics.mean(_bytes(samples))
    print(
        f"{len(samples)} images of {size / 1000:.0f} kB in"
        f" {args.dataset}, to {args.image_size} px, {len(cores)} cores,"
        f" batch {args.batch_size}"
    )
    steps = _reader(samples, args.image_size, args.batch_size)
    # Traces, opens the files and fills the prefetch buffers.
    _take(steps, args.steps)
    show(
        "input",
        measure(
            lambda: _take(steps, args.steps) * args.batch_size, args.rounds
        ),
        len(cores),
    )
    few = samples.take(range(min(len(samples), args.steps * args.batch_size)))

    def check() -> int:
        return len(check_images(few, split="train").samples)

    check()
    show("check", measure(check, args.rounds), len(cores))


def measure(work: Callable[[], int], rounds: int) -> list[Rates]:
    """Measures images/s per round of `work`, which returns its images."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter(), time.process_time()
        images = work()
        found.append(
            (
                images / (time.perf_counter() - began[0]),
                images / (time.process_time() - began[1]),
            )
        )
    return found


def show(what: str, rates: list[Rates], cores: int) -> None:
    """Prints the rates by wall clock and by processor time."""
    kinds = (f"by the clock, {cores} cores", "by processor time, one core")
    for kind, values in zip(kinds, zip(*rates, strict=True), strict=True):
        low, middle, high = statistics.quantiles(values, n=4)
        print(
            f"{what:<6} {middle:7.1f} images/s {kind}"
            f" ({low:.1f} to {high:.1f}, {len(values)} rounds)",
            flush=True,
        )


def _reader(
    samples: Samples, image_px: int, batch_size: int
) -> Iterator[dict[str, tf.Tensor]]:
    return iter(
        training_batches(
            samples,
            reading=Reading(image_px=image_px),
            shard=Shard(global_batch=batch_size, num_replicas=1),
            seed=0,
            start_step=0,
            total_steps=2**40,
            augment=True,
        )
    )


def _take(steps: Iterator[dict[str, tf.Tensor]], count: int) -> int:
    for _ in range(count):
        next(steps)
    return count


def _bytes(samples: Samples) -> Iterator[int]:
    for path, length in zip(samples.paths, samples.lengths, strict=True):
        yield os.path.getsize(path) if length < 0 else int(length)


if __name__ == "__main__":
    main()
