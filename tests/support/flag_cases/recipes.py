"""Flags of the recipe: optimizer, schedule and averages."""

from __future__ import annotations

from unittest.mock import ANY

import pytest

from tests.support.flag_cases.case import (
    DRY,
    FINETUNE,
    FROM_SOURCE,
    ONE_ADAMW_STEP,
    ONE_STEP,
    Case,
)
from tests.support.flag_cases.views import (
    bias_after_one_step,
    first_rate,
    last_rate,
    move_from_nine_tenths,
    move_of_conv3,
    planned_optimizers,
    slot_kinds,
    steps,
)
from trainer.config.mixing import CUTMIX, Mixing
from trainer.config.recipes import BEFORE_RENDERING

RECIPES = (
    Case(
        flag="recipe",
        value="best",
        also={"stage": "finetune", "min_steps": 0, **BEFORE_RENDERING, **DRY},
        see=planned_optimizers,
        without=["Adam", "Adam"],
        given=["L-BFGS", "AdamW"],
    ),
    Case(
        flag="optimizer",
        value="sgd",
        see=slot_kinds,
        without={"momentum", "velocity"},
        given={"momentum"},
        together="another start",
    ),
    Case(
        flag="momentum",
        value=0,
        also=FROM_SOURCE,
        see=slot_kinds,
        without={"momentum"},
        given=set(),
        together="no move",
    ),
    # Adam's first step moves an entry by the rate, after the decay to 0.9.
    Case(
        flag="weight_decay",
        value=1,
        also=ONE_ADAMW_STEP,
        see=move_from_nine_tenths,
        without=ANY,
        given=pytest.approx(0.1, rel=1e-3),
        together="high rate",
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
        see=first_rate,
        without=1e-3,
        given=pytest.approx(0.75e-3),
        together="more steps",
    ),
    Case(
        flag="min_steps",
        value=4,
        see=steps,
        without=3,
        given=6,
        together="more steps",
    ),
    # The tiny backbone has no blocks: conv3 is the third layer below the head,
    # and `layer_decay` scales its rate by an eighth.
    *(
        Case(
            flag=flag,
            value=0.5,
            also={**FINETUNE, **ONE_STEP},
            see=move_of_conv3,
            without=pytest.approx(1e-4, rel=1e-2),
            given=pytest.approx(0.5 * 0.125e-4, rel=1e-2),
            together="rates",
        )
        for flag in ("backbone_lr_scale", "layer_decay")
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
        also=ONE_ADAMW_STEP,
        see=lambda ran: bias_after_one_step(ran) / first_rate(ran),
        without=pytest.approx(1, rel=1e-3),
        given=pytest.approx(0.9, rel=1e-3),
        together="low rate",
    ),
    Case(
        flag="profile",
        value="2,3",
        see=lambda ran: bool(list(ran.workdir.rglob("*.xplane.pb"))),
        without=False,
        given=True,
        together="changed examples",
    ),
)
