"""Tests of the rendezvous, with threads in place of processes."""

from __future__ import annotations

import random
import socket
import threading

import pytest

from tests.support.clock import wait_until
from tests.support.jobs import free_ports
from trainer.distribute import rendezvous
from trainer.distribute.rendezvous import wait_for_all
from trainer.errors import TrainerError

# Number of clock reads after which a process has certainly tried to connect.
SEVERAL_LOOKS = 4


def addresses_of(count: int) -> list[str]:
    return [f"127.0.0.1:{port}" for port in free_ports(count)]


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


class Waiting(threading.Thread):
    """A thread that acts as a process, with a clock that the test sets.

    Attributes:
      now: the time of its clock, in seconds.
      looks: number of clock reads; each attempt to connect reads it once.
      outcome: "waiting"; then None after success, or the message of its error.
    """

    def __init__(self, addresses, index):
        super().__init__(daemon=True)
        self._addresses = addresses
        self._index = index
        self.now = 0.0
        self.looks = 0
        self.outcome = "waiting"
        self.start()

    def _clock(self) -> float:
        self.looks += 1
        return self.now

    def run(self):
        try:
            wait_for_all(self._addresses, self._index, 1.0, clock=self._clock)
            self.outcome = None
        except TrainerError as error:
            self.outcome = str(error)

    def expire(self):
        """Advances its clock past the limit."""
        self.now = 1.5

    def result(self):
        self.join(60)
        return self.outcome


@pytest.fixture
def greeted(monkeypatch) -> list[int | None]:
    """The indices that the chief has read from connecting processes."""
    indices = []
    real = rendezvous._index_said

    def index_said(*args):
        index = real(*args)
        indices.append(index)
        return index

    monkeypatch.setattr(rendezvous, "_index_said", index_said)
    return indices


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_all_processes_go_when_the_last_has_come(order):
    addresses = addresses_of(3)
    started = [Waiting(addresses, i) for i in order[:-1]]
    # The chief keeps reading its clock; the other processes read theirs only
    # until they are connected to the chief.
    wait_until(lambda: max(w.looks for w in started) >= SEVERAL_LOOKS)
    assert [w.outcome for w in started] == ["waiting"] * 2
    started.append(Waiting(addresses, order[-1]))
    assert [w.result() for w in started] == [None] * 3
    # The port is free for TensorFlow.
    with socket.create_server(("", port_of(addresses[0]))):
        pass


def missing(names: str, count: int) -> str:
    return (
        f"no answer from {names} within 1 s (the job has {count} processes);"
        " check that all were started and can be reached, then start all again"
    )


def test_all_processes_name_the_missing_ones(greeted):
    addresses = addresses_of(4)
    chief, other = (Waiting(addresses, i) for i in (0, 2))
    wait_until(lambda: greeted == [2])
    chief.expire()
    text = missing(f"{addresses[1]}, {addresses[3]}", 4)
    assert [chief.result(), other.result()] == [text] * 2


def test_a_missing_chief_is_named():
    addresses = addresses_of(2)
    other = Waiting(addresses, 1)
    wait_until(lambda: other.looks >= SEVERAL_LOOKS)
    other.expire()
    assert other.result() == missing(addresses[0], 2)


def greeting_of(addresses: list[str], index: int) -> bytes:
    """Returns the line that a process sends to the chief."""
    with socket.create_server(("", port_of(addresses[0]))) as server:
        process = Waiting(addresses, index)
        with server.accept()[0] as call, call.makefile("rb") as stream:
            greeting = stream.readline()
            process.expire()
    process.result()
    return greeting


def test_strangers_and_processes_that_left_are_missing(greeted):
    addresses = addresses_of(3)
    greeting = greeting_of(addresses, 1)
    chief = Waiting(addresses, 0)
    # After two clock reads, it listens.
    wait_until(lambda: chief.looks >= 2)
    # A process of another job on the same port, a client of another protocol,
    # and process 1, which disconnects.
    for words in (b"trainer 0123456789abcdef 1\n", b"GET / HTTP\n", greeting):
        call = socket.create_connection(("127.0.0.1", port_of(addresses[0])))
        with call:
            call.sendall(words)
            if words != greeting:
                assert call.recv(1) == b""
    other = Waiting(addresses, 2)
    wait_until(lambda: greeted == [None, None, 1, 2])
    chief.expire()
    text = missing(addresses[1], 3)
    assert [chief.result(), other.result()] == [text, text]


def test_an_index_that_is_taken_or_unknown_is_turned_away(greeted):
    addresses = addresses_of(3)
    greeting = greeting_of(addresses, 1)
    chief = Waiting(addresses, 0)
    wait_until(lambda: chief.looks >= 2)
    place = ("127.0.0.1", port_of(addresses[0]))
    with socket.create_connection(place) as first:
        first.sendall(greeting)
        wait_until(lambda: greeted == [1])
        for words in (greeting, greeting.replace(b" 1\n", b" 3\n")):
            with socket.create_connection(place, timeout=10) as second:
                second.sendall(words)
                assert second.recv(1) == b""
        chief.expire()
        assert first.recv(99) == f"{addresses[2]}\n".encode()
    assert chief.result() == missing(addresses[2], 3)


@pytest.mark.parametrize("index", [0, 1])
def test_a_port_in_use_is_a_one_line_error(index):
    addresses = addresses_of(2)
    with socket.create_server(("", port_of(addresses[index]))):
        assert Waiting(addresses, index).result() == (
            f"{addresses[index]}: process {index} cannot listen there (Address"
            " already in use); end the program that uses the port, or give"
            f" process {index} another port, in the lists of all processes"
        )


def test_ports_do_not_depend_on_a_seed():
    found = []
    for _ in range(2):
        random.seed(0)
        found.append(free_ports(4))
    assert found[0] != found[1]
