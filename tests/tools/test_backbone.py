"""Random, saved and shipped weights of the demo backbone."""

from __future__ import annotations

import configparser
import fnmatch
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import trainer
from tests.train.classifiers import pictures
from tools.pretrain.backbone import (
    calibrate,
    file_facts,
    load_backbone,
    random_classifier,
    save_backbone,
)
from tools.pretrain.catalogue import draw_picture

DEMO = Path(trainer.__file__).parent / "demo"
WEIGHTS = DEMO / "efficientnetb0_64px.weights.h5"
FACTS = DEMO / "efficientnetb0_64px.json"


@pytest.fixture
def random_backbone():
    return random_classifier(
        3, image_px=32, seed=0, strategy=tf.distribute.get_strategy()
    ).backbone


def test_residual_branches_begin_closed(random_backbone):
    gammas = [
        random_backbone.get_layer(f"{layer.name[:-4]}_project_bn").gamma.numpy()
        for layer in random_backbone.layers
        if isinstance(layer, keras.layers.Add)
    ]
    assert len(gammas) == 9
    assert not np.any(np.concatenate(gammas))
    drops = [
        layer.rate
        for layer in random_backbone.layers
        if isinstance(layer, keras.layers.Dropout)
    ]
    assert len(drops) == 9 and not any(drops)


def test_calibration_brings_a_random_backbone_to_life(random_backbone):
    images = pictures(32)
    dead = random_backbone(images, training=False).numpy().std()
    calibrate(random_backbone, images)
    alive = random_backbone(images, training=False).numpy().std()
    assert dead < 1e-2 < 0.1 < alive
    for layer in random_backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert layer.momentum == 0.99


def test_a_saved_file_is_compact_and_reads_back(tmp_path, random_backbone):
    calibrate(random_backbone, pictures(32))
    path = str(tmp_path / "some.weights.h5")
    save_backbone(random_backbone, path)
    assert file_facts(path)["bytes"] < 8.2e6
    loaded = load_backbone(path, 32)
    for old, new in zip(random_backbone.weights, loaded.weights, strict=True):
        if len(old.shape) > 1:
            np.testing.assert_allclose(new, old, rtol=1e-3, atol=1e-7)
        else:
            np.testing.assert_array_equal(new, old, err_msg=old.path)


def test_the_shipped_file_is_the_one_it_says():
    facts = json.loads(FACTS.read_text())
    shipped = file_facts(str(WEIGHTS))
    assert {key: facts[key] for key in shipped} == shipped
    assert shipped["bytes"] <= 8.2e6
    assert facts["held_out_accuracy"] > 0.3
    for key in ("command", "seconds", "images_seen", "versions"):
        assert facts[key]


def test_the_shipped_backbone_is_alive():
    backbone = load_backbone(str(WEIGHTS), 64)
    drawn = [draw_picture(5, 11 * k, 64)[0] for k in range(8)]
    images = np.stack(drawn).astype(np.float32)
    features = backbone(images, training=False).numpy().mean(axis=(1, 2))
    assert np.isfinite(features).all()
    assert features.std() > 0.1
    # And differs from picture to picture.
    assert features.std(axis=0).mean() > 0.05


def test_the_package_takes_both_files_along():
    setup = configparser.ConfigParser()
    setup.read(DEMO.parents[1] / "setup.cfg")
    patterns = setup["options.package_data"]["trainer.demo"].split()
    for path in (WEIGHTS, FACTS):
        assert any(fnmatch.fnmatch(path.name, p) for p in patterns), path
