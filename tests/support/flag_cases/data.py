"""Flags of data and its splits."""

from __future__ import annotations

from tests.support.flag_cases.case import DRY, Case
from tests.support.flag_cases.views import (
    class_count,
    classes,
    looks_below_root,
    samples,
)
from tests.support.photos import CLASSES

DATA = (
    Case(
        flag="dataset",
        value="{root}/two",
        see=classes,
        without=sorted(CLASSES),
        given=["left", "right"],
        together="another source",
    ),
    Case(
        flag="tfds_data_dir",
        value="{root}/tfds",
        also={"dataset": "trainer_unreachable", **DRY},
        see=looks_below_root,
        without=False,
        given=True,
    ),
    Case(
        flag="data_pct",
        value=50,
        also=DRY,
        see=samples,
        without=[12, 4, 9],
        given=[6, 4, 9],
    ),
    Case(
        flag="shots",
        value=2,
        also=DRY,
        see=samples,
        without=[12, 4, 9],
        given=[6, 4, 9],
    ),
    # Ten of each class, 2 to test on; refused without the names.
    Case(
        flag="columns",
        value="path=file,label=dish,group=who",
        also={"dataset": "{root}/named.csv", "group_by": "none", **DRY},
        see=samples,
        without=None,
        given=[24, 4, 6],
    ),
    # Of 30 images, three have two labels: a class of its own without the flag.
    Case(
        flag="task",
        value="multilabel",
        also={"dataset": "{root}/labels.csv", **DRY},
        see=class_count,
        without=4,
        given=3,
    ),
    # Two groups of five in each class; one of them is tested on.
    Case(
        flag="group_by",
        value="none",
        also={"dataset": "{root}/grouped.csv", **DRY},
        see=samples,
        without=[15, 4, 15],
        given=[24, 4, 6],
    ),
    # Ten of each class. Of 6 or 15 to test on, one batch of four validates.
    Case(
        flag="test_fraction",
        value=0.5,
        also={"dataset": "{root}/flat", **DRY},
        see=samples,
        without=[24, 4, 6],
        given=[15, 4, 15],
    ),
    # The splits change places.
    Case(
        flag="train_split",
        value="test",
        also={"test_split": "train", **DRY},
        see=samples,
        without=None,
        given=[9, 4, 12],
    ),
    # Without a test split, the validation split is what is evaluated on.
    Case(
        flag="val_split",
        value="test",
        also=DRY,
        see=samples,
        without=[12, 4, 9],
        given=[12, 9],
    ),
    # One of four of each class is held out to test on.
    Case(
        flag="test_split",
        value="none",
        also=DRY,
        see=samples,
        without=[12, 4, 9],
        given=[9, 3, 3],
    ),
    Case(
        flag="on_bad_image",
        value="skip",
        also={"dataset": "{root}/broken", **DRY},
        see=samples,
        without=None,
        given=[11, 4, 9],
    ),
    # One of the training images is in the test split too.
    Case(
        flag="on_duplicate",
        value="skip",
        also={"dataset": "{root}/twins", **DRY},
        see=samples,
        without=[12, 4, 9],
        given=[11, 4, 9],
    ),
    # Four of each class, of which one is held out.
    Case(
        flag="validation",
        value="train:0.25",
        also=DRY,
        see=samples,
        without=[12, 4, 9],
        given=[9, 3, 9],
    ),
    Case(
        flag="validation_fraction",
        value=1,
        also=DRY,
        see=samples,
        without=[12, 4, 9],
        given=[12, 9, 9],
    ),
)
