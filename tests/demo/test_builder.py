"""The demo data set, prepared and opened like any TFDS data set."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tests.support.records import read_encoded
from trainer.data.decode import decode_image
from trainer.data.samples import Source
from trainer.data.sources import open_source
from trainer.demo import builder, workers
from trainer.demo.image import CLASSES, draw_jpeg
from trainer.errors import TrainerError

SMALL = {"train": 12, "test": 4}


@pytest.fixture(autouse=True)
def small_and_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits classes to twelve and four images; forbids the network."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(builder.Demo, "per_class", SMALL)
    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)


def open_demo(folder: pathlib.Path, dataset: str = "demo") -> Source:
    return open_source(dataset, tfds_data_dir=str(folder), test_fraction=0.2)


def test_the_demo_is_a_source(
    tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = open_demo(tmp_path)
    folder = tmp_path / "demo" / "1.0.0"
    assert capfd.readouterr() == (
        f"demo: drawing 160 images to {folder} (once)\n",
        "",
    )
    assert source.name == "demo"
    assert source.location == str(folder)
    assert source.class_names == CLASSES
    assert source.validation is None
    assert source.test is not None
    assert source.train.counts(10).tolist() == [12] * 10
    assert source.test.counts(10).tolist() == [4] * 10
    assert sorted(source.train.ids) == sorted(
        f"demo-train.tfrecord-00000-of-00001__{i}" for i in range(120)
    )
    open_demo(tmp_path, "demo:1.0.0")
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_one_and_four_cores_prepare_the_same_files(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one core this process draws; with four cores, workers do."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    one = open_demo(tmp_path / "one")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    other = open_demo(tmp_path / "other")
    for split, samples in one.splits().items():
        again = other.splits()[split]
        assert samples.ids == again.ids
        np.testing.assert_array_equal(samples.labels, again.labels)
        np.testing.assert_array_equal(samples.offsets, again.offsets)
        assert (
            pathlib.Path(samples.paths[0]).read_bytes()
            == pathlib.Path(again.paths[0]).read_bytes()
        )
    # TFDS shuffles by a hash of the keys, so keys must not change.
    assert one.train.labels[:10].tolist() == [9, 7, 0, 9, 9, 5, 4, 6, 8, 3]


@pytest.mark.slow
def test_the_stored_images_are_those_drawn(tmp_path: pathlib.Path) -> None:
    source = open_demo(tmp_path)
    assert source.test is not None
    for samples, split, count in (
        (source.train, "train", 12),
        (source.test, "test", 4),
    ):
        stored: dict[int, set[bytes]] = {}
        for row in range(len(samples)):
            pixels = decode_image(read_encoded(samples, row)).numpy()
            assert pixels.shape == (96, 96, 3)
            label = int(samples.labels[row])
            stored.setdefault(label, set()).add(pixels.tobytes())
        for label, name in enumerate(CLASSES):
            drawn = {
                decode_image(tf.constant(draw_jpeg(name, split, i)))
                .numpy()
                .tobytes()
                for i in range(count)
            }
            assert stored[label] == drawn


def test_a_failure_names_the_flag_for_the_folder(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(workers, "draw_jpeg", full)
    with pytest.raises(TrainerError) as error:
        open_demo(tmp_path)
    text = str(error.value)
    assert text.startswith("--dataset='demo': cannot be prepared (")
    assert "No space left on device" in text
    assert text.endswith(
        "; point --tfds_data_dir at a folder with space to write in"
    )
    assert not list((tmp_path / "demo").iterdir())
    monkeypatch.undo()
    monkeypatch.setattr(builder.Demo, "per_class", SMALL)
    assert len(open_demo(tmp_path).train) == 120


@pytest.mark.slow
def test_data_prepared_by_another_process_is_used(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = builder.Demo.download_and_prepare

    def race(self: builder.Demo, **options: object) -> None:
        monkeypatch.setattr(builder.Demo, "download_and_prepare", prepare)
        other = tfds.builder("demo", data_dir=str(tmp_path))
        self_generate = self._generate_examples

        def late(split: str, count: int) -> object:
            if not other.is_prepared():
                other.download_and_prepare()
            return self_generate(split, count)

        monkeypatch.setattr(self, "_generate_examples", late)
        prepare(self, **options)

    monkeypatch.setattr(builder.Demo, "download_and_prepare", race)
    assert len(open_demo(tmp_path).train) == 120


@pytest.mark.slow
def test_a_killed_preparation_leaves_no_data_set(
    tmp_path: pathlib.Path,
) -> None:
    """No partial data set is used, and no worker process survives."""
    code = (
        "from trainer.data.sources import open_source;"
        f"open_source('demo', tfds_data_dir={str(tmp_path)!r},"
        " test_fraction=0.2)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert b"drawing 10,000 images" in process.stdout.readline()
    deadline = time.monotonic() + 60
    while not (children := _children(process.pid)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{pid}") for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not (tmp_path / "demo" / "1.0.0").exists()
    assert len(open_demo(tmp_path).train) == 120


def _children(pid: int) -> list[int]:
    path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    if not path.exists():
        pytest.skip("this system does not list a process's children")
    return [int(child) for child in path.read_text().split()]
