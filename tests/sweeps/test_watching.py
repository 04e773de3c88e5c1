"""What is shown while a sweep is carried out."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, Group

from ternlab.runs.directory import run_directory
from ternlab.sweeps.plan import Plan
from ternlab.sweeps.progress import Progress
from ternlab.sweeps.progress_display import Lines, LiveTable, duration, watcher
from tests.sweeps.made import plan_of, write_status


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of(tmp_path, "quant=tga,twn", "seed=0")


class Terminal:
    """A live table, its time, and what it last drew."""

    def __init__(self, plan: Plan, runs: Path, lines: int = 40) -> None:
        self.time = 0.0
        self.file = io.StringIO()
        self.console = Console(file=self.file, width=150, height=lines, force_terminal=True, color_system=None)
        self.table = LiveTable(plan, runs, self.console, now=lambda: self.time)

    def shown(self, progress: Progress) -> list[str]:
        self.file.truncate(0)
        self.console.print(self.table.render(progress))
        return [line.rstrip() for line in self.file.getvalue().splitlines()]


def row(lines: list[str], run: str) -> str:
    (found,) = [line for line in lines if run in line]
    return found


def test_lines_tell_each_end_once(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (trial.run_id for trial in plan.trials)
    (baseline,) = plan.baselines
    lines = Lines(plan)
    lines(Progress([first, second], done={baseline}))
    assert capsys.readouterr().out == "1 of 3 runs already ended\n"
    lines(Progress([second], done={baseline, first}))
    assert capsys.readouterr().out == f"[2/3] finished {first}\n"
    lines(Progress([], done={baseline, first}, failed={second: 1}))
    assert capsys.readouterr().out == f"[3/3] failed {second}\n"
    lines(Progress([], done={baseline, first}, failed={second: 1}))
    assert capsys.readouterr().out == ""


def test_what_a_search_stops_is_told_and_the_plan_grows(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (trial.run_id for trial in plan.trials)
    lines = Lines(replace(plan, trials=plan.trials[:1]))
    lines(Progress([], running={first}))
    lines(Progress([], running={first}, pruned={first}, plan=plan))
    assert capsys.readouterr().out == ""
    lines(Progress([], running={second}, pruned={first}, plan=plan))
    assert capsys.readouterr().out == f"[1/3] pruned {first}\n"


def test_the_table_shows_what_runs_before_what_is_finished(plan: Plan, tmp_path: Path) -> None:
    first, second = (trial.run_id for trial in plan.trials)
    (baseline,) = plan.baselines
    write_status(tmp_path, baseline, "finished")
    write_status(tmp_path, first, "running")
    write_status(tmp_path, second, "failed")
    run_directory(tmp_path, first).metrics_file.write_text("epoch,val/top1\n0,12.5\n")
    terminal = Terminal(plan, tmp_path)
    lines = terminal.shown(Progress([], running={first}, done={baseline}, failed={second: 1}))
    order = [lines.index(row(lines, run)) for run in (first, second, baseline)]
    assert order == sorted(order)
    assert "1/2" in row(lines, first)
    assert "12.50" in row(lines, first)
    assert "quant=tga" in row(lines, first)
    assert "baseline" in row(lines, baseline)
    assert "1/3 finished, 0 running, 1 waiting, 1 failed" in lines[-1]


def test_a_small_terminal_shows_the_running_ones(plan: Plan, tmp_path: Path) -> None:
    runs = [f"run-{number}" for number in range(30)]
    lines = Terminal(plan, tmp_path, lines=12).shown(Progress([], running={"a-running-one"}, done=set(runs)))
    assert len(lines) < 12
    assert row(lines, "a-running-one")


def test_the_time_that_is_left_follows_from_what_has_ended(plan: Plan, tmp_path: Path) -> None:
    first, second = (trial.run_id for trial in plan.trials)
    (baseline,) = plan.baselines
    terminal = Terminal(plan, tmp_path)
    assert "left" not in terminal.shown(Progress([first, second], running={baseline}))[-1]
    terminal.time = 60.0
    # One of three in a minute: two more minutes.
    assert terminal.shown(Progress([second], running={first}, done={baseline}))[-1].endswith("about 2 min left")


def test_it_is_drawn_at_most_once_a_second(plan: Plan, tmp_path: Path) -> None:
    terminal = Terminal(plan, tmp_path)
    drawn: list[float] = []
    terminal.table.render = lambda progress: drawn.append(terminal.time) or Group()  # type: ignore[assignment,func-returns-value]
    for tenth in range(25):
        terminal.time = tenth / 10
        terminal.table(Progress([]))
    assert drawn == [0.0, 1.0, 2.0]


def test_without_a_terminal_there_are_lines(plan: Plan, tmp_path: Path) -> None:
    assert isinstance(watcher(plan, tmp_path), Lines)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (5340, "89 min"), (5400, "1 h 30 min")]
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
