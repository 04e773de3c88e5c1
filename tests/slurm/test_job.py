"""The script of a job, with programs that stand for SLURM: what it asks for, what it writes, what it leaves."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from ternlab.core.errors import ExitCode, SettingsError
from ternlab.slurm.job import run_job

# Says what it was asked; `show job` answers with the words in the file `state`, `requeue` ends with the code in `code`.
SCONTROL = """#!/bin/sh
echo "$@" >> {folder}/asked
case "$*" in
  *show*) echo "JobId=7 JobName=a $(cat {folder}/state)" ;;
  requeue*) cat {folder}/after > {folder}/state 2>/dev/null; exit $(cat {folder}/code) ;;
esac
"""
# Runs the command behind `--`, as srun does with one task.
SRUN = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""
RUNNING = "JobState=RUNNING Reason=None Restarts=0"
REQUEUED = "JobState=COMPLETING Reason=None Restarts=1"
CANCELLED = "JobState=COMPLETING Reason=None Restarts=0"
TIMED_OUT = "JobState=COMPLETING Reason=TimeLimit Restarts=0"


class Slurm:
    """Programs on PATH and the environment of a job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = folder / "ends" / "exit.json"
        for name, text in (("scontrol", SCONTROL), ("srun", SRUN)):
            program = folder / name
            program.write_text(text.format(folder=folder) if name == "scontrol" else text)
            program.chmod(0o755)
        self.says(RUNNING)
        (folder / "code").write_text("0")
        (folder / "after").write_text(RUNNING)
        self.environment = {**os.environ, "SLURM_JOB_ID": "7", "SLURM_NNODES": "1"}

    def says(self, state: str) -> None:
        (self.folder / "state").write_text(state)

    def run(self, script: str) -> int:
        return run_job(["sh", "-c", script], record=self.record, environment=self.environment)

    def asked(self) -> list[str]:
        file = self.folder / "asked"
        return file.read_text().splitlines() if file.exists() else []

    def requeued(self) -> bool:
        return any(line.startswith("requeue") for line in self.asked())


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Slurm(tmp_path)


def test_success_asks_nothing_and_removes_the_record_of_before(slurm: Slurm) -> None:
    assert slurm.run("exit 1") == 1 and slurm.record.exists()
    (slurm.folder / "asked").unlink()
    assert slurm.run("exit 0") == 0
    assert not slurm.record.exists() and slurm.asked() == []


@pytest.mark.parametrize("state", [RUNNING, TIMED_OUT])
def test_a_saved_run_is_requeued_once(slurm: Slurm, state: str) -> None:
    slurm.says(state)
    assert slurm.run("exit 5") == ExitCode.INTERRUPTED
    assert slurm.asked() == ["--oneliner show job 7", "requeue 7"]
    assert not slurm.record.exists()


@pytest.mark.parametrize("number", ["USR1", "USR2", "TERM"])
def test_a_process_that_the_announcement_killed_before_it_listened_is_requeued(slurm: Slurm, number: str) -> None:
    slurm.run(f"kill -{number} $$; sleep 9")
    assert slurm.requeued() and not slurm.record.exists()


@pytest.mark.parametrize("script", ["exit 5", "exit 1", "kill -9 $$"])
def test_what_slurm_has_requeued_itself_is_left_alone(slurm: Slurm, script: str) -> None:
    slurm.says(REQUEUED)
    slurm.run(script)
    assert not slurm.requeued() and not slurm.record.exists()


def test_what_was_requeued_before_and_is_cancelled_now_is_not_requeued(slurm: Slurm) -> None:
    slurm.environment["SLURM_RESTART_COUNT"] = "1"
    slurm.says(REQUEUED)
    slurm.run("exit 5")
    assert not slurm.requeued() and slurm.record.exists()


def test_a_cancelled_job_is_not_requeued_and_says_so(slurm: Slurm) -> None:
    slurm.says(CANCELLED)
    assert slurm.run("exit 5") == ExitCode.INTERRUPTED
    assert not slurm.requeued()
    assert json.loads(slurm.record.read_text())["code"] == ExitCode.INTERRUPTED


def test_slurm_being_faster_than_the_requeue_is_no_error(slurm: Slurm) -> None:
    (slurm.folder / "code").write_text("1")
    (slurm.folder / "after").write_text(REQUEUED)
    assert slurm.run("exit 5") == ExitCode.INTERRUPTED
    assert not slurm.record.exists()


def test_a_job_that_may_not_be_requeued_ends_with_a_record(slurm: Slurm) -> None:
    (slurm.folder / "code").write_text("1")
    slurm.run("exit 5")
    assert json.loads(slurm.record.read_text())["code"] == ExitCode.INTERRUPTED


@pytest.mark.parametrize(
    ("script", "code", "number"), [("exit 1", 1, None), ("exit 4", 4, None), ("kill -9 $$", None, "SIGKILL")]
)
def test_any_other_end_is_the_end_and_is_recorded(
    slurm: Slurm, script: str, code: int | None, number: str | None
) -> None:
    slurm.environment |= {"SLURM_ARRAY_JOB_ID": "3", "SLURM_ARRAY_TASK_ID": "2", "SLURM_RESTART_COUNT": "4"}
    slurm.says("JobState=RUNNING Reason=None Restarts=4")
    slurm.run(script)
    record = json.loads(slurm.record.read_text())
    assert (record["code"], record["signal"]) == (code, number)
    assert (record["job"], record["job_id"], record["restarts"]) == ("3_2", "7", 4)
    assert record["host"] and record["time"]
    # By its place in the array: the bare id of the last task means the whole array.
    assert slurm.asked() == ["--oneliner show job 3_2"]


def test_the_words_of_the_command_are_not_read_by_a_shell(slurm: Slurm) -> None:
    out = slurm.folder / "out"
    words = ["sh", "-c", 'printf "%s|" "$@" > "$0"', str(out), "a b", "$(touch stolen)", "x;y", "--", ""]
    assert run_job(words, environment=slurm.environment) == 0
    assert out.read_text() == "a b|$(touch stolen)|x;y|--||"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT])
def test_signals_do_not_end_it_before_its_step_and_are_given_back(slurm: Slurm, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    # The step sends this process the signal, ignores what is passed on, and ends later.
    assert slurm.run(f"trap '' USR1 USR2; kill -{int(number)} {os.getpid()}; sleep 0.3; exit 4") == 4
    assert slurm.record.exists()
    assert signal.getsignal(number) == before


def test_outside_of_a_job_it_says_what_to_type() -> None:
    with pytest.raises(SettingsError, match=r"sbatch slurm/train\.sbatch"):
        run_job(["true"], environment={})
