"""When a signal ends a run, and when it waits."""

from __future__ import annotations

import os
import signal

import pytest

from trainer import interrupt

BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


def _send(number: int) -> None:
    os.kill(os.getpid(), number)


@BOTH
def test_outside_a_deferred_block_it_ends_the_run_at_once(number):
    with interrupt.watched(), pytest.raises(interrupt.Stopped) as stopped:
        _send(number)
    assert stopped.value.signum == number
    # 143 and 130, as shells have it.
    assert stopped.value.exit_status == 128 + number
    assert str(stopped.value) == signal.Signals(number).name


@BOTH
def test_inside_it_waits_for_a_check(number):
    reached = False
    with (
        interrupt.watched(),
        pytest.raises(interrupt.Stopped),
        interrupt.deferred(),
    ):
        interrupt.check()
        assert not interrupt.requested()
        _send(number)
        reached = interrupt.requested()
        interrupt.check()
    assert reached


def test_a_second_ctrl_c_does_not_wait():
    seen = []
    with (
        interrupt.watched(),
        pytest.raises(interrupt.Stopped),
        interrupt.deferred(),
    ):
        _send(signal.SIGINT)
        seen.append("first")
        _send(signal.SIGINT)
        seen.append("second")
    assert seen == ["first"]


def test_a_second_sigterm_waits_like_the_first():
    with interrupt.watched(), interrupt.deferred():
        _send(signal.SIGTERM)
        _send(signal.SIGTERM)
        assert interrupt.requested()


def test_handlers_are_put_back_and_nothing_is_left_over():
    before = signal.getsignal(signal.SIGTERM)
    with interrupt.watched(), interrupt.deferred():
        _send(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    with interrupt.watched():
        interrupt.check()
        assert not interrupt.requested()


def test_it_is_no_exception_that_others_catch():
    assert not issubclass(interrupt.Stopped, Exception)


def test_a_signal_to_another_process_counts():
    asked = []

    def share(signum):
        asked.append(signum)
        return [0, signal.SIGTERM][len(asked) > 1]

    with interrupt.watched(), interrupt.deferred(), interrupt.shared(share):
        interrupt.check()
        assert interrupt.requested()
        # Once all know, none asks again: the others may be on their way out.
        with pytest.raises(interrupt.Stopped) as stopped:
            interrupt.check()
    assert stopped.value.signum == signal.SIGTERM
    assert asked == [0, 0]


def test_ones_own_signal_is_told_to_the_others():
    with interrupt.watched(), interrupt.deferred():
        _send(signal.SIGTERM)
        with interrupt.shared(lambda signum: signum):
            assert interrupt.requested()
        with interrupt.shared(lambda signum: 0):
            assert not interrupt.requested()


def test_handlers_that_somebody_takes_are_taken_back():
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
