"""Waits until all processes of a job have started, before TensorFlow connects.

TensorFlow's own wait blocks signals and other threads, and ends after an hour
without naming the missing processes. Here the chief listens on its address, and
the other processes connect and stay connected. The chief then sends all of them
the same message: to continue, or which processes are missing. Then it closes
the port, so that TensorFlow can listen on it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence

from trainer.errors import TrainerError

WAIT_SECONDS = 300.0
_NOTICE_SECONDS = 10.0
# The limit for one message between two connected processes.
_MESSAGE_SECONDS = 10.0
_RETRY_SECONDS = 0.2
_GO = "go"


def wait_for_all(
    addresses: Sequence[str],
    index: int,
    wait_seconds: float = WAIT_SECONDS,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Waits until all processes have connected.

    Args:
      addresses: HOST:PORT of each process, the chief's first.
      index: the index of this process.
      wait_seconds: the limit for all processes to connect.
      clock: returns seconds.

    Raises:
      TrainerError: processes are missing, and the message names them; or this
        process cannot listen on its port.
    """
    if index:
        # gRPC would share a port with a server of another job, and each would
        # get messages for the other.
        _listen(addresses[index], index).close()
    notice = _Notice(clock)
    # The greeting identifies the job, because two jobs may use the same port
    # by mistake.
    job = hashlib.blake2b(" ".join(addresses).encode(), digest_size=8)
    greeting = f"trainer {job.hexdigest()} "
    missing = (
        _report(addresses[0], f"{greeting}{index}", wait_seconds, notice)
        if index
        else _assemble(addresses, greeting, wait_seconds, notice)
    )
    if missing:
        raise TrainerError(
            f"no answer from {missing} within {wait_seconds:g} s (the job has"
            f" {len(addresses)} processes); check that all were started and"
            " can be reached, then start all again"
        )


class _Notice:
    """Measures the wait, and prints one line if it takes more than 10 s."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._printed = False

    def waited(self, names: str) -> float:
        """Returns the seconds since the wait began.

        Args:
          names: the missing processes, for the printed line.
        """
        seconds = self._clock() - self._began
        if not self._printed and seconds > _NOTICE_SECONDS:
            self._printed = True
            print(f"waiting for {names}", file=sys.stderr, flush=True)
        return seconds


def _assemble(
    addresses: Sequence[str],
    greeting: str,
    wait_seconds: float,
    notice: _Notice,
) -> str:
    """Waits as the chief; returns the addresses of missing processes, or ""."""
    came: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_listen(addresses[0], 0))
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


def _listen(address: str, index: int) -> socket.socket:
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
            f"{address}: process {index} cannot listen there ({reason}); end"
            f" the program that uses the port, or give process {index} another"
            " port, in the lists of all processes"
        ) from None
    server.settimeout(_RETRY_SECONDS)
    return server


def _index_said(call: socket.socket, greeting: str) -> int | None:
    """Returns the index of a connecting process; None if not of this job."""
    call.settimeout(_MESSAGE_SECONDS)
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


def _report(
    address: str, words: str, wait_seconds: float, notice: _Notice
) -> str:
    """Connects to the chief; returns the addresses of missing processes."""
    host, _, port = address.rpartition(":")
    while notice.waited(address) <= wait_seconds:
        with contextlib.suppress(OSError, ValueError):
            call = socket.create_connection(
                (host.strip("[]"), int(port)), timeout=_MESSAGE_SECONDS
            )
            # If nothing listens on a port of this host, the system may choose
            # that port for the client, which then connects to itself.
            with call:
                if call.getsockname() != call.getpeername():
                    call.sendall(f"{words}\n".encode())
                    # From now on, the chief decides when the wait ends.
                    call.settimeout(wait_seconds + _MESSAGE_SECONDS)
                    text = _line(call)
                    if text:
                        return "" if text == _GO else text
        time.sleep(_RETRY_SECONDS)
    return address


def _line(call: socket.socket) -> str:
    """Reads a line without its newline; "" if the connection is closed."""
    with call.makefile("rb") as stream:
        return stream.readline(10_000).decode().strip()
