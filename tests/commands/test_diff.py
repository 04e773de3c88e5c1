"""`ternlab diff`: what differs between two runs, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ternlab.commands.cli import main
from ternlab.core.dotted import put
from ternlab.runs.directory import RunDirectory
from ternlab.runs.record import write_record
from tests.loggers.made import made_run


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[RunDirectory, RunDirectory]:
    """Two runs that differ in the seed alone."""
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "logs" / "runs"
    return made_run(runs, 1, logger__name="local"), made_run(runs, 1, logger__name="local", seed=1)


def change(directory: RunDirectory, **values: Any) -> None:
    """Change entries of a record; `__` stands for the dot."""
    record = directory.record() or {}
    for name, value in values.items():
        put(record, name.replace("__", "."), value)
    write_record(directory.record_file, record)


def found(first: str, second: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """Return exit code and differences."""
    code = main(["diff", first, second, "--json"])
    return code, json.loads(capsys.readouterr().out)["differences"]


def test_a_run_does_not_differ_from_itself(
    pair: tuple[RunDirectory, RunDirectory], capsys: pytest.CaptureFixture[str]
) -> None:
    run = pair[0].run_id
    assert found(run, run, capsys) == (0, {})
    assert main(["diff", run, run]) == 0
    assert "nothing differs" in capsys.readouterr().out


def test_only_what_differs_is_shown_by_kind(
    pair: tuple[RunDirectory, RunDirectory], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = pair
    assert found(first.run_id, second.run_id, capsys) == (1, {"setting": {"seed": {"a": 0, "b": 1}}})
    change(
        first,
        versions__torch="2.10",
        versions__numpy="2.0",
        host__cpu__model="A",
        contents__data="12",
        facts__world_size=1,
    )
    change(
        second,
        versions__torch="2.11",
        versions__numpy="2.0",
        host__cpu__model="B",
        contents__data="34",
        facts__world_size=2,
    )
    change(second, git__commit="fedcba", metrics__val__ignored=0)
    code, different = found(first.run_id, second.run_id, capsys)
    assert code == 1
    assert different["version"] == {"versions.torch": {"a": "2.10", "b": "2.11"}}
    assert different["data"] == {"contents.data": {"a": "12", "b": "34"}}
    assert different["machine"] == {"host.cpu.model": {"a": "A", "b": "B"}, "world_size": {"a": 1, "b": 2}}
    assert different["code"] == {"git.commit": {"a": "0123456789", "b": "fedcba"}}
    assert main(["diff", first.run_id, second.run_id]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["versions.torch", "2.10", "2.11"] for line in lines)
    assert not any("numpy" in line for line in lines)
    assert main(["diff", first.run_id, "nothing"]) == 2
