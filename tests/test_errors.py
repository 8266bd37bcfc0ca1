"""Tests of one-line error messages."""

import pytest
import tensorflow as tf

from trainer.errors import (
    TrainerError,
    UsageError,
    first_line,
    one_line,
    reason_of,
    shortened,
    untrusted,
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("class 'борщ': 寿司 — 100 %", "class 'борщ': 寿司 — 100 %"),
        ("two\nlines\r\n", r"two\nlines\r\n"),
        ("\x1b[2J and \0", r"\x1b[2J and \x00"),
        ("line\u2028separator", r"line\u2028separator"),
        ("no \udcff text", r"no \udcff text"),
        ("", ""),
    ],
)
def test_one_line_escapes_unprintable_characters(text: str, line: str) -> None:
    assert one_line(text) == line
    assert one_line(text).isprintable()
    one_line(text).encode()


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("no such JPEG [[node Decode]]\nand a page more", "no such JPEG"),
        (
            "{{function_node __wrapped__IteratorGetNext_device_/CPU:0}} Error"
            " in user-defined function passed to ParallelMapDatasetV2:5"
            " transformation with iterator: Iterator::Root::Prefetch: OSError:"
            " [Errno 5] gone: '/a b'\nTraceback (most recent call last):\n",
            "OSError: [Errno 5] gone: '/a b'",
        ),
        (
            "Graph execution error:\n\nDetected at node PyFunc defined at (most"
            " recent call last):\n<stack traces unavailable>\nno such JPEG\n",
            "no such JPEG",
        ),
        ("Graph execution error:\n", "InvalidArgumentError"),
        ("", "InvalidArgumentError"),
        ("x" * 300, "x" * 98 + "..." + "x" * 99),
    ],
)
def test_first_line_finds_the_message_of_tensorflow(
    message: str, said: str
) -> None:
    error = tf.errors.InvalidArgumentError(None, None, message)
    assert first_line(error) == said


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("short", "short"),
        # The middle of the path is removed; the reason is complete.
        (
            f"/data/{'a' * 300}/ckpt-9; No such file or directory",
            f"/data/{'a' * 32}...{'a' * 32}/ckpt-9; No such file",
        ),
        (
            f"open '/x/{'b' * 250}.index' failed: Input/output error",
            "failed: Input/output error",
        ),
        ("y" * 150 + "z" * 150, "y" * 98 + "..." + "z" * 99),
    ],
)
def test_shortened_keeps_the_reason(text: str, short: str) -> None:
    found = shortened(text)
    assert len(found) <= 200
    assert short in found
    assert found.endswith(text[-20:])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(2, "No such file", "/x"), "No such file"),
        (ValueError("first\nsecond"), "first"),
        (KeyError(), "KeyError"),
        (MemoryError(), "MemoryError"),
        (ValueError("\x1b[2Jgone"), r"\x1b[2Jgone"),
    ],
)
def test_reason_of_an_error_is_one_line(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


@pytest.mark.parametrize(
    "error", [KeyError("k"), RecursionError("deep"), MemoryError(), OSError(5)]
)
def test_untrusted_makes_one_line(error: Exception) -> None:
    with (
        pytest.raises(TrainerError, match=r"^FILE: cannot be read \(.+\); fix"),
        untrusted("FILE", "fix it"),
    ):
        raise error


def test_untrusted_passes_trainer_errors_and_interrupts() -> None:
    with pytest.raises(UsageError, match=r"^known$"), untrusted("F", "fix"):
        raise UsageError("known")
    with pytest.raises(KeyboardInterrupt), untrusted("F", "fix"):
        raise KeyboardInterrupt
