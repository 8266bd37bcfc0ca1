"""Waits until every process of a job is there, before TensorFlow does.

TensorFlow's own wait lets neither a signal nor another thread through, and
ends after an hour without saying who is missing. Here the chief listens at its
address, the others report to it and stay connected, and it sends all of them
off together, or names to all of them those that did not come. Then the address
is free again, for TensorFlow to listen at.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
import time
from collections.abc import Sequence

from trainer.errors import TrainerError

WAIT_SECONDS = 300.0
_NOTICE_SECONDS = 10.0
# Of a single word between two processes that are there.
_WORD_SECONDS = 10.0
_BETWEEN_SECONDS = 0.2
_GO = "go"


def wait_for_all(
    addresses: Sequence[str], index: int, wait_seconds: float = WAIT_SECONDS
) -> None:
    """Returns once all processes are there.

    Args:
      addresses: HOST:PORT of each process, the chief's first.
      index: of this one.
      wait_seconds: how long to wait for the others.

    Raises:
      TrainerError: some did not come, which are named; or the chief cannot
        listen at its port.
    """
    # So that two jobs on the same ports do not take each other's processes.
    job = hashlib.blake2b(" ".join(addresses).encode(), digest_size=8)
    greeting = f"trainer {job.hexdigest()} "
    missing = (
        _report(addresses[0], f"{greeting}{index}", wait_seconds)
        if index
        else _assemble(addresses, greeting, wait_seconds)
    )
    if missing:
        raise TrainerError(
            f"no answer from {missing} within {wait_seconds:g} s, of"
            f" {len(addresses)} processes; see whether they were started and"
            " can be reached, then start all again"
        )


class _Notice:
    """Says once who is waited for, when that takes long."""

    def __init__(self) -> None:
        self._began, self._said = time.monotonic(), False

    def waited(self, names: str) -> float:
        """Seconds since this began."""
        seconds = time.monotonic() - self._began
        if not self._said and seconds > _NOTICE_SECONDS:
            self._said = True
            print(f"waiting for {names}", file=sys.stderr, flush=True)
        return seconds


def _assemble(
    addresses: Sequence[str], greeting: str, wait_seconds: float
) -> str:
    """The chief's part; returns the addresses of those that did not come."""
    came: dict[int, socket.socket] = {}
    notice = _Notice()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_listen(addresses[0]))
        while True:
            gone = [i for i, call in came.items() if _has_left(call)]
            for i in gone:
                del came[i]
            absent = [i for i in range(1, len(addresses)) if i not in came]
            missing = ", ".join(addresses[i] for i in absent)
            late = notice.waited(missing) > wait_seconds
            if late or not missing:
                for call in came.values():
                    with contextlib.suppress(OSError):
                        call.sendall(f"{missing or _GO}\n".encode())
                return missing
            with contextlib.suppress(TimeoutError):
                call = stack.enter_context(server.accept()[0])
                index = _index_said(call, greeting)
                if index in absent:
                    came[index] = call
                else:
                    call.close()


def _listen(address: str) -> socket.socket:
    both = socket.has_dualstack_ipv6()
    try:
        server = socket.create_server(
            ("", int(address.rpartition(":")[2])),
            family=socket.AF_INET6 if both else socket.AF_INET,
            dualstack_ipv6=both,
        )
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise TrainerError(
            f"{address}: the chief cannot listen there ({reason}); end what"
            " does, or give all processes another port for it"
        ) from None
    server.settimeout(_BETWEEN_SECONDS)
    return server


def _index_said(call: socket.socket, greeting: str) -> int | None:
    """Which process has called; None if it is not of this job."""
    call.settimeout(_WORD_SECONDS)
    try:
        text = _line(call)
        return int(text.removeprefix(greeting))
    except (OSError, ValueError):
        return None


def _has_left(call: socket.socket) -> bool:
    try:
        call.setblocking(False)
        return not call.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _report(address: str, words: str, wait_seconds: float) -> str:
    """The others' part; returns the addresses of those that did not come."""
    host, _, port = address.rpartition(":")
    notice = _Notice()
    while notice.waited(address) <= wait_seconds:
        with contextlib.suppress(OSError, ValueError):
            call = socket.create_connection(
                (host.strip("[]"), int(port)), timeout=_WORD_SECONDS
            )
            # A port of this very host that nobody listens at can be given to
            # the call itself, which then answers itself.
            with call:
                if call.getsockname() != call.getpeername():
                    call.sendall(f"{words}\n".encode())
                    # The chief's clock decides, once it knows of this one.
                    call.settimeout(wait_seconds + _WORD_SECONDS)
                    text = _line(call)
                    if text:
                        return "" if text == _GO else text
        time.sleep(_BETWEEN_SECONDS)
    return address


def _line(call: socket.socket) -> str:
    """A line without its end; "" where the other side has left."""
    with call.makefile("rb") as stream:
        return stream.readline(10_000).decode().strip()
