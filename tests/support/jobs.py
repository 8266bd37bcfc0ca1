"""Jobs of several real processes that connect on the loopback device.

They are forked from a server that has imported TensorFlow but not used it, so
each process starts at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import pathlib
import random
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras

from tests.support import loaded
from tests.support.tiny import NAMES, tiny_backbone
from trainer.command import flags, program

assert loaded
# Many times what a job takes, because the machine may be busy.
_DEADLINE_SECONDS = 300.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Left:
    """The output of a process and its exit status (-N: killed by signal N)."""

    status: int
    out: str
    err: str


class Job:
    """Several processes that TF_CONFIG names."""

    def __init__(
        self, count: int, folder: pathlib.Path, work: Callable, *arguments: Any
    ) -> None:
        """Starts the processes.

        Args:
          count: number of processes.
          folder: folder for the output of the processes.
          work: a function of a module, called with `arguments` in each process.
          *arguments: the arguments of `work`.
        """
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        folder.mkdir(parents=True, exist_ok=True)
        addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
        self._said = [
            (folder / f"{i}.out", folder / f"{i}.err") for i in range(count)
        ]
        self.processes = [
            context.Process(
                target=_enter,
                args=(addresses, i, self._said[i], work, arguments),
            )
            for i in range(count)
        ]
        for process in self.processes:
            process.start()

    def kill(self, index: int, signum: int) -> None:
        """Sends a signal to one process."""
        pid = self.processes[index].pid
        assert pid is not None
        os.kill(pid, signum)

    def wait(self) -> list[Left]:
        """Waits for all processes and returns their output."""
        end = time.monotonic() + _DEADLINE_SECONDS
        for process in self.processes:
            process.join(max(0.0, end - time.monotonic()))
        stuck = [i for i, p in enumerate(self.processes) if p.is_alive()]
        for i in stuck:
            self.processes[i].kill()
            self.processes[i].join()
        left = [
            Left(status=p.exitcode, out=out.read_text(), err=err.read_text())
            for p, (out, err) in zip(self.processes, self._said, strict=True)
        ]
        assert not stuck, (stuck, left)
        return left


def run_command(arguments: Sequence[str]) -> None:
    """Runs `python main.py ARGUMENTS` with a backbone that is fast to trace."""
    for name in NAMES:
        setattr(keras.applications, name, tiny_backbone)
    sys.argv = ["main.py", *arguments]
    flags.run(program.main)


def free_ports(count: int) -> list[int]:
    """Returns free ports, different ones in all test processes of a machine."""
    # A run in this process seeds the global generator, so that test processes
    # would choose the same ports.
    draw = random.SystemRandom()
    found: list[int] = []
    while len(found) < count:
        # Below the ports that the system assigns to outgoing connections.
        port = draw.randrange(20_000, 32_000)
        with (
            contextlib.suppress(OSError),
            _reservation(port) as held,
            socket.create_server(("", port)),
        ):
            _reserved.append(held.detach())
            found.append(port)
    return found


# Open sockets, whose names are free again when this process ends.
_reserved: list[int] = []


def _reservation(port: int) -> socket.socket:
    """Returns a socket whose name reserves a port among test processes.

    Without it, another process could choose the same port before the job of
    this process listens on it.

    Raises:
      OSError: the port is reserved.
    """
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if sys.platform == "linux":
        try:
            held.bind(f"\0transfer-trainer-test-port-{port}")
        except OSError:
            held.close()
            raise
    return held


def _enter(
    addresses: Sequence[str],
    index: int,
    said: tuple[pathlib.Path, pathlib.Path],
    work: Callable,
    arguments: Sequence[Any],
) -> None:
    for number, path in zip((1, 2), said, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ["TF_CONFIG"] = json.dumps(
        {
            "cluster": {"worker": list(addresses)},
            "task": {"type": "worker", "index": index},
        }
    )
    work(*arguments)
