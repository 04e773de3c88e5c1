"""Signals that ask to stop: before training they end what is going on, whoever tries to catch them."""

from __future__ import annotations

import contextlib
import os
import signal
import threading

import pytest

from ternlab.core.errors import RunInterrupted
from ternlab.core.signals import ASKING_TO_STOP, StopRequest, leave_if_asked, stop_at_once


def ask(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", ASKING_TO_STOP)
def test_a_signal_ends_a_blocked_read(number: signal.Signals) -> None:
    reading, writing = os.pipe()
    with StopRequest() as stop:
        timer = threading.Timer(0.2, ask, [number])
        timer.start()
        with pytest.raises(RunInterrupted, match=number.name), stop_at_once():
            os.read(reading, 1)
    assert stop.signal == number.name
    os.close(reading)
    os.close(writing)


def test_without_the_block_a_signal_is_only_noted() -> None:
    with StopRequest() as stop:
        ask()
        assert stop.signal == "SIGTERM"
        with pytest.raises(RunInterrupted):
            leave_if_asked()
        with pytest.raises(RunInterrupted), stop_at_once():
            pytest.fail("a signal before the block is noticed at its beginning")


def test_an_interruption_that_was_swallowed_is_raised_at_the_end() -> None:
    with StopRequest(), pytest.raises(RunInterrupted), stop_at_once(), contextlib.suppress(Exception):
        ask()


def test_an_interruption_that_was_taken_for_another_error_is_restored() -> None:
    @stop_at_once()
    def decode() -> None:
        try:
            ask()
        except Exception as error:
            raise ValueError("the image is damaged") from error

    with StopRequest(), pytest.raises(RunInterrupted):
        decode()


def test_other_errors_pass_and_the_block_ends_with_them() -> None:
    with StopRequest() as stop:
        with pytest.raises(ValueError, match="damaged"), stop_at_once(), stop_at_once():
            raise ValueError("damaged")
        ask()
        assert stop.signal == "SIGTERM"


def test_a_request_that_is_over_is_forgotten() -> None:
    with StopRequest():
        ask()
    leave_if_asked()
    with stop_at_once():
        pass
