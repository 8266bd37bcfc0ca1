"""The line about the data, as a command prints it."""

from __future__ import annotations

import pathlib

import pytest

from tests.support.command import command
from tests.support.photos import make_photos

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.mark.slow
def test_the_data_line_and_its_warnings_precede_training(
    tmp_path: pathlib.Path,
) -> None:
    photos = pathlib.Path(make_photos(tmp_path / "photos", train=4, test=2))
    # The layout of a published data set.
    for split, name in (("train", "Training"), ("test", "Testing")):
        (photos / split).rename(photos / name)
    for name in ("a.TIFF", "b.tiff", "c.heic", "@eaDir/d.jpg"):
        path = photos / "Training" / "sushi" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    said = command(
        "--stage=feature_extract",
        f"--dataset={photos}",
        f"--workdir={tmp_path}/run",
        "--backbone=MobileNetV2",
        "--weights=none",
        "--image_size=32",
        "--epochs=1",
    )
    assert said.status == 0, said.err
    before, trained, _ = said.out.partition("epoch 1/1")
    assert trained
    shown = [
        line
        for line in before.splitlines()
        if line.startswith(("data: ", "warning: "))
    ]
    assert shown == [
        "data: 3 classes; train: 12 photos from photos/Training/;"
        " validation: 6 of the test photos; test: 6 photos from"
        " photos/Testing/; 4 photos of each class; 3 files skipped:"
        " 2 .tiff, 1 .heic",
        "warning: only 6 validation photos in all, so validation accuracy"
        " varies by chance; add photos, or compare by"
        " --validation=kfold:5",
        "warning: --weights=none without --unfreeze=all: frozen layers"
        " keep their random weights and never learn; give"
        " --weights=imagenet, or --stage=finetune --unfreeze=all; without"
        " a network, --backbone=EfficientNetLite0 has ImageNet weights on"
        " this machine",
    ]
