"""The one line of an error."""

import pytest
import tensorflow as tf

from trainer.errors import first_line, one_line


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
def test_one_line(text: str, line: str) -> None:
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
        ("x" * 300, "x" * 200),
    ],
)
def test_what_tensorflow_says_first(message: str, said: str) -> None:
    error = tf.errors.InvalidArgumentError(None, None, message)
    assert first_line(error) == said
