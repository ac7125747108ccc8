from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from shrinkage.engine.keep.stopping import SIGNALS, Stopped, stopping_gently


@pytest.fixture(autouse=True)
def as_in_a_terminal() -> Iterator[None]:
    """A shell starts background jobs with SIGINT ignored; the tests need Python's own handler."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_is_noted_and_becomes_what_it_stands_for(number: signal.Signals) -> None:
    before = [signal.getsignal(n) for n in SIGNALS]

    def run() -> None:
        with stopping_gently() as stop_asked:
            assert not stop_asked()
            os.kill(os.getpid(), number)
            assert stop_asked()
            raise Stopped

    with pytest.raises((KeyboardInterrupt, SystemExit)) as caught:
        run()
    if number == signal.SIGINT:
        assert caught.type is KeyboardInterrupt
    else:
        assert caught.value.code == 128 + number  # type: ignore[union-attr]
    assert [signal.getsignal(n) for n in SIGNALS] == before


def test_the_second_signal_stops_at_once() -> None:
    def run() -> None:
        with stopping_gently() as stop_asked:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop_asked()
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("the second signal was lost")

    with pytest.raises(KeyboardInterrupt):
        run()


def test_a_forked_process_learns_of_it() -> None:
    with stopping_gently() as stop_asked:
        child = os.fork()
        if child == 0:
            while not stop_asked():
                pass
            os._exit(7)
        os.kill(os.getpid(), signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_run_that_ends_in_time_is_not_stopped() -> None:
    with stopping_gently() as stop_asked:
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    del stop_asked


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    answers: list[bool] = []

    def elsewhere() -> None:
        with stopping_gently() as stop_asked:
            answers.append(stop_asked())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert answers == [False]
