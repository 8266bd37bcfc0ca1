"""Drawn pictures: pure functions, told by structure and not by colour."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from tools.pretrain.catalogue import draw_picture, picture_classes
from tools.pretrain.fractals import system_of_class
from tools.pretrain.pool import draw_pool, labels_of
from trainer.errors import TrainerError
from trainer.workdir import Workdir

PX = 40


def _digest(picture):
    return hashlib.sha256(picture.tobytes()).hexdigest()


def test_a_picture_is_the_same_twice_and_in_another_process():
    rows = (0, 5, 77, 150, 203, 1000)
    here = [_digest(draw_picture(3, k, PX)[0]) for k in rows]
    assert here == [_digest(draw_picture(3, k, PX)[0]) for k in rows]
    code = (
        "import hashlib; from tools.pretrain.catalogue import draw_picture\n"
        # Another order: no picture may depend on those drawn before it.
        f"for k in {rows[::-1]}:\n"
        f"  p = draw_picture(3, k, {PX})[0]\n"
        "  print(hashlib.sha256(p.tobytes()).hexdigest())"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert there[::-1] == here
    assert (
        draw_picture(4, 0, PX)[0].tolist() != draw_picture(3, 0, PX)[0].tolist()
    )


def test_drawing_imports_no_tensorflow():
    code = (
        "import sys, tools.pretrain.catalogue as c; c.draw_picture(0, 0, 32);"
        "sys.exit('tensorflow' in sys.modules or 'trainer' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_class_draws_something_of_its_own():
    classes = picture_classes()
    assert 100 <= len(classes) <= 250
    assert len({found.name for found in classes}) == len(classes)
    for label, found in enumerate(classes):
        figures = [
            found.draw(np.random.default_rng([9, label, i]), PX)
            for i in range(3)
        ]
        for figure in figures:
            for field in (figure.alpha, figure.value, figure.height):
                assert field.shape == (PX, PX)
                assert np.isfinite(field).all()
            assert figure.alpha.min() >= 0 and figure.alpha.max() <= 1
            seen = figure.value[figure.alpha > 0]
            assert seen.min() >= -0.5 and seen.max() <= 1.5
            assert figure.alpha.mean() > 0.01, found.name
        first, second = figures[:2]
        change = np.abs(first.alpha - second.alpha).mean()
        change += np.abs(first.value - second.value).mean()
        assert change > 0.01, found.name


def test_fractal_classes_have_systems_of_their_own():
    sums = {round(float(system_of_class(n).maps.sum()), 5) for n in range(10)}
    assert len(sums) == 10


def _features(pictures, kind):
    if kind == "colour":
        return pictures.mean(axis=(1, 2)) / 255
    grey = pictures.mean(axis=3)
    grey = grey - grey.mean(axis=(1, 2), keepdims=True)
    grey /= grey.std(axis=(1, 2), keepdims=True) + 1e-3
    spectrum = np.log1p(np.abs(np.fft.rfft2(grey)))
    return spectrum[:, :16, :16].reshape(len(pictures), -1)


def _nearest_mean_accuracy(kind, train, test, labels, test_labels):
    features = _features(train, kind)
    means = np.stack(
        [features[labels == c].mean(0) for c in range(labels.max() + 1)]
    )
    distance = ((_features(test, kind)[:, None] - means[None]) ** 2).sum(-1)
    return float((distance.argmin(1) == test_labels).mean())


def test_colour_does_not_give_the_class_away():
    """Mean colour is near chance; a crude look at structure is far above."""
    n, shown = len(picture_classes()), 12
    drawn = [draw_picture(1, k, PX)[0] for k in range(n * (shown + 2))]
    pictures = np.stack(drawn).astype(np.float32)
    labels = labels_of(len(drawn))
    split = n * shown
    parts = (
        pictures[:split], pictures[split:], labels[:split], labels[split:]
    )  # fmt: skip
    colour = _nearest_mean_accuracy("colour", *parts)
    structure = _nearest_mean_accuracy("structure", *parts)
    assert colour < 3 / n
    assert structure > 6 / n


def test_a_pool_goes_on_where_it_was_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr("tools.pretrain.pool._CHUNK", 16)
    (tmp_path / "a").mkdir()
    whole = draw_pool(
        Workdir(str(tmp_path / "a")), seed=2, count=40, held_out=8, px=16
    )
    (tmp_path / "b").mkdir()
    workdir = Workdir(str(tmp_path / "b"))

    calls = []

    def interrupted(seed, k, px):
        calls.append(k)
        if k == 20:
            raise KeyboardInterrupt
        return draw_picture(seed, k, px)

    monkeypatch.setattr("tools.pretrain.pool.draw_picture", interrupted)
    with pytest.raises(KeyboardInterrupt):
        draw_pool(workdir, seed=2, count=40, held_out=8, px=16)
    monkeypatch.setattr("tools.pretrain.pool.draw_picture", draw_picture)
    again = draw_pool(workdir, seed=2, count=40, held_out=8, px=16)
    np.testing.assert_array_equal(again.pictures, whole.pictures)
    assert again.training == 40 and again.held_out == 8
    with pytest.raises(TrainerError, match="drawn with another seed"):
        draw_pool(workdir, seed=3, count=40, held_out=8, px=16)
