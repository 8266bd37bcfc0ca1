"""Compares the frozen part's forward pass with the peak of one core.

    python -m benchmarks.trunk --backbone=EfficientNetB0 --image_size=224

Times four computations on one thread, one after another: matrix products of
several sizes, the fastest of which defines the core's peak; the backbone as
Keras calls it; the trunk as a graph with BatchNorm folded, in blocks; and the
trunk in LiteRT. Prints the median of the rounds. Counts multiplications and
additions of convolutions and matrix products only, two per weight and output.
Weights are random.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.against_keras import machine
from benchmarks.models import random_classifier
from trainer.cache import FileCache
from trainer.model.backbones import parse_backbone_args
from trainer.model.freeze import freeze_plan
from trainer.model.trunk.engines import GraphTrunk, block_of, lite_trunk
from trainer.model.trunk.partition import Partition, partition_classifier

__all__ = ["floating_point_operations", "main", "table"]

_PRODUCT_SIZES = (512, 1024, 2048)
_PRODUCT, _KERAS, _GRAPH, _LITERT = "matrix product", "Keras", "graph", "litert"


def floating_point_operations(graph: tf.Graph) -> int:
    """Counts multiplications and additions in a graph of static shapes.

    Args:
      graph: the graph of a concrete function.

    Returns:
      2 x outputs x weights per output, summed over all Conv2D,
      DepthwiseConv2dNative and MatMul operations.
    """
    total = 0
    for operation in graph.get_operations():
        if operation.type not in ("Conv2D", "DepthwiseConv2dNative", "MatMul"):
            continue
        outputs = math.prod(operation.outputs[0].shape)
        weights = operation.inputs[1].shape
        if operation.type == "Conv2D":
            used = math.prod(weights[:3])
        elif operation.type == "MatMul":
            used = weights[1 if operation.get_attr("transpose_b") else 0]
        else:
            used = math.prod(weights[:2])
        total += 2 * outputs * used
    return total


def _partition(args: argparse.Namespace) -> Partition:
    classifier = random_classifier(
        args.backbone,
        args.image_size,
        10,
        backbone_args=parse_backbone_args(args.backbone_args),
    )
    plan = freeze_plan(classifier, args.unfreeze)
    partition = partition_classifier(classifier, plan, fold_batch_norm=True)
    if partition is None or not partition.cut:
        sys.exit(f"--unfreeze={args.unfreeze}: leaves no trunk; give last:10")
    return partition


def _keras_pass(partition: Partition, images: tf.Tensor) -> Callable[[], Any]:
    """Returns a function that runs the whole backbone in inference mode."""
    backbone = partition.classifier.backbone
    function = tf.function(lambda x: backbone(x, training=False))
    return lambda: function(images).numpy()


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measures the seconds of each pass and counts its operations.

    Returns:
      `peak`, the operations per second of the fastest product; `operations` of
      the trunk for one image; and `seconds` per image, a list of rounds by
      name.
    """
    partition = _partition(args)
    side = args.image_size
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (args.images, side, side, 3))
    images = images.astype(np.float32)
    block = args.block or block_of(partition)
    graph = GraphTrunk(partition, block=block)
    lite = lite_trunk(partition, cores=1, cache=FileCache(None), machine="")
    passes: dict[str, Callable[[], Any]] = {
        _KERAS: _keras_pass(partition, tf.constant(images)),
        f"{_GRAPH}, blocks of {block}": lambda: graph(images),
        _LITERT: lambda: lite(images),
    }
    constants = partition.trunk_constants()
    counted = tf.function(
        lambda x: partition.trunk([tf.constant(c) for c in constants], x)
    ).get_concrete_function(tf.TensorSpec((1, side, side, 3), tf.float32))
    products = {
        size: tf.constant(rng.normal(size=(size, size)), tf.float32)
        for size in _PRODUCT_SIZES
    }
    for run in passes.values():
        run()
    peak = 0.0
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(args.rounds):
        for size, matrix in products.items():
            spent = _timed(functools.partial(_squared, matrix))
            peak = max(peak, 2 * size**3 / spent)
        for name, run in passes.items():
            seconds[name].append(_timed(run) / len(images))
    return {
        "peak": peak,
        "operations": floating_point_operations(counted.graph),
        "seconds": seconds,
    }


def _squared(matrix: tf.Tensor) -> np.ndarray:
    return tf.matmul(matrix, matrix).numpy()


def _timed(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def table(found: dict[str, Any]) -> str:
    """Returns a row per pass: ms per image, GFLOP/s, share of the peak."""
    operations, peak = found["operations"], found["peak"]
    lines = [
        f"{_PRODUCT}: {peak / 1e9:.0f} GFLOP/s on one thread; the trunk"
        f" {operations / 1e9:.3f} GFLOP an image",
        "",
        "| pass | ms an image | GFLOP/s | share of the peak |",
        "|---|---|---|---|",
    ]
    for name, each in found["seconds"].items():
        spent = statistics.median(each)
        rate = operations / spent
        lines.append(
            f"| {name} | {1e3 * spent:.2f} ({1e3 * min(each):.2f} to"
            f" {1e3 * max(each):.2f}) | {rate / 1e9:.0f} |"
            f" {100 * rate / peak:.0f} % |"
        )
    return "\n".join(lines)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="trunk",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--backbone", default="EfficientNetB0")
    add("--backbone_args", default="", help="NAME=VALUE")
    add("--image_size", type=int, default=224, help="pixels")
    add("--unfreeze", default="none", help="layers outside the trunk")
    add("--images", type=int, default=32, help="images per pass")
    add("--block", type=int, default=0, help="images per block; 0: automatic")
    add("--rounds", type=int, default=5)
    add("--json", help="file for the measurements")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    """Measures and prints the table."""
    args = _parse(argv)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    found = measure(args)
    print(machine())
    print(table(found))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as stream:
            json.dump({"machine": machine(), **found}, stream, indent=2)


if __name__ == "__main__":
    main(sys.argv[1:])
