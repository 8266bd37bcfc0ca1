"""The two errors a person can cause, and the exit status of each."""


class TrainerError(Exception):
    """Something found while reading or running; the process exits with 1.

    The message is one line: the flag or file, the value, what is legal, and
    what to do.
    """

    exit_status = 1


class UsageError(TrainerError):
    """Wrong from the flags alone, or a path they name is missing: exit 2."""

    exit_status = 2
