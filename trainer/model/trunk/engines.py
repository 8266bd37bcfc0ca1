"""Engines that run the trunk of a partitioned classifier on the CPU.

Every engine runs blocks of a fixed shape, so a sample's features do not depend
on the other samples of its batch. So a cached feature is bit-identical to a
fresh one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import queue
import warnings
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from trainer.cache import FileCache
from trainer.errors import reason_of
from trainer.model.trunk.partition import Partition
from trainer.native_logs import native_notes_hidden
from trainer.native_memory import return_freed

GRAPH, LITERT = "graph", "litert"
# Limit of the largest activation in a block, in bytes: about one core's share
# of the last-level cache on the machines where it was measured.
_BLOCK_BYTES = 32 * 2**20
MAX_BLOCK = 32
# Largest accepted difference of a LiteRT feature from the graph's, relative
# to the largest feature.
MAX_DIFFERENCE = 1e-4


class Engine(Protocol):
    """A trunk that computes features.

    Attributes:
      name: graph, litert or device.
      block: number of images in one pass.
    """

    name: str
    block: int

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """Computes features.

        Args:
          images: float32 (n, px, px, 3) in 0..255.

        Returns:
          One float32 array (n, ...) for each feature.
        """


class GraphTrunk:
    """The trunk as an inference graph with constant weights."""

    name = GRAPH

    def __init__(self, partition: Partition, *, block: int) -> None:
        """Traces the graph.

        Args:
          partition: has a trunk, and its classifier's weights are loaded.
          block: number of images in one pass.
        """
        self.block = block
        self._side = partition.classifier.image_px
        self._function = _concrete(partition, block)

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """Computes features.

        Args:
          images: float32 (n, px, px, 3) in 0..255.

        Returns:
          One float32 array (n, ...) for each feature.
        """
        found = []
        for start in range(0, len(images), self.block):
            part = padded(images[start : start + self.block], self.block)
            found.append([t.numpy() for t in self._function(tf.constant(part))])
        return joined(found, len(images))


class LiteTrunk:
    """The trunk in LiteRT, with one single-threaded interpreter per core."""

    name = LITERT
    block = 1

    def __init__(self, content: bytes, *, cores: int) -> None:
        """Creates the interpreters.

        Args:
          content: a LiteRT model file; see `lite_trunk`.
          cores: number of interpreters.
        """
        self._free: queue.Queue[Any] = queue.Queue()
        with native_notes_hidden(), warnings.catch_warnings():
            # TensorFlow warns that LiteRT has moved to ai_edge_litert.
            warnings.simplefilter("ignore")
            for _ in range(cores):
                interpreter = tf.lite.Interpreter(
                    model_content=content, num_threads=1
                )
                interpreter.allocate_tensors()
                self._free.put(interpreter)

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """Computes features; safe to call from several threads.

        Args:
          images: float32 (n, px, px, 3) in 0..255.

        Returns:
          One float32 array (n, ...) for each feature.
        """
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
        return joined(found, len(images))


class RoundedTrunk:
    """A trunk whose float32 features are rounded to float16 values."""

    def __init__(self, trunk: Engine) -> None:
        """Wraps a trunk.

        Args:
          trunk: computes the features to round.
        """
        self._trunk = trunk
        self.name = trunk.name
        self.block = trunk.block

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """Computes features as the trunk does, clipped to float16's range."""
        largest = np.finfo(np.float16).max
        return [
            np.clip(found, -largest, largest)
            .astype(np.float16)
            .astype(np.float32)
            for found in self._trunk(images)
        ]


class MirroredTrunk:
    """A trunk that computes the features of mirror images."""

    def __init__(self, trunk: Engine) -> None:
        """Wraps a trunk.

        Args:
          trunk: computes the features of the flipped images.
        """
        self._trunk = trunk
        self.name = trunk.name
        self.block = trunk.block

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """Computes the features of the mirror images."""
        return self._trunk(np.ascontiguousarray(images[:, :, ::-1]))


Trunk = Engine | RoundedTrunk | MirroredTrunk


