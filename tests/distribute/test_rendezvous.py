"""Processes that wait for each other, here as threads."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from tests.support.jobs import free_ports
from trainer.distribute.rendezvous import wait_for_all
from trainer.errors import TrainerError


def addresses_of(count: int) -> list[str]:
    return [f"127.0.0.1:{port}" for port in free_ports(count)]


class Waiting(threading.Thread):
    """A process that waits; `outcome` is None, its error or `waiting`."""

    def __init__(self, addresses, index, seconds=20.0):
        super().__init__(daemon=True)
        self._arguments = (addresses, index, seconds)
        self.outcome = "waiting"
        self.start()

    def run(self):
        try:
            wait_for_all(*self._arguments)
            self.outcome = None
        except TrainerError as error:
            self.outcome = str(error)

    def result(self):
        self.join(30)
        return self.outcome


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_all_go_when_the_last_has_come(order):
    addresses = addresses_of(3)
    started = [Waiting(addresses, i) for i in order[:-1]]
    time.sleep(0.5)
    assert [w.outcome for w in started] == ["waiting"] * 2
    started.append(Waiting(addresses, order[-1]))
    assert [w.result() for w in started] == [None] * 3
    # The address is free, for TensorFlow.
    with socket.create_server(("", int(addresses[0].rpartition(":")[2]))):
        pass


def missing(names: str, count: int) -> str:
    return (
        f"no answer from {names} within 1 s, of {count} processes; see whether"
        " they were started and can be reached, then start all again"
    )


def test_all_are_told_who_is_missing():
    addresses = addresses_of(4)
    started = [Waiting(addresses, i, 1.0) for i in (0, 2)]
    text = missing(f"{addresses[1]}, {addresses[3]}", 4)
    assert [w.result() for w in started] == [text] * 2


def test_without_the_chief():
    addresses = addresses_of(2)
    assert Waiting(addresses, 1, 1.0).result() == missing(addresses[0], 2)


def greeting_of(addresses: list[str], index: int) -> bytes:
    """What a process says to the chief, for whom this listens."""
    port = int(addresses[0].rpartition(":")[2])
    with socket.create_server(("", port)) as server:
        Waiting(addresses, index, 0.1)
        with server.accept()[0] as call, call.makefile("rb") as stream:
            return stream.readline()


def test_strangers_and_those_that_have_left_again_are_missing():
    addresses = addresses_of(3)
    greeting = greeting_of(addresses, 1)
    chief = Waiting(addresses, 0, 1.0)
    time.sleep(0.3)
    # One of another job on the same port, somebody who says nothing
    # sensible, and process 1, which does not stay.
    for words in (b"trainer 0123456789abcdef 1\n", b"GET / HTTP\n", greeting):
        port = int(addresses[0].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as call:
            call.sendall(words)
            if words != greeting:
                assert call.recv(1) == b""
    # After process 1 has gone: with it all would be there.
    other = Waiting(addresses, 2, 1.0)
    text = missing(addresses[1], 3)
    assert [chief.result(), other.result()] == [text, text]


def test_a_port_that_is_taken():
    addresses = addresses_of(2)
    port = int(addresses[0].rpartition(":")[2])
    with socket.create_server(("", port)):
        assert Waiting(addresses, 0).result() == (
            f"{addresses[0]}: the chief cannot listen there (Address already"
            " in use); end what does, or give all processes another port for it"
        )
