"""Flags of the recipe: optimizer, schedule and averages."""

from __future__ import annotations

from unittest.mock import ANY

import pytest

from tests.support.flag_cases.case import FINETUNE, ONE_STEP, Case
from tests.support.flag_cases.views import (
    bias_after_one_step,
    first_rate,
    head_steps,
    last_rate,
    move_from_nine_tenths,
    move_of_conv3,
    slot_kinds,
    steps,
)
from trainer.config.mixing import CUTMIX, Mixing
from trainer.config.recipes import BEFORE_RENDERING

RECIPES = (
    Case(
        flag="recipe",
        value="best",
        also={"stage": "finetune", "min_steps": 0, **BEFORE_RENDERING},
        see=head_steps,
        without=15,
        given=1,
    ),
    Case(
        flag="optimizer",
        value="sgd",
        see=slot_kinds,
        without={"momentum", "velocity"},
        given={"momentum"},
    ),
    Case(
        flag="momentum",
        value=0,
        also={"optimizer": "sgd"},
        see=slot_kinds,
        without={"momentum"},
        given=set(),
    ),
    # Adam's first step moves an entry by the rate, after the decay to 0.9.
    Case(
        flag="weight_decay",
        value=1,
        also={"optimizer": "adamw", "learning_rate": 0.1, **ONE_STEP},
        see=move_from_nine_tenths,
        without=ANY,
        given=pytest.approx(0.1, rel=1e-3),
    ),
    Case(
        flag="schedule",
        value="linear",
        see=last_rate,
        without=1e-3,
        given=pytest.approx(1e-3 / 3),
        together="changed examples",
    ),
    # Three of four steps are done.
    Case(
        flag="warmup",
        value=4,
        also={"epochs": 2},
        see=first_rate,
        without=1e-3,
        given=pytest.approx(0.75e-3),
    ),
    Case(flag="min_steps", value=4, see=steps, without=3, given=6),
    Case(
        flag="backbone_lr_scale",
        value=0.5,
        also={**FINETUNE, **ONE_STEP},
        see=move_of_conv3,
        without=pytest.approx(1e-4, rel=1e-2),
        given=pytest.approx(0.5e-4, rel=1e-2),
        together="rates",
    ),
    # The tiny backbone has no blocks: conv3 is the third layer below the head.
    Case(
        flag="layer_decay",
        value=0.5,
        also={**FINETUNE, **ONE_STEP},
        see=move_of_conv3,
        without=pytest.approx(1e-4, rel=1e-2),
        given=pytest.approx(0.125e-4, rel=1e-2),
    ),
    Case(
        flag="label_smoothing",
        value=0.1,
        see=lambda ran: {loss.smoothing for loss in ran.did.losses},
        without={0.0},
        given={0.1},
        together="changed examples",
    ),
    Case(
        flag="mix",
        value="cutmix:1",
        see=lambda ran: {r.mix for r in ran.did.regularizations},
        without=set(),
        given={Mixing(method=CUTMIX, alpha=1.0)},
        together="changed examples",
    ),
    Case(
        flag="erasing",
        value=0.5,
        see=lambda ran: {r.erasing for r in ran.did.regularizations},
        without=set(),
        given={0.5},
        together="changed examples",
    ),
    # The tiny backbone has 16 channels. The images that are shown have none.
    Case(
        flag="dropout",
        value=0.5,
        see=lambda ran: {
            (r.dropout, r.channels) for r in ran.did.regularizations
        },
        without=set(),
        given={(0.5, 16)},
        together="another source",
    ),
    # After one step the average has a tenth of the initial weight, 0.
    Case(
        flag="ema",
        value=0.5,
        also=ONE_STEP,
        see=bias_after_one_step,
        without=pytest.approx(1e-3, rel=1e-3),
        given=pytest.approx(0.9e-3, rel=1e-3),
    ),
    Case(
        flag="profile",
        value="2,3",
        see=lambda ran: bool(list(ran.workdir.rglob("*.xplane.pb"))),
        without=False,
        given=True,
    ),
)
