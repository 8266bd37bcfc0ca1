"""Flags of data, model and training."""

from __future__ import annotations

from unittest.mock import ANY

import pytest

from tests.support.flag_cases.case import DRY, FINETUNE, ONE_STEP, Case
from tests.support.flag_cases.views import (
    bias_after_one_step,
    checkpointed,
    class_count,
    classes,
    conv1_values,
    first_backbone_shape,
    head_steps,
    looks_below_root,
    momentum_norm,
    monitored,
    parameters,
    samples,
    seeds_of_head,
    shows_augmentation,
    status,
    steps,
)
from tests.support.photos import CLASSES

TRAINING = (
    Case(
        flag="stage",
        value="finetune",
        see=checkpointed,
        without=["feature_extract", "frozen"],
        given=["feature_extract", "finetune", "frozen"],
    ),
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
    Case(
        flag="backbone",
        value="VGG16",
        also=DRY,
        see=parameters,
        without=("3,883", "51"),
        given=("14,716,227", "1,539"),
    ),
    # Channels 4, 8, 8: 108 + 288 + 576, 4 * 20, and a head of 27.
    Case(
        flag="backbone_args",
        value="alpha=0.5",
        also=DRY,
        see=parameters,
        without=("3,883", "51"),
        given=("1,079", "27"),
    ),
    Case(
        flag="weights",
        value="{root}/ones.weights.h5",
        see=conv1_values,
        without=216,
        given=1,
        together="another source",
    ),
    Case(
        flag="weights_origin",
        value="keras_none",
        also={
            "backbone": "EfficientNetB0",
            "weights": "{root}/ones.weights.h5",
            **DRY,
        },
        see=status,
        without=2,
        given=0,
    ),
    Case(
        flag="image_size",
        value=48,
        see=first_backbone_shape,
        without=[32, 32],
        given=[48, 48],
        together="another source",
    ),
    Case(flag="batch_size", value=6, see=steps, without=3, given=2),
    Case(flag="epochs", value=2, see=steps, without=3, given=6),
    Case(
        flag="head_epochs",
        value=2,
        also={"stage": "finetune"},
        see=head_steps,
        without=15,
        given=6,
    ),
    Case(
        flag="learning_rate",
        value=0.1,
        also=ONE_STEP,
        see=bias_after_one_step,
        without=pytest.approx(1e-3, rel=1e-3),
        given=pytest.approx(0.1, rel=1e-3),
    ),
    Case(
        flag="head_learning_rate",
        value=0.1,
        also={**FINETUNE, **ONE_STEP},
        see=bias_after_one_step,
        without=pytest.approx(1e-3, rel=1e-3),
        given=pytest.approx(0.1, rel=1e-3),
        together="rates",
    ),
    # A solved head takes one step.
    Case(
        flag="head_solver",
        value="lbfgs",
        also={"stage": "finetune"},
        see=head_steps,
        without=15,
        given=1,
    ),
    Case(
        flag="head_l2",
        value="0.5",
        also={"stage": "finetune", "head_solver": "lbfgs"},
        see=lambda ran: (ran.workdir / "head_path.json").exists(),
        without=True,
        given=False,
    ),
    Case(
        flag="class_weights",
        value="{root}/classes.json",
        see=lambda ran: {loss.class_weights for loss in ran.did.losses},
        without={()},
        given={(1.0, 2.0, 0.5)},
        together="changed examples",
    ),
    Case(
        flag="head_views",
        value=2,
        see=lambda ran: {what for what in ran.did.computed if what != "images"},
        without={"features of evaluation"},
        given={
            "features of evaluation",
            "features of view 1/1",
        },
    ),
    # Twelve of 32 in a step.
    Case(
        flag="scale_lr",
        value=True,
        also=ONE_STEP,
        see=bias_after_one_step,
        without=pytest.approx(1e-3, rel=1e-3),
        given=pytest.approx(0.375e-3, rel=1e-3),
    ),
    Case(
        flag="accumulate_steps",
        value=2,
        see=lambda ran: ran.did.parts,
        without=[],
        given=[2],
        together="changed examples",
    ),
    Case(
        flag="augment",
        value=False,
        see=shows_augmentation,
        without=True,
        given=False,
    ),
    Case(
        flag="augment",
        value=False,
        see=lambda ran: ran.did.kernels,
        without={"projective"},
        given=set(),
    ),
    Case(
        flag="unfreeze",
        value="last:3",
        also={**FINETUNE, **DRY},
        see=parameters,
        without=("3,883", "3,803"),
        given=("3,883", "2,387"),
    ),
    Case(
        flag="clip_global_norm",
        value=1e-3,
        also=ONE_STEP,
        see=momentum_norm,
        without=ANY,
        given=pytest.approx(1e-4, rel=1e-3),
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
        flag="monitor",
        value="loss",
        see=lambda ran: monitored(ran) == ["best_validation_loss"],
        without=False,
        given=True,
        together="fast paths",
    ),
    # Such a rate moves no weight, so every validation is like the first.
    Case(
        flag="patience",
        value=1,
        also={"epochs": 4, "learning_rate": 1e-30},
        see=steps,
        without=12,
        given=6,
    ),
    # The first call has one step.
    Case(flag="time_limit", value=1e-9, see=steps, without=3, given=1),
    Case(
        flag="validation_fraction",
        value=1,
        also=DRY,
        see=samples,
        without=[12, 4, 9],
        given=[12, 9, 9],
    ),
    Case(
        flag="seed",
        value=3,
        # Such a rate moves no weight, so the head is the initial one.
        also={"learning_rate": 1e-30},
        see=seeds_of_head,
        without=[0],
        given=[3],
    ),
)
