"""Running the commands of SLURM."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ternlab.sweeps.on_slurm import commands as slurm_commands
from ternlab.sweeps.on_slurm.commands import Answer, NoAnswerError, output_of, run_command


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_what_a_command_says() -> None:
    answer = run_command(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"))
    assert answer == Answer(3, "out\n", "err\n")
    with pytest.raises(NoAnswerError, match="err"):
        output_of(lambda command, kept: answer, "squeue")
    assert output_of(lambda command, kept: Answer(0, "x"), "squeue") == "x"


def test_a_command_that_is_not_there_or_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_command(["no-such-command-of-slurm"]).code == 127
    monkeypatch.setattr(slurm_commands, "_SECONDS", 0.2)
    answer = run_command(python("import time; time.sleep(60)"))
    assert answer.code is None and answer.silent


def test_what_belongs_to_slurm_in_the_environment_is_not_passed_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (
        "SQUEUE_PARTITION",
        "SBATCH_PARTITION",
        "SBATCH_ACCOUNT",
        "SLURM_NTASKS",
        "SLURM_CONF",
        "WANDB_API_KEY",
    ):
        monkeypatch.setenv(name, "x")
    code = "import os; print(*sorted(name for name in os.environ if name.startswith(('S', 'WANDB_API'))))"
    wanted = {"SLURM_CONF", "WANDB_API_KEY"}
    ours = {"SQUEUE_PARTITION", "SBATCH_PARTITION", "SBATCH_ACCOUNT", "SLURM_NTASKS", *wanted}
    for name in ours:
        monkeypatch.setenv(name, "x")
    assert set(run_command(python(code)).out.split()) & ours == wanted
    assert set(run_command(python(code), ["SBATCH_ACCOUNT"]).out.split()) & ours == {*wanted, "SBATCH_ACCOUNT"}


@pytest.mark.parametrize(
    ("answer", "silent"),
    [
        (Answer(1, err="sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"), True),
        (Answer(1, err="Unable to contact slurm controller (connect failure)"), True),
        (Answer(1, err="slurm_load_jobs error: Zero Bytes were transmitted or received"), True),
        (Answer(None), True),
        (Answer(1, err="sbatch: error: invalid partition specified: nope"), False),
        (Answer(0, err="Socket timed out"), False),
    ],
)
def test_silence_is_told_from_a_refusal(answer: Answer, silent: bool) -> None:
    assert answer.silent is silent
