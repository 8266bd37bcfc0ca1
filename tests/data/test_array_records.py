"""Reading records of ArrayRecord files by number."""

from __future__ import annotations

import concurrent.futures
import functools
import pathlib
import resource
import uuid

import numpy as np
import pytest
import tensorflow as tf

from tests.support.records import write_array_records
from trainer.data import array_records
from trainer.data.array_records import (
    count_records,
    read_columns,
    read_records,
)
from trainer.storage import files

RECORDS = [bytes([number]) * (number + 1) for number in range(200)]


@pytest.fixture(params=["local", "remote"])
def path(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
    """Path of a file of `RECORDS`, local or remote."""
    local = str(tmp_path / "records")
    write_array_records(local, RECORDS)
    if request.param == "local":
        return local
    url = f"ram://{uuid.uuid4().hex}/records"
    tf.io.gfile.copy(local, url)
    return url


def test_records_are_read_in_any_order_from_any_file(
    path: str, tmp_path: pathlib.Path
) -> None:
    other = str(tmp_path / "other")
    write_array_records(other, [b"one", b"", b"three"])
    assert count_records(path) == 200
    assert count_records(other) == 3
    found = read_records(
        [path, other, path, other, path, path], [7, 2, 199, 1, 0, 7]
    )
    assert found == [
        RECORDS[7], b"three", RECORDS[199], b"", RECORDS[0], RECORDS[7]
    ]  # fmt: skip
    assert read_records([], []) == []


def test_many_threads_read_one_file(path: str) -> None:
    order = np.random.default_rng(0).integers(0, 200, 4000).tolist()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: read_records([path], [n])[0], order))
    assert found == [RECORDS[number] for number in order]


def test_more_files_than_may_be_open_are_read(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = functools.lru_cache(8)(array_records._reader.__wrapped__)
    monkeypatch.setattr(array_records, "_reader", few)
    paths = [str(tmp_path / f"{number}") for number in range(30)]
    for number, path in enumerate(paths):
        write_array_records(path, [str(number).encode()])
    before = len(list(pathlib.Path("/proc/self/fd").iterdir()))
    # In separate calls, because one call opens each file only once.
    assert [read_records([path], [0])[0] for path in paths * 2] == [
        str(number).encode() for number in [*range(30)] * 2
    ]
    after = len(list(pathlib.Path("/proc/self/fd").iterdir()))
    assert 0 < after - before <= 8


def test_half_of_the_possible_files_stay_open() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = array_records._reader.cache_parameters()["maxsize"]
    assert most == min(max(limit, 64), 8192) // 2


def test_a_replaced_file_is_opened_again(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "records")
    write_array_records(path, RECORDS)
    assert read_records([path], [0]) == [RECORDS[0]]
    again = [_example(photo=b"new", label=4)]
    write_array_records(path, again)
    labels, _ = read_columns(path, "photo", "label")
    assert labels.tolist() == [4]
    assert read_records([path], [0]) == again


def _example(**features: bytes | int) -> bytes:
    example = tf.train.Example()
    for name, value in features.items():
        feature = example.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        else:
            feature.int64_list.value.append(value)
    return example.SerializeToString()


# The last two need one full block, and several.
@pytest.mark.parametrize("count", [0, 1, 64, 150])
def test_labels_and_lengths_of_all_records_are_read(
    tmp_path: pathlib.Path, count: int
) -> None:
    path = str(tmp_path / "records")
    examples = [
        _example(photo=b"x" * number, label=3 * number)
        for number in range(count)
    ]
    write_array_records(path, examples)
    labels, lengths = read_columns(path, "photo", "label")
    assert labels.tolist() == [3 * number for number in range(count)]
    assert lengths.tolist() == [len(example) for example in examples]


def test_a_record_without_image_is_an_error(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "records")
    write_array_records(path, [_example(label=1)])
    with pytest.raises(tf.errors.OpError, match="photo"):
        read_columns(path, "photo", "label")


def test_a_damaged_record_is_an_error(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "records")
    # Noise, which is not compressed.
    records = [np.random.default_rng(n).bytes(999) for n in range(9)]
    write_array_records(path, records)
    content = bytearray(files.read(path))
    content[content.index(records[5]) + 3] ^= 1
    pathlib.Path(path).write_bytes(content)
    assert read_records([path], [4]) == [records[4]]
    with pytest.raises(OSError, match="hash mismatch") as error:
        read_records([path], [5])
    assert error.value.filename == path
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("cut", [0, 1000, 65536])
def test_a_file_without_its_index_is_an_error(
    tmp_path: pathlib.Path, cut: int
) -> None:
    path = tmp_path / "records"
    write_array_records(str(path), RECORDS)
    path.write_bytes(path.read_bytes()[:cut])
    for read in (
        lambda: count_records(str(path)),
        lambda: read_columns(str(path), "photo", "label"),
    ):
        with pytest.raises(
            OSError, match="not an ArrayRecord file, or damaged"
        ):
            read()


def test_a_missing_file_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        count_records(str(tmp_path / "records"))
