"""Features as an archive, and as TensorBoard's projector reads them."""

from __future__ import annotations

import io
import pathlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from werkzeug.test import Client

from trainer.errors import TrainerError
from trainer.results.embedding import (
    Embedding,
    Labels,
    archive,
    check_output,
    metadata,
    sprite,
    thumbnail_px,
    write_embedding,
)

HOSTILE = ("a\tb.jpg", "c\nd.jpg", "\x1b[31m.jpg", "é\u2028.jpg", "x.jpg")


def embedding(names: tuple[str, ...], labels: Labels | None) -> Embedding:
    rng = np.random.default_rng(0)
    return Embedding(
        features=rng.normal(size=(len(names), 3)).astype(np.float32),
        names=names,
        labels=labels,
        bad=(("bad.jpg", "an empty file"),),
    )


def labelled() -> Embedding:
    return embedding(
        HOSTILE,
        Labels(
            labels=np.array([0, 1, 1, 0, 1], np.int32),
            class_names=("a\tb", "plain"),
            splits=("train",) * 3 + ("test",) * 2,
        ),
    )


def plain(number: int, side: int) -> np.ndarray:
    """Returns an image whose colour is its number."""
    return np.full((side, side, 3), number, np.uint8)


def loaded(data: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)


def test_archive_of_files() -> None:
    given = embedding(HOSTILE, None)
    found = loaded(archive(given))
    assert sorted(found) == ["bad_errors", "bad_names", "features", "paths"]
    np.testing.assert_array_equal(found["features"], given.features)
    assert found["features"].dtype == np.float32
    assert tuple(found["paths"]) == HOSTILE
    assert tuple(found["bad_names"]) == ("bad.jpg",)
    assert tuple(found["bad_errors"]) == ("an empty file",)


def test_archive_of_a_data_set() -> None:
    found = loaded(archive(labelled()))
    assert tuple(found["ids"]) == HOSTILE
    assert found["labels"].tolist() == [0, 1, 1, 0, 1]
    assert tuple(found["class_names"]) == ("a\tb", "plain")
    assert tuple(found["splits"]) == ("train",) * 3 + ("test",) * 2
    assert "paths" not in found


def test_metadata_escapes_names() -> None:
    assert metadata(embedding(HOSTILE, None)).split("\n") == [
        "a\\tb.jpg",
        "c\\nd.jpg",
        "\\x1b[31m.jpg",
        "é\\u2028.jpg",
        "x.jpg",
        "",
    ]
    assert metadata(labelled()).split("\n") == [
        "id\tclass\tsplit",
        "a\\tb.jpg\ta\\tb\ttrain",
        "c\\nd.jpg\tplain\ttrain",
        "\\x1b[31m.jpg\tplain\ttrain",
        "é\\u2028.jpg\ta\\tb\ttest",
        "x.jpg\tplain\ttest",
        "",
    ]


@pytest.mark.parametrize(
    ("count", "px"),
    # 128 columns of 64 px are 8,192; 129 columns of 63 px are 8,127.
    [
        (1, 64),
        (128**2, 64),
        (128**2 + 1, 63),
        (1024**2, 8),
        (1024**2 + 1, 0),
    ],
)
def test_sprite_is_at_most_8192_px_wide(count: int, px: int) -> None:
    assert thumbnail_px(count) == px
    assert int(np.ceil(np.sqrt(count))) * px <= 8192


def test_sprite_places_images_row_by_row() -> None:
    """Five images: three columns, two rows, one cell white."""
    found = sprite(5, 2, plain)
    assert found.shape == (4, 6, 3)
    assert found[::2, ::2, 0].tolist() == [[0, 1, 2], [3, 4, 255]]


@pytest.mark.parametrize("given", [embedding(HOSTILE, None), labelled()])
def test_tensorboard_reads_the_folder(
    tmp_path: pathlib.Path, given: Embedding
) -> None:
    folder = tmp_path / "shown"
    said = write_embedding(str(folder), given, plain)
    assert said.endswith(f"tensorboard --logdir {folder} shows them")
    provider = SimpleNamespace(list_runs=lambda *_, **__: [])
    plugin = ProjectorPlugin(
        SimpleNamespace(data_provider=provider, logdir=str(folder))
    )
    plugin._update_configs()
    (shown,) = plugin._configs["."].embeddings
    assert list(shown.tensor_shape) == [5, 3]
    assert list(shown.sprite.single_image_dim) == [64, 64]

    def get(path: str) -> bytes:
        apps = plugin.get_plugin_apps()
        response = Client(apps[path.partition("?")[0]]).get(path)
        assert response.status_code == 200
        return response.get_data()

    asked = "?run=.&name=features"
    values = np.frombuffer(get(f"/tensor{asked}"), np.float32)
    np.testing.assert_array_equal(values.reshape(5, 3), given.features)
    rows = get(f"/metadata{asked}").decode().splitlines()
    assert len(rows) == 5 + (given.labels is not None)
    image = tf.io.decode_png(get(f"/sprite_image{asked}")).numpy()
    assert image.shape == (2 * 64, 3 * 64, 3)
    assert image[::64, ::64, 0].tolist() == [[0, 1, 2], [3, 4, 255]]
    # The archive of the same features is beside.
    found = loaded((folder / "features.npz").read_bytes())
    np.testing.assert_array_equal(found["features"], given.features)


def test_a_file_is_written_alone(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "new/x.npz"
    check_output(str(path))
    write_embedding(str(path), labelled(), plain)
    assert [p.name for p in path.parent.iterdir()] == ["x.npz"]


@pytest.mark.parametrize("name", ["file/x.npz", "file", "folder.npz"])
def test_an_output_that_cannot_be_written_is_refused(
    tmp_path: pathlib.Path, name: str
) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(TrainerError, match=r"--output=.*give FILE\.npz"):
        check_output(str(tmp_path / name))
