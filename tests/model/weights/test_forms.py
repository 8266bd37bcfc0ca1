"""The two forms of EfficientNetB0, found from the file or given."""

from __future__ import annotations

import pathlib

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import UsageError
from trainer.model.backbones import Backbone, build_backbone, find_backbone
from trainer.model.weights.load import load_weights
from trainer.model.weights.plan import WeightsPlan, plan_weights

pytestmark = pytest.mark.slow

B0 = find_backbone("EfficientNetB0")
FORMS = ("imagenet", "keras_none")
RAMP = np.linspace(0, 255, 32 * 32 * 3, dtype=np.float32)


def plan(path: pathlib.Path | str, origin: str | None = None) -> WeightsPlan:
    return plan_weights(str(path), backbone=B0, weights_origin=origin)


def stem(model: keras.Model) -> np.ndarray:
    """Returns the output of the first convolution for an image."""
    layer = model.get_layer("stem_conv")
    run = keras.Model(model.inputs[0], layer.output)
    return np.asarray(run(RAMP.reshape(1, 32, 32, 3)))


@pytest.fixture(scope="module")
def models() -> dict[str, keras.Model]:
    made = {}
    for form in FORMS:
        keras.utils.clear_session()
        model = build_backbone("EfficientNetB0", {}, 32, form=form)
        normalization = next(
            layer
            for layer in model.layers
            if isinstance(layer, keras.layers.Normalization)
        )
        # As ImageNet weights have them, in both forms: they prove nothing.
        statistics = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 0]
        normalization.set_weights(list(map(np.array, statistics)))
        normalization.finalize_state()
        made[form] = model
    return made


@pytest.fixture(scope="module")
def folder(
    models: dict[str, keras.Model], tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    to = tmp_path_factory.mktemp("forms")
    for form, model in models.items():
        model.save_weights(to / f"{form}.weights.h5")
        model.save(to / f"{form}.h5")
        model.save(to / f"{form}.keras")
        tf.train.Checkpoint(model=model).write(str(to / f"{form}-model"))
        inputs = keras.Input((32, 32, 3))
        x = keras.layers.Rescaling(1.0)(inputs)
        x = keras.layers.GlobalAveragePooling2D()(model(x))
        nested = keras.Model(inputs, keras.layers.Dense(2)(x))
        nested.save(to / f"{form}-nested.keras")
        nested.save(to / f"{form}-nested.h5")
        nested.save_weights(to / f"{form}-nested.weights.h5")
        tf.train.Checkpoint(
            model={v.path: v.value for v in nested.weights}
        ).write(str(to / f"{form}-ours"))
        with (
            h5py.File(to / f"{form}.weights.h5") as file,
            h5py.File(to / f"{form}-bare.weights.h5", "w") as bare,
        ):
            # A writer that leaves out layers without weights.
            for name, group in file["layers"].items():
                if len(group["vars"]):
                    file.copy(group, bare, name=f"layers/{name}")
    return to


TELLING = (
    ".weights.h5",
    ".h5",
    ".keras",
    "-model",
    "-nested.keras",
    "-nested.h5",
    "-nested.weights.h5",
)
SILENT = ("-bare.weights.h5", "-ours")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", TELLING)
def test_the_file_tells(folder: pathlib.Path, form: str, name: str) -> None:
    path = folder / f"{form}{name}"
    found = plan(path)
    assert found.form == form
    assert found.why.endswith(f"so it was saved from the {form} form")
    assert plan(path, form).form == form
    other = FORMS[1 - FORMS.index(form)]
    with pytest.raises(UsageError) as caught:
        plan(path, other)
    assert str(caught.value).startswith(
        f"--weights_origin={other}: {path} was saved from the other form of"
        " EfficientNetB0: it "
    )
    assert str(caught.value).endswith(
        f"leave the flag out or say --weights_origin={form}"
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SILENT)
def test_the_user_is_asked(folder: pathlib.Path, form: str, name: str) -> None:
    path = folder / f"{form}{name}"
    with pytest.raises(UsageError) as caught:
        plan(path)
    message = str(caught.value)
    assert message.startswith(
        f"--weights={str(path)!r}: cannot tell from which of the two forms of"
        " EfficientNetB0 it was saved: it does not "
    )
    assert "--weights_origin=imagenet (" in message
    assert "--weights_origin=keras_none (" in message
    found = plan(path, form)
    assert found.form == form
    assert (
        f"--weights_origin says, so it was saved from the {form}" in found.why
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [*TELLING[:4], *SILENT])
def test_loaded_weights_compute_the_same(
    folder: pathlib.Path, models: dict[str, keras.Model], form: str, name: str
) -> None:
    path = folder / f"{form}{name}"
    found = plan(path, form)
    # Not built anew, to save time: the same architecture with its weights
    # shuffled, and put back by the load.
    model = models[found.form]
    before, features = model.get_weights(), stem(model)
    model.set_weights([np.zeros_like(value) for value in before])
    load_weights(model, found, backbone=B0, backbone_args={})
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(features, stem(model))


def test_the_forms_differ(models: dict[str, keras.Model]) -> None:
    one, other = models.values()
    weights = other.get_weights()
    other.set_weights(one.get_weights())
    assert np.abs(stem(one) - stem(other)).max() > 0.1
    other.set_weights(weights)


def test_a_classifiers_own_rescaling_does_not_count(
    models: dict[str, keras.Model], tmp_path: pathlib.Path
) -> None:
    """A classifier in one piece may have its own Rescaling layer."""
    config = models["keras_none"]
    x = keras.layers.GlobalAveragePooling2D()(config.output)
    x = keras.layers.Dense(2)(keras.layers.Rescaling(2.0)(x))
    keras.Model(config.inputs, x).save_weights(tmp_path / "flat.weights.h5")
    with pytest.raises(UsageError, match="some perhaps not its own; say"):
        plan(tmp_path / "flat.weights.h5")


@pytest.mark.parametrize(
    ("weights", "form"), [("imagenet", "imagenet"), ("none", "keras_none")]
)
def test_without_a_file(weights: str, form: str) -> None:
    assert plan(weights).form == form
    with pytest.raises(UsageError) as caught:
        plan(weights, form)
    assert str(caught.value) == (
        f"--weights_origin={form}: says how a weights file was saved, and"
        f" --weights={weights} names no file: leave it out"
    )


@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetV2B0"])
def test_backbones_of_one_form(name: str) -> None:
    backbone: Backbone = find_backbone(name)
    with pytest.raises(UsageError) as caught:
        plan_weights("x.h5", backbone=backbone, weights_origin="imagenet")
    assert str(caught.value) == (
        f"--weights_origin=imagenet: {name} has one form only; the flag is for"
        " EfficientNetB0..B7: leave it out"
    )
