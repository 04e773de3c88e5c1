"""`ternlab wandb ...` as it is typed: what it prints and how it ends."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from ternlab.commands.wandb import add_parser, run
from ternlab.core.errors import SettingsError, TernlabError
from tests.loggers.made import made_run, made_sweep
from tests.loggers.server import LoopbackWandb, Mode, log_out


@pytest.fixture(autouse=True)
def _logged_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log_out(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)


def typed(*words: str) -> int:
    """Run `ternlab wandb WORDS`."""
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return run(parser.parse_args(["wandb", *words]))


def test_without_a_key_nothing_is_asked(tmp_path: Path) -> None:
    made_run(tmp_path / "logs" / "runs", 2)
    with pytest.raises(SettingsError, match="WANDB_API_KEY") as caught:
        typed("sync", "--all")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("words", [(), ("x", "--all"), ("--all", "--sweep", "s"), ("x", "--sweep", "s")])
def test_it_is_said_which_runs(words: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match="takes exactly one of"):
        typed("sync", *words)


def test_a_run_that_is_not_there(tmp_path: Path) -> None:
    made_run(tmp_path / "logs" / "runs", 2)
    with pytest.raises(SettingsError, match="no such run"):
        typed("sync", "nothing")
    with pytest.raises(SettingsError, match="is not a folder"):
        typed("sync", "--all", "--runs", "elsewhere")


def test_all_runs_are_sent_and_a_second_time_none(
    wandb_server: LoopbackWandb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "logs" / "runs"
    made_run(runs, 2)
    made_run(runs, 3, seed=1)
    made_run(runs, 3, seed=2, logger__name="local")
    assert typed("sync", "--all", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "2 would be sent",
        "1 runs with logger=local skipped; name them to send them",
    ]
    assert wandb_server.runs == {}
    assert typed("sync", "--all") == 0
    assert "2 sent" in capsys.readouterr().out
    assert typed("sync", "--all") == 0
    assert "2 already complete" in capsys.readouterr().out
    assert len(wandb_server.runs) == 2


def test_a_run_is_named_by_a_part_of_its_id(
    wandb_server: LoopbackWandb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = made_run(tmp_path / "logs" / "runs", 2, logger__name="local")
    assert typed("sync", directory.run_id[-6:], directory.run_id) == 0
    assert capsys.readouterr().out.splitlines() == [f"{directory.run_id}: sent (2 rows)", "1 sent"]


def test_what_cannot_be_sent_is_named_and_the_code_is_1(
    wandb_server: LoopbackWandb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "logs" / "runs"
    whole, broken = made_run(runs, 2), made_run(runs, 2, seed=1)
    broken.config_file.write_text("[")
    assert typed("sync", whole.run_id, broken.run_id) == 1
    out = capsys.readouterr().out
    assert f"{whole.run_id}: sent" in out
    assert f"{broken.run_id}: failed: " in out


def test_a_server_that_refuses_the_key_fails_all_at_once(
    wandb_server: LoopbackWandb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_run(tmp_path / "logs" / "runs", 2)
    wandb_server.mode = Mode.UNAUTHORIZED
    assert typed("sync", "--all") == 1
    assert "401" in capsys.readouterr().out


def test_a_sweep_is_sent_with_its_summary(
    wandb_server: LoopbackWandb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, _, sweep = made_sweep(tmp_path)
    assert typed("sync", "--sweep", str(sweep)) == 0
    assert "13 sent" in capsys.readouterr().out
    assert {stored.fields["groupName"] for stored in wandb_server.runs.values()} == {plan.sweep_id}
    assert {run for _, run in wandb_server.runs} == {plan.sweep_id, *(trial.run_id for trial in plan.trials)}
    assert typed("sync", "--sweep", str(sweep)) == 0
    assert "13 already complete" in capsys.readouterr().out


def test_a_dashboard_is_written_without_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan, _, sweep = made_sweep(tmp_path)
    assert typed("dashboard", "--sweep", str(sweep)) == 0
    out = capsys.readouterr().out
    path = Path(out.splitlines()[0])
    assert path == Path("logs") / "wandb" / f"ternlab-{plan.sweep_id}.json"
    assert json.loads(path.read_text())["displayName"] == f"ternlab {plan.sweep_id}"
    assert "wandb login" in out
    assert typed("dashboard", "--entity", "me", "--project", "p", "--out", "here.json") == 0
    assert json.loads(Path("here.json").read_text())["entity"] == "me"


def test_a_dashboard_is_saved_with_a_key(
    wandb_server: LoopbackWandb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wandb_server.run("a-run")
    assert typed("dashboard") == 0
    _, workspace, report = capsys.readouterr().out.splitlines()
    assert workspace.startswith(f"workspace: {wandb_server.url}/somebody/ternlab")
    assert report.startswith(f"report: {wandb_server.url}/somebody/ternlab/reports/")


def test_a_dashboard_that_wandb_refuses_is_one_message(wandb_server: LoopbackWandb) -> None:
    wandb_server.mode = Mode.UNAUTHORIZED
    with pytest.raises(TernlabError, match="W&B did not"):
        typed("dashboard")
