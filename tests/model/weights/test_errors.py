"""`--weights`: damaged files, dangerous files and other architectures."""

from __future__ import annotations

import pathlib
import zipfile
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.model.weights.test_load import build, is_zero, load
from trainer.errors import TrainerError, UsageError
from trainer.model.backbones import FORM_NA, build_backbone, find_backbone
from trainer.model.weights.load import load_weights
from trainer.model.weights.plan import plan_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder of valid files to damage."""
    to, model = tmp_path_factory.mktemp("weights"), build()
    model.save_weights(to / "b.weights.h5")
    model.save(to / "b.keras")
    tf.train.Checkpoint(model=model).write(str(to / "model"))
    return to


@pytest.fixture(scope="module")
def empty() -> keras.Model:
    return build()


@pytest.fixture
def target(empty: keras.Model) -> keras.Model:
    """A backbone whose weights are all zero."""
    empty.set_weights([np.zeros(w.shape) for w in empty.weights])
    return empty


def lambda_file(path: pathlib.Path) -> None:
    layers = [keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2)]
    keras.Sequential(layers).save(path.with_suffix(".keras"))
    path.with_suffix(".keras").rename(path)


def linked_file(path: pathlib.Path, folder: pathlib.Path) -> None:
    path.write_bytes((folder / "b.weights.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars/0"] = h5py.ExternalLink("/etc/x.h5", "/a")


def checkpoint_without_data(path: pathlib.Path, folder: pathlib.Path) -> None:
    index = (folder / "model.index").read_bytes()
    path.with_name(path.name + ".index").write_bytes(index)


def wrong_zip(path: pathlib.Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")


def wrong_hdf5(path: pathlib.Path) -> None:
    with h5py.File(path, "w") as file:
        file["a"] = 1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda p, f: None,
            UsageError,
            "no such file; give imagenet, none, a .weights.h5, legacy .h5 or"
            " .keras file or a TF checkpoint",
        ),
        (
            lambda p, f: p.write_text("hello"),
            TrainerError,
            "holds no weights that can be read; give a .weights.h5",
        ),
        (
            lambda p, f: p.mkdir(),
            TrainerError,
            "holds no weights that can be read",
        ),
        (
            lambda p, f: p.write_bytes(
                (f / "b.weights.h5").read_bytes()[:100_000]
            ),
            TrainerError,
            "the file is damaged or incomplete",
        ),
        (
            lambda p, f: p.write_bytes((f / "b.keras").read_bytes()[:100_000]),
            TrainerError,
            "the file is damaged or incomplete",
        ),
        (lambda p, f: wrong_zip(p), TrainerError, "a zip, but no .keras file"),
        (
            lambda p, f: wrong_hdf5(p),
            TrainerError,
            "an HDF5 file, but not one of Keras weights",
        ),
        (
            lambda p, f: lambda_file(p),
            TrainerError,
            "holds a Lambda layer, which is Python code",
        ),
        (linked_file, TrainerError, "is a link or stored outside the file"),
        (checkpoint_without_data, TrainerError, "the file is damaged"),
    ],
    ids=[
        "missing",
        "text",
        "folder",
        "cut-h5",
        "cut-keras",
        "zip",
        "hdf5",
        "lambda",
        "link",
        "checkpoint-data",
    ],
)
def test_bad_file(
    make: Any,
    error: type[TrainerError],
    message: str,
    folder: pathlib.Path,
    tmp_path: pathlib.Path,
    target: keras.Model,
) -> None:
    path = tmp_path / "file"
    make(path, folder)
    with pytest.raises(error) as caught:
        load(path, target)
    assert str(caught.value).startswith(f"--weights={str(path)!r}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == (2 if error is UsageError else 1)
    assert is_zero(target)


def save_other(path: pathlib.Path, kind: str, model: keras.Model) -> str:
    if kind == "checkpoint":
        return tf.train.Checkpoint(model=model).write(str(path))
    file = path.with_suffix({"weights": ".weights.h5"}.get(kind, f".{kind}"))
    if kind == "weights":
        model.save_weights(file)
    else:
        model.save(file)
    return str(file)


@pytest.fixture(scope="module")
def others() -> dict[str, keras.Model]:
    return {
        "wide": build(alpha=0.5),
        "other": keras.applications.MobileNet(
            weights=None, include_top=False, input_shape=(32, 32, 3)
        ),
    }


@pytest.mark.parametrize("kind", ["weights", "h5", "keras", "checkpoint"])
@pytest.mark.parametrize(
    ("which", "message"),
    [
        (
            "other",
            "saved from another architecture, or incomplete: of the 104 layers"
            " of mobilenetv2_0.35_32 that have weights it has ",
        ),
        # The first layer that differs: 24 channels times .35 and .5 give 8 and
        # 16, so block 1 has 8 input channels in both, and 16 outputs here.
        (
            "wide",
            "wrong shapes for mobilenetv2_0.35_32: layer 'block_1_project'"
            " (kernel) is (1, 1, 48, 16) in the file and (1, 1, 48, 8) in the"
            " model; give the --backbone_args it was saved with, or other",
        ),
    ],
    ids=["architecture", "shapes"],
)
def test_weights_that_do_not_fit(
    which: str,
    message: str,
    kind: str,
    others: dict[str, keras.Model],
    target: keras.Model,
    tmp_path: pathlib.Path,
) -> None:
    path = save_other(tmp_path / "other", kind, others[which])
    with pytest.raises(TrainerError) as caught:
        load(path, target)
    assert str(caught.value).startswith(f"--weights={path!r}: {message}")
    assert type(caught.value) is TrainerError
    assert "\n" not in str(caught.value)
    assert is_zero(target)


def test_a_deeper_network_has_the_same_groups(tmp_path: pathlib.Path) -> None:
    """VGG19 has every group that VGG16 has, and three more."""
    shape = (32, 32, 3)
    deep = keras.applications.VGG19(
        weights=None, include_top=False, input_shape=shape
    )
    deep.save_weights(tmp_path / "vgg19.weights.h5")
    backbone = find_backbone("VGG16")
    plan = plan_weights(
        str(tmp_path / "vgg19.weights.h5"),
        backbone=backbone,
        weights_origin=None,
    )
    model = build_backbone("VGG16", {}, 32, form=FORM_NA)
    with pytest.raises(TrainerError, match=r"another architecture.*'block4_c"):
        load_weights(model, plan, backbone=backbone, backbone_args={})
