"""The two errors a person can cause, the exit status of each, their line."""


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
    """What an error of TensorFlow's says first, without the graph's nodes."""
    text = getattr(error, "message", None) or type(error).__name__
    return str(text).splitlines()[0].partition(" [[")[0][:200]
