"""`--weights`: round trips of every format, digests, ImageNet."""

from __future__ import annotations

import hashlib
import os
import pathlib
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import TrainerError, UsageError
from trainer.model.backbones import FORM_NA, build_backbone, find_backbone
from trainer.model.weights.load import load_weights
from trainer.model.weights.plan import plan_weights, weights_digest

BACKBONE = find_backbone("MobileNetV2")
ARGS = {"alpha": 0.35}


def build(alpha: float = 0.35, px: int = 32) -> keras.Model:
    keras.utils.clear_session()
    return build_backbone("MobileNetV2", {"alpha": alpha}, px, form=FORM_NA)


def classify(backbone: keras.Model) -> keras.Model:
    """Returns a classifier with a nested backbone, as the trainer builds it."""
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(backbone(inputs))
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(x))


def classify_flat(backbone: keras.Model) -> keras.Model:
    """Returns a flat classifier, with an optimizer that has slots."""
    x = keras.layers.GlobalAveragePooling2D()(backbone.output)
    x = keras.layers.Dense(3, name="head")(x)
    return keras.Model(backbone.inputs, x)


def load(path: pathlib.Path | str, model: keras.Model) -> str:
    plan = plan_weights(str(path), backbone=BACKBONE, weights_origin=None)
    return load_weights(model, plan, backbone=BACKBONE, backbone_args=ARGS)


@pytest.fixture(scope="module")
def source() -> keras.Model:
    """A backbone with random weights, all different."""
    model = build()
    rng = np.random.default_rng(0)
    # All values are positive, as variances must be.
    model.set_weights([rng.uniform(0.1, 2, w.shape) for w in model.weights])
    return model


@pytest.fixture(scope="module")
def empty() -> keras.Model:
    return build()


@pytest.fixture
def target(empty: keras.Model) -> keras.Model:
    """A backbone whose weights are all zero."""
    empty.set_weights([np.zeros(w.shape) for w in empty.weights])
    return empty


def is_zero(model: keras.Model) -> bool:
    return not any(np.any(value) for value in model.get_weights())


@pytest.fixture(scope="module")
def folder(
    source: keras.Model, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """A folder with one file of each format."""
    to = tmp_path_factory.mktemp("weights")
    source.save_weights(to / "b.weights.h5")
    source.save(to / "b.h5")
    source.save(to / "b.keras")
    with h5py.File(to / "b.h5") as file, h5py.File(to / "v.h5", "w") as copy:
        # save_weights of Keras 2 writes no configuration, and names with ":0".
        copy.attrs["layer_names"] = file["model_weights"].attrs["layer_names"]
        for name, group in file["model_weights"].items():
            names = list(group.attrs["weight_names"])
            to_group = copy.create_group(name)
            to_group.attrs["weight_names"] = [f"{n}:0".encode() for n in names]
            for weight in names:
                to_group[f"{weight}:0"] = group[weight][()]
    nested, flat = classify(source), classify_flat(source)
    optimizer = keras.optimizers.Adam()
    optimizer.build(flat.trainable_variables)
    nested.save_weights(to / "nested.weights.h5")
    nested.save(to / "nested.h5")
    nested.save(to / "nested.keras")
    flat.save_weights(to / "flat.weights.h5")
    flat.save(to / "flat.h5")
    flat.save(to / "flat.keras")
    tf.train.Checkpoint(model=source).write(str(to / "model"))
    tf.train.Checkpoint(source).write(str(to / "root"))
    tf.train.Checkpoint(optimizer=optimizer, model=flat).write(str(to / "opt"))
    tf.train.Checkpoint(
        model={v.path: v.value for v in nested.variables},
        slots={v.path: v.value for v in optimizer.variables},
    ).write(str(to / "ours"))
    keras_2_checkpoint(source).write(str(to / "keras2"))
    tf.train.Checkpoint(model=source).save(str(to / "run" / "ckpt"))
    return to


def keras_2_checkpoint(model: keras.Model) -> tf.train.Checkpoint:
    """Returns a checkpoint with the objects and names of Keras 2."""
    root, number = tf.train.Checkpoint(), 0
    for index, layer in enumerate(model.layers):
        node = tf.train.Checkpoint()
        for weight in layer.weights:
            name = weight.name
            if type(layer).__name__ == "DepthwiseConv2D":
                name = "depthwise_kernel"
            variable = tf.Variable(weight.value, name=f"{layer.name}/{name}")
            setattr(node, name, variable)
        setattr(root, f"layer-{index}", node)
        if layer.weights:
            setattr(root, f"layer_with_weights-{number}", node)
            number += 1
    return root


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("b.weights.h5", "weights_h5"),
        ("nested.weights.h5", "weights_h5"),
        ("flat.weights.h5", "weights_h5"),
        ("b.h5", "legacy_h5"),
        ("v.h5", "legacy_h5"),
        ("nested.h5", "legacy_h5"),
        ("flat.h5", "legacy_h5"),
        ("b.keras", "keras"),
        ("nested.keras", "keras"),
        ("flat.keras", "keras"),
        ("model", "tf_checkpoint"),
        ("root", "tf_checkpoint"),
        ("opt", "tf_checkpoint"),
        ("ours", "tf_checkpoint"),
        ("keras2", "tf_checkpoint"),
        ("run", "tf_checkpoint"),
    ],
)
def test_there_and_back(
    name: str,
    kind: str,
    folder: pathlib.Path,
    source: keras.Model,
    target: keras.Model,
) -> None:
    path = folder / name
    plan = plan_weights(str(path), backbone=BACKBONE, weights_origin=None)
    assert (plan.kind, plan.form) == (kind, FORM_NA)
    line = load_weights(target, plan, backbone=BACKBONE, backbone_args=ARGS)
    for got, wanted in zip(target.weights, source.weights, strict=True):
        np.testing.assert_array_equal(got, wanted, err_msg=wanted.path)
    assert "MobileNetV2: 410,208 parameters in 104 layers from" in line
    assert len(weights_digest(plan) or "") == 64


