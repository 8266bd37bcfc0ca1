"""The page of a run, from facts written by hand."""

from __future__ import annotations

import dataclasses
import html
import re

import pytest

from tests.support.pages import HOSTILE, check_page, run_facts
from trainer.results.page.run_page import run_page

# Two strips for each of two stages, two curves, the confusion matrix, and the
# charts of confidence and of coverage.
SVGS = 9


def text_of(page: str) -> str:
    """Returns the text of a page without its tags."""
    body = page.partition("<main>")[2]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def test_a_page_of_hostile_names_is_whole_and_safe() -> None:
    page = run_page(run_facts(HOSTILE))
    check_page(page, svgs=SVGS)
    text = text_of(page)
    for name in (
        "<script>alert(1)<",
        'x" onload="alert(2)',
        "new\\nline",
        "\\x1b[31mred",
        "日本語",
        "&amp;{{ 7 * 7 }}",
    ):
        assert name in text


def test_a_page_of_100_classes_is_below_5_megabytes() -> None:
    page = run_page(run_facts([f"class {n}" for n in range(100)]))
    check_page(page, svgs=SVGS)
    assert len(page.encode()) < 5_000_000


def test_a_page_shows_what_the_run_found() -> None:
    facts = run_facts(["cat", "dog", "owl"], per_class=40)
    text = text_of(run_page(facts))
    result = facts.result
    for key in (
        "test_accuracy",
        "test_macro_precision",
        "test_macro_f1",
        "test_average_precision",
        "test_roc_auc",
        "test_ece",
        "test_ece_calibrated",
        "test_loss_calibrated",
        "test_aurc",
    ):
        assert f"{result[key]:.4f}" in text, key
    low, high = result["test_accuracy_interval"]
    assert f"[{low:.3f}, {high:.3f}]" in text
    for name in ("cat", "dog", "owl"):
        for key in ("precision", "f1", "average_precision", "roc_auc"):
            value = result[f"test_per_class_{key}"][name]
            assert f"{value:.4f}" in text
    # 10 s before the stop and 5 s after the second start.
    assert "whole run, in 2 starts 15.0 s" in text
    assert "peak memory, process 1,234 MiB" in text
    assert "finetune: 220 of 280 parameters" in text
    assert "layer4 to layer6" in text
    assert "finetune begins" in text
    assert "data fingerprint abc" in text
    assert "python main.py --stage=finetune" in text


def test_a_result_of_an_earlier_version_lacks_sections_only() -> None:
    facts = run_facts(["cat", "dog"])
    kept = (
        "stage",
        "dataset",
        "backbone",
        "final_split",
        "steps",
        "test_loss",
        "test_accuracy",
        "test_per_class_accuracy",
        "test_confusion",
    )
    old = dataclasses.replace(
        facts,
        result={key: facts.result[key] for key in kept},
        stored={},
        lines=[],
        events=[],
        plans=[],
        flags={},
        mistakes=None,
        activations=None,
        activation_note="No maps.",
    )
    page = run_page(old)
    check_page(page, svgs=1)
    text = text_of(page)
    for phrase in (
        "The freeze plan could not be read",
        "There is no epoch in metrics.jsonl",
        "the run is of an earlier version",
        "The mistakes could not be found",
        "No maps.",
    ):
        assert phrase in text


@pytest.mark.parametrize("correct", [True, False])
def test_without_mistakes_the_page_says_so(correct: bool) -> None:
    facts = run_facts(["cat", "dog"])
    facts = dataclasses.replace(facts, mistakes=[] if correct else None)
    said = "None: every test example was classified correctly."
    assert (said in text_of(run_page(facts))) is correct
