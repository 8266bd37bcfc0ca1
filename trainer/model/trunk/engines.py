"""Engines that run the trunk of a split classifier on the CPU.

Every engine works in blocks of a fixed shape, so that a sample's features do
not depend on the batch that it came in: a cached feature and a fresh one are
the same bits.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import queue
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.cache import FileCache
from trainer.errors import reason_of
from trainer.model.trunk.partition import Partition
from trainer.native_logs import native_notes_hidden

GRAPH, LITERT = "graph", "litert"
# What the largest activation of a block may take: about what a core's share
# of the last cache is on the machines that this ran on.
_BLOCK_BYTES = 32 * 2**20
_MAX_BLOCK = 32
# How far LiteRT may be from the graph, relative to the largest feature.
MAX_DIFFERENCE = 1e-4


class GraphTrunk:
    """The trunk as an inference graph with its weights as constants."""

    name = GRAPH

    def __init__(self, partition: Partition, *, block: int) -> None:
        """Args:
        split: with a trunk; its classifier's weights are loaded.
        block: images in one pass.
        """
        self.block = block
        self._side = partition.classifier.image_px
        self._function = _concrete(
            partition, partition.trunk_constants(), block
        )

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """float32 (n, px, px, 3) in 0..255 -> features, (n, ...) each."""
        found = []
        for start in range(0, len(images), self.block):
            part = _padded(images[start : start + self.block], self.block)
            found.append([t.numpy() for t in self._function(tf.constant(part))])
        return _joined(found, len(images))


class LiteTrunk:
    """The trunk in LiteRT: one interpreter of one thread for each core."""

    name = LITERT
    block = 1

    def __init__(self, content: bytes, *, cores: int) -> None:
        """Args:
        content: the model; see `lite_trunk`.
        cores: interpreters to make.
        """
        self._free: queue.Queue[Any] = queue.Queue()
        with native_notes_hidden(), warnings.catch_warnings():
            # Its new home, ai_edge_litert, is another package.
            warnings.simplefilter("ignore")
            for _ in range(cores):
                interpreter = tf.lite.Interpreter(
                    model_content=content, num_threads=1
                )
                interpreter.allocate_tensors()
                self._free.put(interpreter)

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """float32 (n, px, px, 3) in 0..255 -> features, (n, ...) each."""
        interpreter = self._free.get()
        try:
            source = interpreter.get_input_details()[0]["index"]
            order = [d["index"] for d in interpreter.get_output_details()]
            found = []
            for row in range(len(images)):
                interpreter.set_tensor(source, images[row : row + 1])
                interpreter.invoke()
                found.append([interpreter.get_tensor(i) for i in order])
        finally:
            self._free.put(interpreter)
        return _joined(found, len(images))


class RoundedTrunk:
    """A trunk whose features are rounded to float16, in float32."""

    def __init__(self, trunk: GraphTrunk | LiteTrunk) -> None:
        """Args:
        trunk: what computes them.
        """
        self._trunk = trunk
        self.name, self.block = trunk.name, trunk.block

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """As the trunk; what is too large becomes the largest float16."""
        largest = np.finfo(np.float16).max
        return [
            np.clip(found, -largest, largest)
            .astype(np.float16)
            .astype(np.float32)
            for found in self._trunk(images)
        ]


Trunk = GraphTrunk | LiteTrunk | RoundedTrunk


def lite_trunk(
    partition: Partition, *, cores: int, cache: FileCache, machine: str
) -> LiteTrunk:
    """Returns the trunk in LiteRT, converted once and cached.

    It is compared with the graph each time, a cached one too: a wrong trunk
    would spoil all features in silence.

    Args:
      split: with a trunk; its classifier's weights are loaded.
      cores: interpreters to make.
      cache: where the converted model may be.
      machine: whatever may change what is made of it.

    Raises:
      ValueError: LiteRT cannot take the trunk, or gives other features.
    """
    key_fields = {**trunk_key(partition), "kind": "litert", "machine": machine}
    side = partition.classifier.image_px
    function = _concrete(partition, partition.trunk_constants(), 1)
    content = cache.read(key_fields)
    if content is not None:
        # Whatever is wrong with it, it is converted again.
        with contextlib.suppress(Exception):
            trunk = LiteTrunk(content, cores=cores)
            _compare(trunk, function, side)
            return trunk
    try:
        content = _converted(function)
        trunk = LiteTrunk(content, cores=cores)
    except Exception as error:
        # The converter raises many kinds, bare Exception among them.
        raise ValueError(f"cannot be converted ({reason_of(error)})") from error
    _compare(trunk, function, side)
    cache.write(key_fields, content)
    return trunk


def _converted(function: Any) -> bytes:
    with native_notes_hidden(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [function], None
        )
        return bytes(converter.convert())


def _compare(trunk: LiteTrunk, function: Any, side: int) -> None:
    rng = np.random.default_rng(0)
    # Smooth, as photos are: on white noise activations can be so large that
    # two runs of TensorFlow itself differ by more.
    coarse = rng.uniform(0, 255, (1, 4, 4, 3)).astype(np.float32)
    image = tf.image.resize(coarse, (side, side)).numpy()
    for mine, theirs in zip(
        trunk(image), function(tf.constant(image)), strict=True
    ):
        theirs = theirs.numpy()
        bound = MAX_DIFFERENCE * max(float(np.abs(theirs).max()), 1e-30)
        if mine.shape != theirs.shape or not (
            float(np.abs(mine - theirs).max()) <= bound
        ):
            raise ValueError("gives other features than the graph")


def block_of(partition: Partition) -> int:
    """Images that a graph takes at once: a power of two, by a rule.

    Never by a measurement, which would let the clock decide; and blocks of
    any size were seen to give the same bits.
    """
    largest = 4 * partition.largest_activation
    block = 1
    while block < _MAX_BLOCK and 2 * block * largest <= _BLOCK_BYTES:
        block *= 2
    return block


def trunk_key(partition: Partition) -> dict[str, str]:
    """What decides the features besides image and engine."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(partition.description.encode())
    for array in partition.trunk_constants():
        digest.update(np.ascontiguousarray(array).tobytes())
    return {"trunk": digest.hexdigest(), "cut": json.dumps(partition.cut)}


def _concrete(
    partition: Partition, constants: Sequence[np.ndarray], block: int
) -> Any:
    side = partition.classifier.image_px

    @tf.function(autograph=False)
    def trunk(images: tf.Tensor) -> list[tf.Tensor]:
        # Made inside, so that they are constants of the graph.
        return partition.trunk(
            [tf.constant(array) for array in constants], images
        )

    return trunk.get_concrete_function(
        tf.TensorSpec((block, side, side, 3), tf.float32)
    )


def _padded(images: np.ndarray, block: int) -> np.ndarray:
    lacking = block - len(images)
    if not lacking:
        return images
    return np.concatenate(
        [images, np.zeros((lacking, *images.shape[1:]), images.dtype)]
    )


def _joined(found: list[list[np.ndarray]], count: int) -> list[np.ndarray]:
    return [np.concatenate(parts)[:count] for parts in zip(*found, strict=True)]
