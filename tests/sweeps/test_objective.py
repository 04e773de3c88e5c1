"""The mean over seeds, from the folders of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ternlab.runs.directory import run_directory
from ternlab.sweeps.objective import Objective
from tests.sweeps.made import write_status


def write_rows(runs: Path, run: str, *values: str) -> None:
    directory = run_directory(runs, run)
    directory.create()
    rows = "".join(f"{epoch},{3 * epoch},{value}\n" for epoch, value in enumerate(values))
    directory.metrics_file.write_text(f"epoch,step,val/loss\n{rows}")


def test_an_epoch_counts_once_all_seeds_have_finished_it(tmp_path: Path) -> None:
    objective = Objective(tmp_path, "val/loss")
    assert objective.by_epoch(["a", "b"]) == {}
    write_rows(tmp_path, "a", "1.0", "2.0", "3.0")
    assert objective.by_epoch(["a", "b"]) == {}
    write_rows(tmp_path, "b", "3.0", "6.0")
    assert objective.by_epoch(["a", "b"]) == {1: 2.0, 2: 4.0}
    assert objective.by_epoch(["a"]) == {1: 1.0, 2: 2.0, 3: 3.0}


def test_new_rows_are_seen_and_a_file_that_stays_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = Objective(tmp_path, "val/loss")
    write_rows(tmp_path, "a", "1.0")
    assert objective.by_epoch(["a"]) == {1: 1.0}
    monkeypatch.setattr("ternlab.sweeps.objective.read_table", lambda path: pytest.fail("read again"))
    assert objective.by_epoch(["a"]) == {1: 1.0}
    monkeypatch.undo()
    write_rows(tmp_path, "a", "1.0", "0.5")
    assert objective.by_epoch(["a"]) == {1: 1.0, 2: 0.5}


def test_values_that_are_no_finite_numbers_are_none(tmp_path: Path) -> None:
    write_rows(tmp_path, "a", "nan", "", "inf", "2.0")
    assert Objective(tmp_path, "val/loss").by_epoch(["a"]) == {4: 2.0}
    assert Objective(tmp_path, "val/top1").by_epoch(["a"]) == {}


def test_the_final_mean_needs_all_seeds(tmp_path: Path) -> None:
    for run, value in (("a", 40.0), ("b", 50.0), ("c", None)):
        write_status(tmp_path, run, "finished", metrics={"val/top1": value})
    objective = Objective(tmp_path, "val/top1")
    assert objective.final(["a", "b"]) == 45.0
    assert objective.final(["a", "c"]) is None
    assert objective.final(["a", "nothing"]) is None
    run_directory(tmp_path, "b").record_file.write_text("{")
    assert objective.final(["a", "b"]) is None
