"""The time left, as the bar shows it: for this training, and for the whole command."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.progress import Progress

from ternlab.runs.directory import run_directory
from ternlab.runs.identity import run_id
from ternlab.runs.record import write_record
from ternlab.settings.load import twin_of
from ternlab.training.callbacks.progress import TimeLeft
from ternlab.training.train_run import later_epochs
from tests.settings_for_tests import tiny_settings


@pytest.mark.parametrize(
    ("later", "shown"),
    [(0, "0:00:40 left"), (100, "0:00:40 left, about 0:01:30 with the runs after it")],
)
def test_the_time_left_is_that_of_the_batches_to_come(later: int, shown: str) -> None:
    seconds = 0.0
    progress = Progress(get_time=lambda: seconds, disable=True)
    task = progress.add_task("training", total=100, later=later)
    column = TimeLeft()
    assert column.render(progress.tasks[0]).plain == "-:--:-- left"
    for _ in range(20):
        seconds += 0.5
        progress.update(task, advance=1)
    assert column.render(progress.tasks[0]).plain == shown


def test_the_epochs_of_a_command_are_those_of_its_unfinished_runs(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, quant__init="baseline", trainer__max_epochs=5)
    own, baseline = run_id(settings), run_id(twin_of(settings))
    assert later_epochs(settings, []) == 10
    assert later_epochs(settings, [baseline]) == 5
    assert later_epochs(settings, [baseline, own]) == 0
    directory = run_directory(tmp_path, baseline)
    directory.create()
    write_record(directory.record_file, {"status": "finished"})
    assert later_epochs(settings, []) == 5
