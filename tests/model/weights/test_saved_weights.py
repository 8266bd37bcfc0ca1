"""Pairing layers and assigning values: never a half-loaded backbone."""

from __future__ import annotations

import functools
import pathlib

import h5py
import keras
import numpy as np
import pytest

from trainer.errors import TrainerError
from trainer.model import lite
from trainer.model.backbones import find_backbone
from trainer.model.weights import saved_weights
from trainer.model.weights.saved_weights import SavedLayer, SavedWeight

FAMILIES = (
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "VGG16",
    # Layers inside layers.
    pytest.param("ConvNeXtTiny", marks=pytest.mark.slow),
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            "DenseNet121",
            "EfficientNetB0",
            "EfficientNetLite0",
            "InceptionResNetV2",
            "NASNetMobile",
            "ResNet50V2",
            "Xception",
        )
    ),
)


@pytest.mark.parametrize("name", FAMILIES)
def test_groups_are_those_that_keras_writes(
    name: str, tmp_path: pathlib.Path
) -> None:
    px = find_backbone(name).min_image_px
    constructor = (
        lite.constructor(name)
        if name in lite.SCALES
        else getattr(keras.applications, name)
    )
    model = constructor(
        weights=None, include_top=False, input_shape=(px, px, 3)
    )
    path = tmp_path / "x.weights.h5"
    model.save_weights(path)
    layers = saved_weights.model_layers(model)
    with h5py.File(path) as file:
        for found in layers:
            group = file[f"{found.path}/vars"]
            assert group.attrs["name"] == found.name
            for index, weight in enumerate(found.layer.weights):
                np.testing.assert_array_equal(group[str(index)], weight)
    weights = [w for found in layers for w in found.layer.weights]
    assert list(map(id, weights)) == list(map(id, model.weights))


def load_pairs(
    label: str, pairs: list[saved_weights.LayerPair], model: keras.Model
) -> None:
    values = saved_weights.read_pairs(label, pairs, model)
    saved_weights.assign_weights(model, values)


def small_model() -> keras.Model:
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Normalization(name="normalization")(inputs)
    x = keras.layers.Conv2D(2, 1, name="conv2d")(x)
    return keras.Model(inputs, keras.layers.Conv2D(1, 1, name="conv2d_1")(x))


def saved_layer(name: str, **arrays: np.ndarray) -> SavedLayer:
    return SavedLayer(
        name=name,
        weights=tuple(
            SavedWeight(
                name=key,
                shape=value.shape,
                read=functools.partial(np.asarray, value),
            )
            for key, value in arrays.items()
        ),
    )


def small_file(first: int) -> list[SavedLayer]:
    """Layers for `small_model`, automatic numbers beginning at `first`."""
    conv = {"kernel": np.full((1, 1, 3, 2), 7.0), "bias": np.zeros(2)}
    last = {"kernel": np.ones((1, 1, 2, 1)), "bias": np.array([5.0])}
    return [
        saved_layer(
            "normalization",
            mean=np.array([1.0, 2.0, 3.0]),
            variance=np.array([4.0, 4.0, 4.0]),
            count=np.array(0),
        ),
        saved_layer(f"conv2d_{first}" if first else "conv2d", **conv),
        saved_layer(f"conv2d_{first + 1}", **last),
    ]


@pytest.mark.parametrize("first", [0, 1, 94], ids=["same", "by-one", "far"])
def test_drifted_automatic_names_load_in_order(first: int) -> None:
    model = small_model()
    head = saved_layer("dense", kernel=np.zeros((1, 2)))
    pairs = saved_weights.pair_by_name("x", [*small_file(first), head], model)
    load_pairs("x", pairs, model)
    # (pixel - mean) / 2 -> times 7, summed -> both channels -> + 5:
    # zeros give 2 * 7 * -(1 + 2 + 3) / 2 + 5.
    np.testing.assert_allclose(model(np.zeros((1, 4, 4, 3)))[0, 0, 0], [-37])


def test_missing_layer() -> None:
    with pytest.raises(TrainerError) as caught:
        saved_weights.pair_by_name("F", small_file(0)[:2], small_model())
    assert str(caught.value).startswith(
        "F: saved from another architecture, or incomplete: of the 3 layers"
    )
    assert "that have weights it has 2, and no 'conv2d_1'; give" in str(
        caught.value
    )


