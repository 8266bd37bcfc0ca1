"""Writes samples into files of records, and reads them one by one."""

from __future__ import annotations

import dataclasses
import pathlib
import pickle
import sys

import numpy as np
import tensorflow as tf
from array_record.python.array_record_module import ArrayRecordWriter

from trainer.data.batches import training_batches
from trainer.data.check import read_encoded_image
from trainer.data.decode import image_of_record, read_record
from trainer.data.order import Shard
from trainer.data.reading import Reading
from trainer.data.samples import ARRAY_RECORD, TFRECORD, Samples


def write_records(path: str, payloads: list[bytes], record_format: str) -> None:
    """Writes a file of records in either format."""
    if record_format == ARRAY_RECORD:
        write_array_records(path, payloads)
        return
    with tf.io.TFRecordWriter(path) as writer:
        for payload in payloads:
            writer.write(payload)


def write_array_records(path: str, payloads: list[bytes]) -> None:
    """Writes an ArrayRecord file as TFDS does, without groups of records."""
    writer = ArrayRecordWriter(path, "group_size:1")
    for payload in payloads:
        writer.write(payload)
    writer.close()


def as_records(
    samples: Samples, folder: pathlib.Path, record_format: str = TFRECORD
) -> Samples:
    """Writes the files of samples alternately into two files of records."""
    shards = [folder / f"{i}.{record_format}" for i in range(2)]
    payloads = []
    for i, path in enumerate(samples.paths):
        content = pathlib.Path(path).read_bytes()
        example = tf.train.Example()
        feature = example.features.feature
        feature["photo"].bytes_list.value.append(content)
        feature["label"].int64_list.value.append(i)
        payloads.append(example.SerializeToString())
    for j, file in enumerate(shards):
        write_records(str(file), payloads[j::2], record_format)
    if record_format == ARRAY_RECORD:
        offsets = [i // 2 for i in range(len(payloads))]
    else:
        contents = [file.read_bytes() for file in shards]
        offsets = [contents[i % 2].index(p) for i, p in enumerate(payloads)]
    return dataclasses.replace(
        samples,
        paths=tuple(str(shards[i % 2]) for i in range(len(samples))),
        offsets=np.array(offsets),
        lengths=np.array([len(payload) for payload in payloads]),
        record_image_key="photo",
        record_format=record_format,
    )


def read_encoded(samples: Samples, row: int) -> tf.Tensor:
    """Returns a sample's encoded image from a record, string scalar."""
    if samples.record_format == ARRAY_RECORD:
        return tf.constant(read_encoded_image(samples, row))
    record = read_record(
        tf.constant(samples.paths[row]),
        tf.constant(samples.offsets[row]),
        tf.constant(samples.lengths[row]),
    ).get_single_element()
    assert samples.record_image_key is not None
    return image_of_record(record, samples.record_image_key)


def main(*pickled: str) -> None:
    """Reads epochs of pickled samples as a deterministic run does."""
    tf.config.experimental.enable_op_determinism()
    for path in pickled:
        samples = pickle.loads(pathlib.Path(path).read_bytes())
        steps = -(-len(samples) // 4)
        dataset = training_batches(
            samples,
            reading=Reading(image_px=8),
            shard=Shard(global_batch=4, num_replicas=1),
            seed=0,
            start_step=0,
            total_steps=steps,
            augment=False,
        )
        print(len(list(dataset)), "batches")


if __name__ == "__main__":
    main(*sys.argv[1:])
