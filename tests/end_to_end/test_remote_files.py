"""Tests of URLs: weights files, unreadable images, and wrong flags."""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import uuid

import numpy as np
import pytest
import tensorflow as tf

from tests.support.remote import PACKAGE, only_gfile, put, run
from tests.support.tiny import tiny_backbone
from trainer.model.backbones import find_backbone
from trainer.model.weights.load import load_weights
from trainer.model.weights.plan import plan_weights, weights_digest


def test_the_guard_detects_system_calls():
    with pytest.raises(AssertionError, match="stat"), only_gfile():
        os.path.exists("ram://x")
    code = compile("os.listdir('/')", f"{PACKAGE}workdir.py", "exec")
    with pytest.raises(AssertionError, match="listdir"), only_gfile():
        exec(code, {"os": os})
    with only_gfile():
        os.path.exists("/")


@pytest.mark.parametrize("name", ["x.keras", "x.h5", "x.weights.h5"])
def test_weights_files_load_from_urls(tmp_path, name):
    model, other = tiny_backbone(), tiny_backbone()
    if name.endswith(".weights.h5"):
        model.save_weights(tmp_path / name)
    else:
        model.save(tmp_path / name)
    root = f"ram://{uuid.uuid4().hex}"
    put(tmp_path, root)
    backbone = find_backbone("MobileNetV2")
    with only_gfile():
        plan = plan_weights(
            f"{root}/{name}", backbone=backbone, weights_origin=None
        )
        load_weights(other, plan, backbone=backbone, backbone_args={})
        digest = weights_digest(plan)
    assert digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    for one, two in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        ({"cache_dir": "ram://x/cache"}, 2, "--cache_dir='ram://x/cache': a"),
        ({"dataset": "{root}/none"}, 2, "--dataset='{root}/none': no such"),
        (
            {"dataset": "{root}/tiny.weights.h5"},
            2,
            "--dataset='{root}/tiny.weights.h5': a file",
        ),
        ({"weights": "{root}/none"}, 2, "--weights='{root}/none': no such"),
        (
            {"weights": "{root}/photos"},
            1,
            "--weights='{root}/photos': holds no weights",
        ),
        ({"init_from": "{root}/none"}, 2, "--init_from='{root}/none': no such"),
        ({"workdir": "ftp://h/run"}, 2, "ftp://h/run: this TensorFlow has no"),
        ({"dataset": "ftp://h/x"}, 2, "ftp://h/x: this TensorFlow has no"),
        (
            {"workdir": "{root}/tiny.weights.h5"},
            1,
            "--workdir='{root}/tiny.weights.h5': cannot be written to",
        ),
    ],
)
def test_bad_urls_are_one_line(roots, tmp_path, flags, status, words):
    root = roots["remote"]
    filled = {k: v.format(root=root) for k, v in flags.items()}
    flags = {"workdir": f"{root}/other", "stage": "finetune", **filled}
    with only_gfile():
        said = run(root, str(tmp_path), **flags)
    assert said.status == status
    assert said.err.startswith(f"error: {words.format(root=root)}"), said.err
    assert said.err.count("\n") == 1
    assert not tf.io.gfile.exists(f"{root}/other")


@pytest.mark.slow
def test_an_unreadable_remote_image_is_named(roots, tmp_path):
    root = f"{roots['remote']}-bad"
    put(pathlib.Path(roots["local"], "photos"), f"{root}/photos")
    path = f"{root}/photos/train/sushi/001.jpg"
    tf.io.gfile.remove(path)
    with tf.io.gfile.GFile(path, "w") as stream:
        stream.write("<html>")
    shared = {"weights": "none", "stage": "feature_extract"}
    with only_gfile():
        said = run(root, str(tmp_path), **shared)
    assert said.status == 1
    assert said.err.startswith(f"error: {path}: looks like HTML")
    # This storage reports no times, so the fixed photo is read again.
    tf.io.gfile.remove(path)
    other = pathlib.Path(roots["local"], "photos/train/sushi/002.jpg")
    shutil.copy(other, tmp_path / "001.jpg")
    tf.io.gfile.copy(str(tmp_path / "001.jpg"), path)
    said = run(root, str(tmp_path), **shared)
    assert said.status == 0, said.err