def broken() -> np.ndarray:
    raise OSError("truncated file")


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (
            SavedWeight(name="bias", shape=(2,), read=lambda: np.zeros(2)),
            r"F: wrong shapes for \w+: layer 'conv2d_1' \(bias\) is \(2,\) in"
            r" the file and \(1,\) in the model",
        ),
        (
            SavedWeight(name="bias", shape=(1,), read=broken),
            r"F: cannot be read \(truncated file\); the file is damaged",
        ),
        (
            SavedWeight(name="bias", shape=(1,), read=lambda: np.array(["a"])),
            r"F: bias holds <U1, not numbers",
        ),
        (None, r"F: .*'conv2d_1' has 1 weights in the file and 2 in"),
    ],
    ids=["shape", "unreadable", "text", "count"],
)
def test_an_error_assigns_nothing(
    weight: SavedWeight | None, message: str
) -> None:
    model = small_model()
    before = model.get_weights()
    *good, last = small_file(0)
    weights = (last.weights[0], *([weight] if weight else []))
    bad = SavedLayer(name=last.name, weights=weights)
    pairs = saved_weights.pair_by_name("F", [*good, bad], model)
    with pytest.raises(TrainerError, match=message):
        load_pairs("F", pairs, model)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_finalize_updates_normalization_constants() -> None:
    model = small_model()
    layer = model.get_layer("normalization")
    ones = np.ones((1, 4, 4, 3), np.float32)
    layer.adapt_mean.assign([1.0, 1.0, 1.0])
    # Keras would otherwise use the constants that it computed before.
    assert float(layer(ones)[0, 0, 0, 0]) == 1.0
    saved_weights.finalize_layers(model)
    assert float(layer(ones)[0, 0, 0, 0]) == 0.0


def numbers_model() -> keras.Model:
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Normalization(name="normalization")(inputs)
    x = keras.layers.BatchNormalization(name="norm", scale=False)(x)
    return keras.Model(inputs, x, name="tiny")


NUMBERS = {
    "mean": np.zeros(3),
    "variance": np.ones(3),
    "count": np.array(7),
    "beta": np.zeros(3),
    "moving_mean": np.zeros(3),
    "moving_variance": np.ones(3),
}
NAN, INF = float("nan"), float("inf")


def load_numbers(model: keras.Model, **changed: np.ndarray) -> None:
    arrays = {**NUMBERS, **changed}
    first = {name: arrays[name] for name in list(arrays)[:3]}
    last = {name: arrays[name] for name in list(arrays)[3:]}
    saved = [saved_layer("normalization", **first), saved_layer("norm", **last)]
    pairs = saved_weights.pair_by_name("--weights='F'", saved, model)
    load_pairs("--weights='F'", pairs, model)


@pytest.mark.parametrize(
    ("name", "values", "found"),
    [
        ("beta", np.array([0, NAN, 0]), "NaN in 1 of 3 values"),
        ("beta", np.array([0, INF, -INF]), "infinity in 2 of 3 values"),
        ("beta", np.array([0, INF, NAN]), "NaN or infinity in 2 of 3 values"),
        ("beta", np.full(3, 1e300), "infinity in 3 of 3 values"),
        ("beta", np.full(3, NAN, np.float16), "NaN in 3 of 3 values"),
        ("moving_mean", np.full(3, -1e39), "infinity in 3 of 3 values"),
        (
            "moving_variance",
            np.array([1, -0.5, -2]),
            "a negative variance, -2",
        ),
        ("moving_variance", np.array([1, 1, -3]), "a negative variance, -3"),
        ("variance", np.array([1, 1, -1e-9]), "a negative variance, -1e-09"),
        ("count", np.array(-(2.0**70)), str(-(2**70))),
        ("count", np.array(NAN), "NaN or infinity"),
        ("count", np.array(1e300), str(int(1e300))),
    ],
)
def test_values_that_no_weight_can_have_are_rejected(
    name: str, values: np.ndarray, found: str
) -> None:
    model = numbers_model()
    before = model.get_weights()
    layer = "normalization" if name in list(NUMBERS)[:3] else "norm"
    dtype = "int64" if name == "count" else "float32"
    with pytest.raises(TrainerError) as caught:
        load_numbers(model, **{name: values})
    assert str(caught.value) == (
        f"--weights='F': layer {layer!r} ({name}) holds {found}; legal are"
        f" finite numbers that {dtype} can hold, and variances of 0 or more;"
        " give weights of a run that did not diverge, or copy or download the"
        " file again"
    )
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("beta", np.array([1, -2, 3], np.float16)),
        ("beta", np.array([1, -2, 2**62], np.int64)),
        ("beta", np.array([1, 2, 255], np.uint8)),
        ("beta", np.array([-1e38, 0, 1e-320])),
        ("moving_variance", np.zeros(3)),
        ("variance", np.array([1, 2, 3], np.float16)),
        ("count", np.array(5.0)),
        ("count", np.array(2**31 - 1)),
    ],
)
def test_numbers_that_fit_are_accepted(name: str, values: np.ndarray) -> None:
    model = numbers_model()
    load_numbers(model, **{name: values})
    variable = next(v for v in model.weights if v.name == name)
    np.testing.assert_array_equal(variable, values.astype(variable.dtype))
