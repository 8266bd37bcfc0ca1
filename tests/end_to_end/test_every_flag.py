"""Every flag changes something besides the configuration that is echoed.

Each case runs the command without and with the flag, and looks at the same
thing both times: a number, a file, an error. Cases that do not depend on each
other share a command with all their flags.
"""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any
from unittest.mock import ANY

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support import tfds_images
from tests.support.command import command
from tests.support.flag_cases.case import Case
from tests.support.flag_cases.commands import BASE, Commands, filled
from tests.support.flag_cases.data import DATA
from tests.support.flag_cases.fast_paths import FAST_PATHS
from tests.support.flag_cases.images import IMAGES, make_pairs
from tests.support.flag_cases.recipes import RECIPES
from tests.support.flag_cases.running import RUNNING
from tests.support.flag_cases.training import TRAINING
from tests.support.flag_cases.using import USING
from tests.support.photos import CLASSES as DISHES
from tests.support.photos import make_photos
from tests.support.tiny import tiny_backbone, use_tiny_backbone
from trainer.config.fields import FIELDS

# TFDS knows the data sets as soon as their classes are defined.
assert tfds_images

CASES = IMAGES + DATA + TRAINING + RECIPES + RUNNING + FAST_PATHS + USING


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """The commands, in a folder that holds everything that the cases name."""
    folder = tmp_path_factory.mktemp("flags")
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_tiny_backbone(monkeypatch)
        # The default of --runs is a folder here, which the checkout may have.
        monkeypatch.chdir(folder)
        make_photos(folder / "photos", train=4, test=3)
        make_photos(folder / "two", train=4, test=3, classes=("left", "right"))
        make_photos(folder / "pool", train=10, test=0)
        (folder / "pool/train").rename(folder / "flat")
        write_table(folder / "named.csv", "file,dish,who", folder / "flat")
        write_table(folder / "grouped.csv", "path,label,group", folder / "flat")
        write_labels(folder / "labels.csv", folder / "flat")
        make_photos(folder / "near", train=1, test=1, classes=("sushi", "bun"))
        make_photos(folder / "broken", train=4, test=3)
        (folder / "broken/train/sushi/001.jpg").write_bytes(b"")
        make_pairs(folder)
        make_photos(folder / "twins", train=4, test=3)
        shutil.copy(
            folder / "twins/train/sushi/001.jpg",
            folder / "twins/test/sushi/001.jpg",
        )
        keras.utils.clear_session()
        model = tiny_backbone()
        model.set_weights([np.ones(w.shape) for w in model.weights])
        model.save_weights(folder / "ones.weights.h5")
        classes = dict(zip(sorted(DISHES), (1, 2, 0.5), strict=True))
        (folder / "classes.json").write_text(json.dumps(classes))
        make_source(folder)
        yield Commands(folder)


def write_table(path: pathlib.Path, header: str, photos: pathlib.Path) -> None:
    """Lists CLASS/NNN.jpg; each class has groups of five images."""
    rows = [
        f"{photo.relative_to(path.parent)},{photo.parent.name},"
        f"{photo.parent.name}{int(photo.stem) // 5}"
        for photo in photos.glob("*/*.jpg")
    ]
    path.write_text("\n".join([header, *rows]))


def write_labels(path: pathlib.Path, photos: pathlib.Path) -> None:
    """Lists CLASS/NNN.jpg; three images have a second label."""
    rows = [
        f"{photo.relative_to(path.parent)},{photo.parent.name}"
        for photo in sorted(photos.glob("*/*.jpg"))
    ]
    rows = [f"{row}|sushi" if n < 3 else row for n, row in enumerate(rows)]
    path.write_text("\n".join(["path,label", *rows]))


def make_source(folder: pathlib.Path) -> None:
    """Makes a run whose best checkpoint is step 3 and whose last is step 6."""
    workdir = folder / "source"
    values = {**BASE, "seed": 5, "learning_rate": 0.01, "workdir": workdir}
    checkpoints = workdir / "checkpoints/feature_extract"
    for epochs in (1, 2):
        said = command(*filled(folder, {**values, "epochs": epochs}))
        assert said.status == 0, said.err
        if epochs == 1:
            shutil.copytree(checkpoints / "last", folder / "first")
    shutil.copytree(workdir, folder / "twin")
    for path in (checkpoints / "best").iterdir():
        path.unlink()
    for path in (folder / "first").glob("ckpt-3.*"):
        (checkpoints / "best" / path.name).write_bytes(path.read_bytes())
    best = str(checkpoints / "best")
    tf.compat.v1.train.update_checkpoint_state(best, f"{best}/ckpt-3")


def params_of(cases: tuple[Case, ...]) -> list[Any]:
    """Returns the parameters of the test; some are slow."""
    return [
        pytest.param(
            case,
            marks=[pytest.mark.slow] if case.slow else [],
            id=f"{case.flag}={case.value}",
        )
        for case in cases
    ]


def served_together(case: Case) -> list[Case]:
    """Returns the cases that one command serves."""
    if not case.together:
        return [case]
    found = [c for c in CASES if c.together == case.together]
    assert all((c.also, c.alone) == (case.also, case.alone) for c in found)
    assert len({c.flag for c in found}) == len(found)
    return found


@pytest.mark.parametrize("case", params_of(CASES))
def test_a_flag_changes_its_view(commands: Commands, case: Case) -> None:
    before = case.see(commands.run(case.also, alone=case.alone))
    flags = {c.flag: c.value for c in served_together(case)}
    after = case.see(commands.run({**case.also, **flags}, alone=case.alone))
    assert before == case.without
    assert after == case.given
    assert before != after


def test_every_flag_has_a_case() -> None:
    assert {case.flag for case in CASES} == set(FIELDS)


def test_every_case_expects_something_concrete() -> None:
    assert not [c.flag for c in CASES if c.without is ANY and c.given is ANY]
