"""Tests of signals: immediate, deferred, and shared between processes."""

from __future__ import annotations

import os
import signal

import pytest

from trainer import interrupt

BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


def _send(number: int) -> None:
    os.kill(os.getpid(), number)


@BOTH
def test_a_signal_ends_the_run_at_once(number):
    with interrupt.watched(), pytest.raises(interrupt.Stopped) as stopped:
        _send(number)
    assert stopped.value.signum == number
    # 143 and 130, as in a shell.
    assert stopped.value.exit_status == 128 + number
    assert str(stopped.value) == signal.Signals(number).name


@BOTH
def test_in_a_deferred_block_a_signal_waits_for_a_check(number):
    with interrupt.watched(), interrupt.deferred():
        interrupt.check()
        assert not interrupt.requested()
        _send(number)
        assert interrupt.requested()
        with pytest.raises(interrupt.Stopped):
            interrupt.check()


def test_a_second_ctrl_c_does_not_wait():
    with interrupt.watched(), interrupt.deferred():
        _send(signal.SIGINT)
        with pytest.raises(interrupt.Stopped):
            _send(signal.SIGINT)


def test_a_second_sigterm_waits_like_the_first():
    with interrupt.watched(), interrupt.deferred():
        _send(signal.SIGTERM)
        _send(signal.SIGTERM)
        assert interrupt.requested()


def test_handlers_and_state_are_restored():
    before = signal.getsignal(signal.SIGTERM)
    with interrupt.watched(), interrupt.deferred():
        _send(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    with interrupt.watched():
        interrupt.check()
        assert not interrupt.requested()


def test_stopped_is_not_an_exception():
    assert not issubclass(interrupt.Stopped, Exception)


def test_a_signal_to_another_process_counts():
    asked = []

    def share(signum):
        asked.append(signum)
        return [0, signal.SIGTERM][len(asked) > 1]

    with interrupt.watched(), interrupt.deferred(), interrupt.shared(share):
        interrupt.check()
        assert interrupt.requested()
        # After all processes have agreed, none asks again, because the other
        # processes may have exited.
        with pytest.raises(interrupt.Stopped) as stopped:
            interrupt.check()
    assert stopped.value.signum == signal.SIGTERM
    assert asked == [0, 0]


def test_the_own_signal_is_shared_with_the_others():
    with interrupt.watched(), interrupt.deferred():
        _send(signal.SIGTERM)
        with interrupt.shared(lambda signum: signum):
            assert interrupt.requested()
        with interrupt.shared(lambda signum: 0):
            assert not interrupt.requested()


def test_replaced_handlers_are_installed_again():
    with interrupt.watched(), interrupt.deferred():
        with interrupt.at_once():
            for number in (signal.SIGTERM, signal.SIGINT):
                assert signal.getsignal(number) == signal.SIG_DFL
            signal.signal(signal.SIGTERM, lambda *_: None)
        _send(signal.SIGTERM)
        assert interrupt.requested()
    before = signal.getsignal(signal.SIGTERM)
    with interrupt.at_once():
        assert signal.getsignal(signal.SIGTERM) is before
