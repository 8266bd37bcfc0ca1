"""The two errors a person can cause, the exit status of each, their line."""

from __future__ import annotations

import re

# Where in a graph it happened, before what happened.
_PLACE = re.compile(
    r"^(\{\{function_node [^}]*\}\} ?)?"
    r"(Error in user-defined function passed to \S+ transformation with"
    r" iterator: \S+: )?"
)
_FRAME = re.compile(r"Graph execution error:|Detected at node|<stack traces")


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


def first_line(error: Exception) -> str:
    """What an error of TensorFlow's says first, without the graph's nodes.

    A line of at most 200 characters; of an error that Python raised within a
    graph, what Python said.
    """
    text = getattr(error, "message", None) or type(error).__name__
    lines = [_PLACE.sub("", line) for line in str(text).splitlines()]
    said = next((line for line in lines if line and not _FRAME.match(line)), "")
    return said.partition(" [[")[0][:200] or type(error).__name__
