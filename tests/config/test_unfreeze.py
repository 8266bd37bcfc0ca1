"""Tests of --unfreeze: the layers that a rule chooses, and invalid rules."""

import signal
import time

import pytest

from trainer.config import unfreeze
from trainer.config.unfreeze import parse_unfreeze
from trainer.errors import UsageError

NAMES = ("input", "stem_conv", "stem_bn", "block1_conv", "block1_bn", "top")


@pytest.mark.parametrize(
    ("rule", "chosen"),
    [
        ("none", ()),
        ("all", (0, 1, 2, 3, 4, 5)),
        ("last:1", (5,)),
        ("last:2", (4, 5)),
        ("last:6", (0, 1, 2, 3, 4, 5)),
        ("from:block1_conv", (3, 4, 5)),
        ("regex:.*_bn", (2, 4)),
        ("regex:top|input", (0, 5)),
    ],
)
def test_a_rule_chooses_layers(rule, chosen):
    assert parse_unfreeze(rule).choose(NAMES) == chosen


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("last:0", "last:N takes a whole number N >= 1"),
        ("last:-1", "last:N takes a whole number N >= 1"),
        ("last:ten", "last:N takes a whole number N >= 1"),
        ("last:", "last:N takes a whole number N >= 1"),
        ("last", "cannot be parsed; legal forms are last:N"),
        ("", "cannot be parsed; legal forms are last:N"),
        ("from:", "cannot be parsed"),
        ("regex:", "cannot be parsed"),
        ("regex:(", "not a regular expression"),
        ("All", "cannot be parsed"),
    ],
)
def test_an_invalid_rule_is_rejected(rule, message):
    with pytest.raises(UsageError) as error:
        parse_unfreeze(rule)
    assert str(error.value).startswith(f"--unfreeze={rule!r}: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("last:7", "the backbone has 6 layers; give last:1 to last:6, or all"),
        ("from:block1_con", "did you mean 'block1_conv'?"),
        ("from:zzz", "the backbone has no layer 'zzz'; --dry_run lists"),
        # The pattern must match the whole name.
        ("regex:bn", "matches none of the 6 layer names"),
    ],
)
def test_a_rule_that_matches_no_layer_is_rejected(rule, message):
    with pytest.raises(UsageError) as error:
        parse_unfreeze(rule).choose(NAMES)
    assert message in str(error.value)


def test_a_pattern_that_backtracks_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pattern may come from the workdir of another person."""
    monkeypatch.setattr(unfreeze, "_MATCH_SECONDS", 0.1)
    rule = parse_unfreeze("regex:(a+)+b")
    handler = signal.getsignal(signal.SIGALRM)
    began = time.monotonic()
    with pytest.raises(UsageError, match=r"takes more than 0\.1 s to match"):
        rule.choose(["a" * 60])
    assert time.monotonic() - began < 5
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    # A fast pattern is not stopped.
    assert rule.choose(["aab", "c"]) == (0,)
