"""Flags of the stages that use finished runs, or check data."""

from __future__ import annotations

import json

from tests.support.flag_cases.case import PREDICT, Case
from tests.support.flag_cases.views import predicted_columns
from trainer.workdir import RESULT

USING = (
    # One training image is in the test split too; 20 of 21 are listed.
    Case(
        flag="write_list",
        value="{root}/list.csv",
        also={
            "stage": "check_data",
            "dataset": "{root}/twins",
            "weights": "none",
            "image_size": 32,
            "workdir": "{root}/checked",
        },
        alone=True,
        see=lambda ran: (ran.said.status, "(20 images)" in ran.said.out),
        without=(3, False),
        given=(3, True),
    ),
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
        flag="export_formats",
        value="tflite",
        also={
            "stage": "export",
            "workdir": "{root}/source",
            "output": "{own}",
        },
        alone=True,
        see=lambda ran: sorted(path.name for path in ran.own.glob("*model*.*")),
        without=["model.keras", "model_card.md"],
        given=["model.tflite", "model_card.md"],
    ),
    Case(
        flag="quantize",
        value="int8",
        also={
            "stage": "export",
            "export_formats": "tflite",
            "workdir": "{root}/source",
            "output": "{own}",
        },
        alone=True,
        see=lambda ran: json.loads(
            (ran.own / "export.json").read_text("utf-8")
        )["formats"]["tflite"]["quantize"],
        without="none",
        given="int8",
    ),
    # Its effect on a model is in tests/run/test_export.py.
    Case(
        flag="force",
        value=True,
        also={"stage": "export", "workdir": "{root}/nowhere"},
        alone=True,
        see=lambda ran: "--force: " in ran.said.err,
        without=False,
        given=True,
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
    Case(
        flag="runs",
        value="{root}/source",
        also={"stage": "list_runs"},
        alone=True,
        see=lambda ran: (ran.said.status, "feature_extract" in ran.said.out),
        without=(2, False),
        given=(0, True),
    ),
    # The column of decisions.
    Case(
        flag="min_confidence",
        value=0.5,
        also=PREDICT,
        alone=True,
        see=predicted_columns,
        without=8,
        given=9,
    ),
    Case(
        flag="reject",
        value="auto",
        also=PREDICT,
        alone=True,
        see=lambda ran: (predicted_columns(ran), "similarity" in ran.said.err),
        without=(8, False),
        given=(9, True),
    ),
    # A port that exists would be served until a signal.
    Case(
        flag="port",
        value=65536,
        also={"stage": "serve", "workdir": "{root}/nowhere"},
        alone=True,
        see=lambda ran: (
            ran.said.status,
            "--port=65536: must be" in ran.said.err,
        ),
        without=(2, False),
        given=(2, True),
    ),
)
