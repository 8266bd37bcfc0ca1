"""Reads training batches of 20,000 images and prints the memory used.

    python -m tests.support.streaming FOLDER FORMAT

It is a process of its own, because memory used by other tests is not freed.
"""

from __future__ import annotations

import json
import pathlib
import sys

import numpy as np
import tensorflow as tf

from tests.support.records import write_records
from trainer.cache import AUTO, CacheFolder, FileCache, RowCache
from trainer.data.batches import training_batches
from trainer.data.order import Shard
from trainer.data.records import record_spans
from trainer.data.samples import ARRAY_RECORD, Samples
from trainer.learning.inputs import Inputs

IMAGES, SHARDS, DISTINCT, CLASSES = 20_000, 5, 300, 100
# An epoch has 157 steps: 156 full batches and one of 32 images.
IMAGE_PX, BATCH, STEPS, SETTLED = 64, 128, 200, 50
_MIB = 2**20


def make_records(folder: pathlib.Path, record_format: str) -> Samples:
    """Writes 20,000 records that repeat a few hundred images."""
    rng = np.random.default_rng(0)
    records = []
    for _ in range(DISTINCT):
        coarse = rng.integers(0, 255, (12, 12, 3))
        pixels = np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)
        encoded = tf.train.BytesList(value=[tf.io.encode_jpeg(pixels).numpy()])
        feature = {"image": tf.train.Feature(bytes_list=encoded)}
        example = tf.train.Example(features=tf.train.Features(feature=feature))
        records.append(example.SerializeToString())
    paths, offsets, lengths = [], [], []
    for shard in range(SHARDS):
        path = str(folder / f"records-{shard}")
        of_shard = [
            records[number % DISTINCT]
            for number in range(shard, IMAGES, SHARDS)
        ]
        write_records(path, of_shard, record_format)
        if record_format == ARRAY_RECORD:
            begin = np.arange(len(of_shard))
            size = np.array([len(record) for record in of_shard])
        else:
            begin, size = record_spans(path)
        paths += [path] * len(begin)
        offsets.append(begin)
        lengths.append(size)
    return Samples(
        ids=tuple(f"image{number}" for number in range(IMAGES)),
        labels=np.arange(IMAGES, dtype=np.int32) % CLASSES,
        paths=tuple(paths),
        offsets=np.concatenate(offsets),
        lengths=np.concatenate(lengths),
        record_image_key="image",
        record_format=record_format,
        # As if all images differed, so that the cache counts each one.
        digests=tuple(f"{number:032x}" for number in range(IMAGES)),
    )


def memory(name: str) -> float:
    """Returns MiB of this process: VmRSS is the current, VmHWM the peak."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(name)


def main(folder: str, record_format: str) -> None:
    """Reads the batches and prints a line of JSON."""
    samples = make_records(pathlib.Path(folder), record_format)
    inputs = Inputs(
        None,
        image_px=IMAGE_PX,
        engine="step",
        block=0,
        feature_dtype="float32",
        kernel="projective",
        cache=RowCache(
            mode=AUTO,
            disk=CacheFolder(folder, disk_bytes=64 * _MIB),
            ram_bytes=64 * _MIB,
        ),
        files=FileCache(None),
        decode_cache=True,
        machine="",
        warn=print,
        report=print,
    )
    reading = inputs.training(samples, augment=True)
    batches = training_batches(
        samples,
        reading=reading,
        shard=Shard(global_batch=BATCH, num_replicas=1),
        seed=0,
        start_step=0,
        total_steps=STEPS,
        augment=True,
    )
    result: dict[str, float] = {"begin": memory("VmRSS"), "real": 0}
    for step, batch in enumerate(batches, 1):
        assert batch["images"].shape == (BATCH, IMAGE_PX, IMAGE_PX, 3)
        result["real"] += float(tf.reduce_sum(batch["mask"]))
        if step == SETTLED:
            result["settled"] = memory("VmRSS")
    result |= {"end": memory("VmRSS"), "peak": memory("VmHWM")}
    print(json.dumps({**result, "cached": reading.images is not None}))


if __name__ == "__main__":
    main(*sys.argv[1:])