def test_the_name_does_not_decide_the_kind(
    folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "x.weights.h5"
    path.write_bytes((folder / "v.h5").read_bytes())
    plan = plan_weights(str(path), backbone=BACKBONE, weights_origin=None)
    assert plan.kind == "legacy_h5"


def test_none_leaves_the_weights_alone(target: keras.Model) -> None:
    plan = plan_weights("none", backbone=BACKBONE, weights_origin=None)
    load_weights(target, plan, backbone=BACKBONE, backbone_args=ARGS)
    assert is_zero(target)
    assert (plan.kind, plan.path, weights_digest(plan)) == ("none", None, None)


def test_digest_is_of_the_content(
    folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    content = (folder / "b.weights.h5").read_bytes()
    (tmp_path / "other.h5").write_bytes(content)
    plan = plan_weights(
        str(tmp_path / "other.h5"), backbone=BACKBONE, weights_origin=None
    )
    assert weights_digest(plan) == hashlib.sha256(content).hexdigest()


def test_imagenet_copies_what_keras_loads(
    monkeypatch: pytest.MonkeyPatch, source: keras.Model, target: keras.Model
) -> None:
    given: dict[str, Any] = {}

    def constructor(**arguments: Any) -> keras.Model:
        given.update(arguments)
        return source

    plan = plan_weights("imagenet", backbone=BACKBONE, weights_origin=None)
    assert (plan.kind, plan.path, plan.form) == ("imagenet", None, FORM_NA)
    assert weights_digest(plan) is None
    monkeypatch.setattr(keras.applications, "MobileNetV2", constructor)
    load_weights(target, plan, backbone=BACKBONE, backbone_args=ARGS)
    assert given == {
        "weights": "imagenet",
        "include_top": False,
        "input_shape": (32, 32, 3),
        "alpha": 0.35,
    }
    for got, wanted in zip(target.weights, source.weights, strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("raised", "error", "message"),
    [
        (
            Exception("URL fetch failure on u://h/a_1.0_no_top.h5: None -- x"),
            TrainerError,
            "--weights=imagenet: the weights of MobileNetV2 cannot be"
            " downloaded (URL fetch failure on u://h/a_1.0_no_top.h5: None --"
            " x); put the file a_1.0_no_top.h5 in /keras/models, give"
            " --weights=FILE, or give --backbone=EfficientNetLite0, whose"
            " weights need no network",
        ),
        (
            ValueError("alpha must be one of `0.35`,\n `0.50`"),
            UsageError,
            "--weights=imagenet: not available for MobileNetV2 (alpha=0.35):"
            " alpha must be one of `0.35`, `0.50`; give other"
            " --backbone_args, a file, or none",
        ),
    ],
    ids=["offline", "arguments"],
)
def test_imagenet_that_fails(
    raised: Exception,
    error: type[TrainerError],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    target: keras.Model,
) -> None:
    def constructor(**_: Any) -> keras.Model:
        raise raised

    monkeypatch.setenv("KERAS_HOME", "/keras")
    monkeypatch.setattr(keras.applications, "MobileNetV2", constructor)
    plan = plan_weights("imagenet", backbone=BACKBONE, weights_origin=None)
    with pytest.raises(error) as caught:
        load_weights(target, plan, backbone=BACKBONE, backbone_args=ARGS)
    assert str(caught.value) == message
    assert type(caught.value) is error


def test_loads_under_mirrored_variables(
    folder: pathlib.Path, source: keras.Model
) -> None:
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        # clear_session() inside the scope would break it.
        model = build_backbone("MobileNetV2", ARGS, 32, form=FORM_NA)
        load(folder / "b.weights.h5", model)
    for got, wanted in zip(model.weights, source.weights, strict=True):
        np.testing.assert_array_equal(got.numpy(), wanted)


def test_real_weights_give_sane_features() -> None:
    data = os.environ.get("TRAINER_TEST_DATA")
    if not data:
        pytest.skip("TRAINER_TEST_DATA is not set")
    path = pathlib.Path(data, "weights", "mobilenetv2_0.35_224_notop")
    model = build(px=96)
    load(f"{path}.weights.h5", model)
    ramp = np.linspace(-1, 1, 96, dtype=np.float32)
    image = np.stack(np.broadcast_arrays(ramp, ramp[:, None], -ramp), -1)
    features = np.asarray(model(image[None]))
    # ReLU6 after a trained BatchNorm: in 0..6, sparse, not all zero.
    assert features.min() == 0.0
    assert features.max() <= 6.0
    assert 0.1 < features.std() < 2.0
    assert 0.02 < np.mean(features > 0) < 0.9
