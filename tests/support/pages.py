"""Facts of a made-up run for report.html, and checks of any page."""

from __future__ import annotations

import html.parser
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np

from trainer.model.freeze import FreezePlan, LayerRow
from trainer.results.calibration import fit_temperature
from trainer.results.evaluation import Evaluation
from trainer.results.page.images import data_uri
from trainer.results.page.run_page import RunFacts
from trainer.results.scores import score_metrics

_VOID = {"meta", "img", "br", "link", "input", "hr"}
HOSTILE = (
    "<script>alert(1)<",
    'x" onload="alert(2)',
    "new\nline",
    "\x1b[31mred",
    "日本語",
    "&amp;{{ 7 * 7 }}",
    "w" * 200,
)


def run_facts(names: Sequence[str], *, per_class: int = 20) -> RunFacts:
    """Returns facts of a finetune run with random predictions."""
    wrong, right = _examples(names)
    return RunFacts(
        result=_result(names, per_class),
        stored={
            "config": {"stage": "finetune"},
            "environment": {"tensorflow": "2.21.0", "devices": ["CPU:0"]},
            "runs": {"finetune": {"data_fingerprint": "abc"}},
        },
        lines=_lines(),
        events=[
            {"event": "start", "time": 10.0},
            {"event": "warning", "time": 11.0, "text": names[0]},
            {"event": "stop", "time": 20.0},
            {"event": "start", "time": 90.0},
            {
                "event": "complete",
                "time": 95.0,
                "times": {"peak_memory_mib": {"process": 1234.0}},
            },
        ],
        data=f"{len(names)} classes",
        plans=_plans(),
        command="python main.py --stage=finetune",
        flags={"stage": "finetune", "dataset": names[0], "epochs": 2},
        mistakes=[wrong] * 12,
        activations=[[wrong, right]] * 4,
        activation_note="",
    )


def _examples(names: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns a wrong and a right example, of noise."""
    pixels = np.random.default_rng(0).uniform(0, 255, (224, 224, 3))
    noise = data_uri(pixels)
    wrong = {
        "id": f"{names[0]}/1.jpg",
        "true": names[0],
        "predicted": names[1],
        "confidence": 0.9,
        "correct": False,
        "image": noise,
        "maps": [(names[0], noise), (names[1], noise)],
    }
    return wrong, {**wrong, "correct": True, "maps": wrong["maps"][:1]}


def _result(names: Sequence[str], per_class: int) -> dict[str, Any]:
    """Returns the result.json of a run with random predictions."""
    rng = np.random.default_rng(0)
    classes = len(names)
    labels = np.repeat(np.arange(classes), per_class)
    logits = rng.normal(0, 1.5, (len(labels), classes)).astype(np.float32)
    logits[np.arange(len(labels)), labels] += 4
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, logits.argmax(axis=1)), 1)
    evaluation = Evaluation(
        loss=0.8,
        accuracy=float(np.trace(confusion) / len(labels)),
        top5_accuracy=0.9,
        confusion=confusion,
        class_names=tuple(names),
    )
    calibration = fit_temperature(logits, labels)
    return {
        "stage": "finetune",
        "dataset": names[0],
        "backbone": "EfficientNetB0",
        "final_split": "test",
        "steps": 40,
        "epochs": 2,
        "train_seconds": 8.0,
        **evaluation.to_json(),
        "calibration": calibration.to_json(),
        **score_metrics(labels, logits, names, calibration),
        "earlier_stages": [
            {
                "stage": "feature_extract",
                "steps": 20,
                "test_loss": 1.2,
                "test_accuracy": 0.5,
                "test_examples": len(labels),
            }
        ],
    }


def _lines() -> list[dict[str, Any]]:
    return [
        {
            "stage": stage,
            "split": split,
            "span": "epoch",
            "epoch": epoch,
            "loss": 1 / epoch,
            "accuracy": 1 - 1 / (1 + epoch),
            "times": {"images_per_second": 50.0},
        }
        for stage in ("feature_extract", "finetune")
        for epoch in (1, 2)
        for split in ("train", "validation")
    ]


def _plans() -> list[tuple[str, FreezePlan]]:
    def plan(rule: str, first: int) -> FreezePlan:
        rows = tuple(
            LayerRow(
                name=f"layer{n}",
                kind="Conv2D",
                params=10 * n,
                trainable_params=10 * n if n >= first else 0,
            )
            for n in range(1, 8)
        )
        return FreezePlan(
            unfreeze=rule,
            unfrozen_layers=tuple(row.name for row in rows[first - 1 : -1]),
            trainable=(),
            frozen=(),
            rows=rows,
        )

    return [("feature_extract", plan("none", 7)), ("finetune", plan("x", 4))]


class _Checker(html.parser.HTMLParser):
    """Checks that tags are nested, and collects what a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.loose_tables = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = dict(attrs)
        assert len(given) == len(attrs), f"{tag}: an attribute twice"
        assert not [name for name in given if name.startswith("on")]
        self.tags.append(tag)
        self.links += [given[n] for n in ("src", "href") if n in given]
        if tag == "table":
            scrolls = any("scroll" in css.split() for _, css in self.open)
            self.loose_tables += not scrolls
        if tag not in _VOID:
            self.open.append((tag, given.get("class") or ""))

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a start"
        name, _ = self.open.pop()
        assert name == tag, f"</{tag}> after <{name}>"


def check_page(page: str, *, svgs: int) -> None:
    """Checks that a page is whole, safe and needs nothing else."""
    checker = _Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    assert checker.loose_tables == 0
    assert "script" not in checker.tags
    # Other reports are linked by relative paths.
    for link in checker.links:
        assert link.startswith("data:image/jpeg;base64,") or ":" not in link
    assert "@import" not in page
    assert "url(" not in page
    assert 'name="viewport"' in page
    found = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(found) == svgs
    for svg in found:
        ElementTree.fromstring(svg)
    assert page.replace("\n", "").isprintable()
