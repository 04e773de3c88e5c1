from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ternlab.core.errors import ExitCode
from ternlab.sweeps.on_ray.feed import Feed
from tests.commands.run_command import LONG


class Ends(list[tuple[str, int, str]]):
    def __call__(self, run: str, code: int, said: str) -> None:
        self.append((run, code, said))


def test_tasks_come_in_the_order_in_which_they_were_added() -> None:
    feed = Feed(Ends())
    for run in "abc":
        feed.add({"run": run})
    assert [feed.take(), feed.take(), feed.take()] == [{"run": "a"}, {"run": "b"}, {"run": "c"}]


def test_there_is_none_now_while_another_runs() -> None:
    feed = Feed(Ends())
    feed.add({"run": "a"})
    feed.take()
    assert feed.take() is None
    assert not feed.closed()


def test_without_any_run_it_waits_for_the_next_task() -> None:
    feed, found = Feed(Ends()), []
    thread = threading.Thread(target=lambda: found.append(feed.take()), daemon=True)
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    feed.add({"run": "a"})
    thread.join(LONG)
    assert found == [{"run": "a"}]


def test_closing_ends_the_wait() -> None:
    feed, found = Feed(Ends()), []
    thread = threading.Thread(target=lambda: found.append(feed.take()), daemon=True)
    thread.start()
    feed.close()
    thread.join(LONG)
    assert found == [None]
    assert feed.closed()


def test_a_run_that_was_not_taken_ends_at_once_when_it_is_stopped() -> None:
    ends = Ends()
    feed = Feed(ends)
    feed.add({"run": "a"})
    feed.add({"run": "b"})
    feed.stop(["a", "of-somebody-else"])
    assert ends == [("a", ExitCode.INTERRUPTED, "")]
    assert feed.take() == {"run": "b"}


@pytest.mark.parametrize("first", ["started", "stop"])
def test_a_run_is_asked_once_whichever_comes_first(first: str) -> None:
    ends, asked = Ends(), []
    feed = Feed(ends)
    feed.add({"run": "a"})
    feed.take()
    steps = [lambda: feed.started("a", lambda: asked.append("a")), lambda: feed.stop(["a"])]
    for step in steps if first == "started" else steps[::-1]:
        step()
    assert asked == ["a"]
    # One that has not started ends at once: on a busy cluster it may never start.
    assert len(ends) == (first == "stop")
    feed.ended("a", ExitCode.INTERRUPTED)
    assert ends == [("a", ExitCode.INTERRUPTED, "")]


def test_a_run_that_is_started_again_is_not_asked_again() -> None:
    asked: list[str] = []
    feed = Feed(Ends())
    for _ in range(2):
        feed.add({"run": "a"})
        feed.take()
        feed.started("a", lambda: asked.append("a"))
        if not asked:
            feed.stop(["a"])
        feed.ended("a", 5)
    assert asked == ["a"]


def test_a_run_that_was_given_up_is_taken_up_again_as_tune_still_has_it() -> None:
    ends, asked = Ends(), []
    feed = Feed(ends)
    feed.add({"run": "a"})
    feed.take()
    feed.stop(["a"])
    feed.add({"run": "a"})
    assert feed.take() is None
    feed.started("a", lambda: asked.append("a"))
    feed.ended("a", 0)
    assert asked == []
    assert ends == [("a", ExitCode.INTERRUPTED, ""), ("a", 0, "")]


@given(st.lists(st.sampled_from(["take", "stop", "end", "end again"]), max_size=12))
def test_every_task_ends_exactly_once(steps: list[str]) -> None:
    ends = Ends()
    feed = Feed(ends)
    feed.add({"run": "other"})
    feed.take()
    feed.add({"run": "a"})
    for step in steps:
        if step == "take":
            feed.take()
        elif step == "stop":
            feed.stop(["a"])
        else:
            feed.ended("a", 0)
    feed.take()
    feed.ended("a", 0)
    assert [run for run, _, _ in ends] == ["a"]
    assert feed.runs() == ["other"]
