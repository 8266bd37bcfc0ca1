"""Flags of the stages that use finished runs."""

from __future__ import annotations

from tests.support.flag_cases.case import Case
from trainer.workdir import RESULT

USING = (
    Case(
        flag="tta",
        value="flip",
        also={"stage": "evaluate", "workdir": "{root}/source"},
        alone=True,
        see=lambda ran: ran.json("evaluation.json")["tta"],
        without="off",
        given="flip",
    ),
    Case(
        # One of three classes, and another.
        flag="strict_classes",
        value=True,
        also={
            "stage": "evaluate",
            "workdir": "{root}/source",
            "dataset": "{root}/near",
        },
        alone=True,
        see=lambda ran: ran.said.status,
        without=0,
        given=1,
    ),
    Case(
        flag="workdirs",
        value="{root}/source,{root}/twin",
        also={"stage": "soup", "workdir": "{root}/soup"},
        alone=True,
        see=lambda ran: (ran.said.status, (ran.workdir / RESULT).exists()),
        without=(2, False),
        given=(0, True),
    ),
)
