"""Tests of the text of --help, and of the hints for unknown flags."""

import pytest

from trainer.config.fields import FIELDS
from trainer.config.usage import (
    ALIASES,
    GROUPS,
    help_text,
    hint_for,
    hint_for_word,
    start_text,
)

SCREEN_LINES, SCREEN_COLUMNS = 24, 80


def test_each_flag_is_in_one_group():
    listed = [name for names in GROUPS.values() for name in names]
    assert sorted(listed) == sorted(FIELDS)


def test_the_first_group_has_the_ten_most_used_flags():
    assert next(iter(GROUPS.values())) == (
        "stage",
        "recipe",
        "dataset",
        "data_pct",
        "backbone",
        "unfreeze",
        "epochs",
        "batch_size",
        "learning_rate",
        "workdir",
    )


def test_a_group_of_help_fits_a_screen():
    start, *groups = help_text().split("\n\n")
    assert start == start_text()
    assert [group.partition(":")[0] for group in groups] == list(GROUPS)
    for group in groups:
        lines = group.splitlines()
        assert len(lines) <= SCREEN_LINES, lines[0]
        assert max(map(len, lines)) < SCREEN_COLUMNS, lines[0]


def test_help_shows_every_flag_with_its_choices():
    text = " ".join(help_text().split())
    for name, field in FIELDS.items():
        assert f"--{name} " in text or f"--[no]{name} " in text
        assert ", ".join(field.metadata["choices"]) in text


@pytest.mark.parametrize(
    ("flag", "shown"),
    [
        ("stage", "Required."),
        ("data_pct", "Default: 100.0."),
        ("[no]decode_cache", "Default: on."),
        ("[no]dry_run", "Default: off."),
        ("trunk_block", "Default: 0."),
        ("accumulate_steps", "Default: 1."),
    ],
)
def test_help_shows_the_default(flag, shown):
    (_, after) = help_text().split(f"  --{flag} ")
    assert (
        after.partition("  --")[0]
        .partition("\n\n")[0]
        .endswith((shown, f"{shown}\n"))
    )


@pytest.mark.parametrize("name", ALIASES)
def test_an_alias_names_a_flag_and_is_none(name):
    assert name not in FIELDS
    assert ALIASES[name] in FIELDS
    assert hint_for(name) == f"did you mean --{ALIASES[name]}?"


@pytest.mark.parametrize(
    ("typed", "flag"),
    [
        ("lr", "learning_rate"),
        ("model", "backbone"),
        ("data", "dataset"),
        ("imgsz", "image_size"),
        ("batch", "batch_size"),
        ("device", "gpus"),
        ("output_dir", "workdir"),
        ("config", "flagfile"),
        ("verbose", "verbosity"),
        # Close to a flag.
        ("bachsize", "batch_size"),
        ("batch-size", "batch_size"),
        ("BatchSize", "batch_size"),
        ("epoch", "epochs"),
        ("learningrate", "learning_rate"),
        ("unfreze", "unfreeze"),
        ("nodryrun", "nodry_run"),
    ],
)
def test_an_unknown_flag_gets_the_nearest(typed, flag):
    assert hint_for(typed) == f"did you mean --{flag}?"


def test_a_name_unlike_any_flag_gets_no_hint():
    assert hint_for("zzz") == ""


def test_resume_is_explained():
    assert "the same --workdir resumes" in hint_for("resume")


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("evaluate", "did you mean --stage=evaluate?"),
        ("photos", "every option is written --name=value"),
    ],
)
def test_a_word_without_dashes_is_explained(word, hint):
    assert hint_for_word(word) == hint
