"""`--precision`: the dtypes in which a run's classifier computes."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import keras
import pytest
import tensorflow as tf

from tests.support.tiny import use_tiny_backbone
from trainer.config import Config
from trainer.distribute import devices
from trainer.model.architectures import architecture_json
from trainer.model.classifier import HEAD, Classifier
from trainer.run.classifiers import new_classifier, stored_classifier
from trainer.run.prepare import prepare
from trainer.workdir import BACKBONE, Workdir


@pytest.fixture(autouse=True)
def restored_policy() -> Iterator[None]:
    yield
    devices.set_precision("float32")


def configured(precision: str, workdir: pathlib.Path) -> Config:
    return Config(
        backbone="MobileNetV2",
        weights="none",
        image_size=32,
        precision=precision,
        cache="off",
        dataset="demo",
        workdir=str(workdir),
    )


def check_dtypes(classifier: Classifier, compute_dtype: str) -> None:
    """Checks layers, variables and outputs; the head is always float32."""
    layers = {
        layer.name: layer
        for model in (classifier.backbone, classifier.model)
        for layer in model.layers
        if not isinstance(layer, (keras.Model, keras.layers.InputLayer))
    }
    head = layers.pop(HEAD)
    # Three blocks of convolution, BatchNorm and ReLU, and the pooling.
    assert len(layers) == 10
    assert {layer.compute_dtype for layer in layers.values()} == {compute_dtype}
    assert head.compute_dtype == "float32"
    for variable in classifier.variables.values():
        assert variable.dtype == "float32", variable.path

    images = tf.zeros((2, 32, 32, 3))
    features = classifier.backbone(images, training=False)
    assert features.dtype == compute_dtype
    variables = list(classifier.variables.values())
    values = [tf.convert_to_tensor(v.value) for v in variables]
    assert classifier.logits(variables, values, images).dtype == tf.float32
    assert classifier.probabilities(images).dtype == tf.float32


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_layer_but_the_head_computes_in_the_precision(
    precision: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tiny_backbone(monkeypatch)
    setup = prepare(configured(precision, tmp_path))
    check_dtypes(new_classifier(setup, 3, load=False), precision)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_stored_bfloat16_classifier_follows_the_config(
    precision: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tiny_backbone(monkeypatch)
    setup = prepare(configured("bfloat16", tmp_path))
    trained = new_classifier(setup, 3, load=False)
    workdir = Workdir(str(tmp_path))
    workdir.write_json(
        BACKBONE,
        {
            "pixels": trained.pixels,
            "architecture": architecture_json(trained.backbone),
        },
    )
    config = configured(precision, tmp_path)
    strategy = tf.distribute.get_strategy()
    check_dtypes(stored_classifier(workdir, config, strategy, 3), precision)
