"""The two errors a person can cause, the exit status of each, their line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

# Where in a graph it happened, before what happened.
_PLACE = re.compile(
    r"^(\{\{function_node [^}]*\}\} ?)?"
    r"(Error in user-defined function passed to \S+ transformation with"
    r" iterator: \S+: )?"
)
_FRAME = re.compile(r"Graph execution error:|Detected at node|<stack traces")
# A path in a message. Long ones are cut first: the reason stands behind them.
_PATH = re.compile(r"[^\s'\"]*/[^'\"\n:;]*")
_PATH_CHARS, _REASON_CHARS = 80, 200


class TrainerError(Exception):
    """Something found while reading or running; the process exits with 1.

    The message is one line: the flag or file, the value, what is legal, and
    what to do.
    """

    exit_status = 1


class UsageError(TrainerError):
    """Wrong from the flags alone, or a path they name is missing: exit 2."""

    exit_status = 2


def one_line(text: str) -> str:
    """The text with all that is no visible character escaped.

    A file's name may hold line ends, bytes that are no text, and what moves a
    terminal's cursor.
    """
    return "".join(
        char
        if char.isprintable()
        else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def shortened(text: str, limit: int = _REASON_CHARS) -> str:
    """Returns the text in at most `limit` characters.

    Long paths lose their middle first, then the text does: what went wrong
    stands at the end of most messages.
    """
    if len(text) > limit:
        text = _PATH.sub(lambda path: _cut(path[0], _PATH_CHARS), text)
    return _cut(text, limit)


def _cut(text: str, limit: int) -> str:
    """Returns the text without its middle where it is longer than `limit`."""
    if len(text) <= limit:
        return text
    head = (limit - 3) // 2
    return f"{text[:head]}...{text[len(text) - (limit - 3 - head) :]}"


def reason_of(error: BaseException) -> str:
    """Returns why something failed, as one line of at most 200 characters.

    Of an OSError that is what the system says, without the path; of any other
    exception its first line, or its type where it says nothing.
    """
    text = getattr(error, "strerror", None) or str(error)
    lines = text.strip().splitlines() if isinstance(text, str) else []
    return shortened(one_line(lines[0] if lines else type(error).__name__))


@contextlib.contextmanager
def untrusted(label: str, remedy: str) -> Iterator[None]:
    """Turns whatever a parser raises into the one line of a TrainerError.

    Parsers of files that somebody else wrote raise more types than a list can
    name: KeyError, RecursionError, MemoryError and tokenize's among them. Put
    one such block around each read of such a file, and nothing else in it.

    Args:
      label: the flag and the file, or the file; begins the message.
      remedy: what to do about it; ends the message.

    Raises:
      TrainerError: anything was raised in the block. Those that are
        TrainerErrors already pass unchanged.
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
    """What an error of TensorFlow's says first, without the graph's nodes.

    A line of at most 200 characters; of an error that Python raised within a
    graph, what Python said.
    """
    text = getattr(error, "message", None) or type(error).__name__
    lines = [_PLACE.sub("", line) for line in str(text).splitlines()]
    said = next((line for line in lines if line and not _FRAME.match(line)), "")
    return shortened(said.partition(" [[")[0]) or type(error).__name__
