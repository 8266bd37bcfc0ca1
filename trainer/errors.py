"""Errors that the user can fix, and their one-line messages."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

# The graph location that TensorFlow puts before a message.
_PLACE = re.compile(
    r"^(\{\{function_node [^}]*\}\} ?)?"
    r"(Error in user-defined function passed to \S+ transformation with"
    r" iterator: \S+: )?"
)
_FRAME = re.compile(r"Graph execution error:|Detected at node|<stack traces")
# A path in a message.
_PATH = re.compile(r"[^\s'\"]*/[^'\"\n:;]*")
_PATH_CHARS, _REASON_CHARS = 80, 200


class TrainerError(Exception):
    """An error in the data or during the run; the process exits with 1.

    The message is one line: the flag or file, the value, what is legal, and
    what to do.
    """

    exit_status = 1


class UsageError(TrainerError):
    """An invalid flag or a missing path; the process exits with 2."""

    exit_status = 2


def one_line(text: str) -> str:
    """Returns the text with every unprintable character escaped.

    A file name may contain newlines, invalid bytes and terminal escape codes.
    """
    return "".join(
        char
        if char.isprintable()
        else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def counted(number: int, noun: str) -> str:
    """Returns a number and its noun, such as `1 photo` or `1,200 classes`."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def shortened(text: str, limit: int = _REASON_CHARS) -> str:
    """Returns the text, shortened to at most `limit` characters.

    It shortens long paths first, because most messages have the reason after
    the path. If the text is still too long, its middle is removed.
    """
    if len(text) > limit:
        text = _PATH.sub(lambda path: _cut(path[0], _PATH_CHARS), text)
    return _cut(text, limit)


def _cut(text: str, limit: int) -> str:
    """Returns the text; "..." replaces its middle if it is too long."""
    if len(text) <= limit:
        return text
    head = (limit - 3) // 2
    return f"{text[:head]}...{text[len(text) - (limit - 3 - head) :]}"


def reason_of(error: BaseException) -> str:
    """Returns the reason for an error, as one line of at most 200 characters.

    For an OSError, this is the system's message without the path. For any
    other exception, it is the first line of the message, or the exception's
    type if the message is empty.
    """
    text = getattr(error, "strerror", None) or str(error)
    lines = text.strip().splitlines() if isinstance(text, str) else []
    return shortened(one_line(lines[0] if lines else type(error).__name__))


@contextlib.contextmanager
def untrusted(label: str, remedy: str) -> Iterator[None]:
    """Turns any exception of a parser into a TrainerError.

    A parser of an untrusted file may raise exceptions of many types, such as
    KeyError, RecursionError, MemoryError or tokenize.TokenError. Use one block
    per read.

    Args:
      label: the start of the message: the flag and the file, or the file.
      remedy: the end of the message: what to do.

    Raises:
      TrainerError: the block raised an exception. A TrainerError passes
        unchanged.
    """
    try:
        yield
    except TrainerError:
        raise
    except Exception as error:
        raise TrainerError(
            f"{label}: cannot be read ({reason_of(error)}); {remedy}"
        ) from error


def first_line(error: Exception) -> str:
    """Returns a TensorFlow error's message without the names of graph nodes.

    The result is one line of at most 200 characters. If Python code in a graph
    raised the error, the result is that exception's message.
    """
    text = getattr(error, "message", None) or type(error).__name__
    lines = [_PLACE.sub("", line) for line in str(text).splitlines()]
    said = next((line for line in lines if line and not _FRAME.match(line)), "")
    return shortened(said.partition(" [[")[0]) or type(error).__name__
