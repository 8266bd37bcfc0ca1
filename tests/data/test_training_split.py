"""The training samples alone, compared with those of a manifest."""

from __future__ import annotations

import pathlib
import shutil
from typing import Any

import pytest

from tests.support.manifests import build
from tests.support.photos import make_photos
from trainer.cache import CacheFolder, FileCache
from trainer.data import check
from trainer.data.sources import open_source
from trainer.data.training_split import TrainingSplit, training_split
from trainer.errors import TrainerError

DATA: dict[str, Any] = {
    "tfds_data_dir": None,
    "test_fraction": 0.25,
    "data_pct": 50.0,
    "seed": 3,
    "on_bad_image": "fail",
}
OTHERS = {"batch_size": 4, "validation_fraction": 1.0}


@pytest.fixture
def photos(tmp_path: pathlib.Path) -> pathlib.Path:
    make_photos(tmp_path / "photos", train=8, test=3)
    return tmp_path / "photos"


@pytest.fixture
def cache(tmp_path: pathlib.Path) -> FileCache:
    return FileCache(CacheFolder(str(tmp_path / "cache"), disk_bytes=2**20))


def read(
    photos: pathlib.Path, cache: FileCache | None = None, **changes: Any
) -> TrainingSplit:
    values = {**DATA, **changes}
    source = open_source(
        str(photos),
        **{
            name: values.pop(name)
            for name in ("tfds_data_dir", "test_fraction")
        },
    )
    return training_split(
        source=source, **values, cache=cache or FileCache(None)
    )


@pytest.mark.parametrize("layout", ["train and test", "one folder"])
@pytest.mark.parametrize("seed", [3, 4])
def test_samples_are_those_that_a_run_trains_on(
    photos: pathlib.Path, layout: str, seed: int
) -> None:
    folder = photos if layout == "train and test" else photos / "train"
    found = read(folder, seed=seed)
    run = build(folder, **{**DATA, **OTHERS, "seed": seed})
    assert found.samples.ids == run.train.ids
    assert found.samples.digests == run.train.digests
    assert found.samples.labels.tolist() == run.train.labels.tolist()
    assert found.class_names == run.class_names
    # Half of 8, or of the 6 that are not held out for testing.
    assert len(found.samples) == (12 if layout == "train and test" else 9)


def test_fingerprint_depends_on_the_training_samples_only(
    photos: pathlib.Path,
) -> None:
    first = read(photos, data_pct=100.0).fingerprint
    for path in photos.glob("test/*/*"):
        path.write_bytes(b"")
    assert read(photos, data_pct=100.0).fingerprint == first
    assert read(photos).fingerprint != first
    one, two = sorted(photos.glob("train/sushi/*"))[:2]
    shutil.copy(one, two)
    assert read(photos, data_pct=100.0).fingerprint != first


def test_bad_training_images_fail_or_are_counted(photos: pathlib.Path) -> None:
    (photos / "train/sushi/001.jpg").write_bytes(b"")
    with pytest.raises(TrainerError, match=r"sushi/001\.jpg: an empty file"):
        read(photos)
    found = read(photos, on_bad_image="skip", data_pct=100.0)
    assert (found.skipped, len(found.samples)) == (1, 23)


def test_checks_are_shared_with_runs(
    photos: pathlib.Path,
    cache: FileCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Images are read once, whichever comes first."""
    reads: list[int] = []
    real = check.read_encoded_image

    def counting(*args: Any) -> Any:
        reads.append(1)
        return real(*args)

    monkeypatch.setattr(check, "read_encoded_image", counting)
    read(photos, cache)
    assert len(reads) == 24
    for _ in range(2):
        build(photos, **DATA, **OTHERS, cache=cache)
        read(photos, cache)
    # The run has read its 9 test images.
    assert len(reads) == 24 + 9