def lite_trunk(
    partition: Partition, *, cores: int, cache: FileCache, machine: str
) -> LiteTrunk:
    """Returns the trunk in LiteRT, converted once and cached.

    Its features are compared with TensorFlow's every time, even if the model
    comes from the cache, because a wrong trunk would silently spoil all
    features.

    Args:
      partition: has a trunk, and its classifier's weights are loaded.
      cores: number of interpreters.
      cache: may contain the converted model.
      machine: describes everything of this machine that may change the
        conversion.

    Raises:
      ValueError: LiteRT cannot convert the trunk, or computes other features.
    """
    key_fields = {**trunk_key(partition), "kind": "litert", "machine": machine}
    content = cache.read(key_fields)
    if content is not None:
        # If the cached model fails in any way, convert again.
        with contextlib.suppress(Exception):
            trunk = LiteTrunk(content, cores=cores)
            _compare(trunk, partition)
            return trunk
    try:
        content = _converted(partition)
        # The graph and the conversion took many times what the weights take.
        return_freed()
        trunk = LiteTrunk(content, cores=cores)
    except Exception as error:
        # The converter raises many types, bare Exception among them.
        raise ValueError(f"cannot be converted ({reason_of(error)})") from error
    _compare(trunk, partition)
    cache.write(key_fields, content)
    return trunk


def _converted(partition: Partition) -> bytes:
    """Returns the trunk as a LiteRT model file."""
    function = _concrete(partition, 1)
    return_freed()
    with native_notes_hidden(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [function], None
        )
        return bytes(converter.convert())


def _compare(trunk: LiteTrunk, partition: Partition) -> None:
    """Checks that LiteRT computes the features that TensorFlow computes.

    TensorFlow runs layer by layer, because a graph would hold several copies of
    the weights.

    Raises:
      ValueError: a feature differs by more than MAX_DIFFERENCE.
    """
    rng = np.random.default_rng(0)
    # A smooth image, like a photo. White noise can cause such large activations
    # that even two runs of TensorFlow differ by more.
    coarse = rng.uniform(0, 255, (1, 4, 4, 3)).astype(np.float32)
    side = partition.classifier.image_px
    image = tf.image.resize(coarse, (side, side)).numpy()
    with tf.device("CPU:0"):
        expected = partition.trunk(
            [tf.constant(array) for array in partition.trunk_constants()],
            tf.constant(image),
        )
    for mine, tensor in zip(trunk(image), expected, strict=True):
        theirs = tensor.numpy()
        bound = MAX_DIFFERENCE * max(float(np.abs(theirs).max()), 1e-30)
        if mine.shape != theirs.shape or not (
            float(np.abs(mine - theirs).max()) <= bound
        ):
            raise ValueError("computes other features than TensorFlow")


def block_of(partition: Partition) -> int:
    """Returns the number of images in one pass of the graph: a power of two.

    The rule measures nothing, so every run gets the same result. On some
    processors, blocks of other sizes change the last bits.
    """
    largest = 4 * partition.largest_activation
    block = 1
    while block < MAX_BLOCK and 2 * block * largest <= _BLOCK_BYTES:
        block *= 2
    return block


def trunk_key(partition: Partition) -> dict[str, str]:
    """Returns the fields of a cache key that describe the trunk."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(partition.description.encode())
    for array in partition.trunk_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return {"trunk": digest.hexdigest(), "cut": json.dumps(partition.cut)}


def _concrete(partition: Partition, block: int) -> Any:
    """Traces the trunk for blocks of a fixed number of images."""
    side = partition.classifier.image_px
    # A function that creates variables, such as those of the copies, is traced
    # twice.
    partition.build_trunk()

    @tf.function(autograph=False)
    def trunk(images: tf.Tensor) -> list[tf.Tensor]:
        # Convert inside the function, so the graph contains constants. Read
        # there too, because the function would keep arrays from outside.
        with tf.init_scope():
            constants = partition.trunk_constants()
        return partition.trunk(
            [tf.constant(array) for array in constants], images
        )

    return trunk.get_concrete_function(
        tf.TensorSpec((block, side, side, 3), tf.float32)
    )


def padded(images: np.ndarray, block: int) -> np.ndarray:
    """Returns the images, padded with zeros to a whole block."""
    missing = block - len(images)
    if not missing:
        return images
    return np.pad(images, [(0, missing)] + [(0, 0)] * (images.ndim - 1))


def joined(found: list[list[np.ndarray]], count: int) -> list[np.ndarray]:
    """Concatenates the blocks of each feature and drops the padding."""
    return [np.concatenate(parts)[:count] for parts in zip(*found, strict=True)]
