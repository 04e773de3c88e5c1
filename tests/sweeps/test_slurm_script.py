"""The text that sbatch gets, to the letter; and what may not get into it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ternlab.core.errors import SettingsError
from ternlab.sweeps.on_slurm.batches import Place
from ternlab.sweeps.on_slurm.script import check_path, job_id, log_file, place_of, script
from ternlab.sweeps.on_slurm.settings import SlurmCluster

GOLDEN = Path(__file__).parent / "golden"
PLAIN = Path("/data/sweeps/sweep-0123456789")
ODD = Path('/data/it\'s "mine" $(id) `id` 100%j; #/sweep-0123456789')
CASES: dict[str, tuple[dict[str, Any], Path, int, tuple[str, ...]]] = {
    "smallest": ({}, PLAIN, 1, ()),
    "everything": (
        {
            "partition": "gpu,long",
            "account": "lab@uni",
            "qos": "high",
            "constraint": "a100|h100&nvlink",
            "time": 1440,
            "nodes": 4,
            "gpus_per_node": 8,
            "cpus_per_task": 64,
            "mem_gb": 512,
            "array_parallelism": 16,
            "signal_seconds": 300,
            "setup": ("module load cuda/12.4", "#SBATCH --reservation=ours", 'source "$HOME/venv/bin/activate"'),
        },
        PLAIN,
        1001,
        ("4242_17",),
    ),
    "odd_folder": ({"processes_per_node": 2, "cpus_per_task": 4}, ODD, 12, ()),
}


def made(case: str) -> str:
    settings, folder, count, after = CASES[case]
    return script(SlurmCluster(**settings), folder, "sweep-0123456789.fedcba987654", count, after, python="/env/python")


@pytest.mark.parametrize("case", CASES)
def test_the_text_is_this(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A variable of submitit's that would change the signal.
    monkeypatch.setenv("SUBMITIT_PREEMPT_SIGNAL", "USR1")
    assert made(case) == (GOLDEN / f"{case}.sbatch").read_text()


def in_bash(command: str) -> list[str]:
    """Return the words of which bash makes a command."""
    text = f"set -- {command}\nprintf '%s\\0' \"$@\""
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True, cwd="/", env={})
    return done.stdout.split("\0")[:-1]


# Names that a person can give a folder; "/" separates folders, and a line's end is refused.
NAMES = st.text(
    st.characters(blacklist_characters="/\\\x7f", blacklist_categories=("Cs", "Cc")), min_size=1, max_size=40
)


@given(NAMES.filter(lambda name: name not in (".", "..")))
def test_any_folder_gets_to_the_job_as_it_is_and_runs_nothing(name: str) -> None:
    folder = Path("/data") / name
    check_path(folder)
    lines = script(SlurmCluster(), folder, "sweep-1.abc", 3).splitlines()
    (command,) = [line for line in lines if line.startswith("exec ")]
    if "\u0085" not in name and "\u2028" not in name and "\u2029" not in name:
        assert shlex.split(command)[-1] == f"{folder}/slurm/abc.json"
    (output,) = [line for line in lines if line.startswith("#SBATCH --output=")]
    assert shlex.split(output.removeprefix("#SBATCH --output="))[0].replace("%%", "%") == f"{folder}/slurm/%A_%a.txt"


@pytest.mark.parametrize(
    "name", ["a b", "it's", 'a"b', "$(touch /tmp/x)", "`id`", "a;b", "#a", "-e", "*", "~", "ü%j", "a!b"]
)
def test_bash_makes_the_same_words_of_it(name: str) -> None:
    text = script(SlurmCluster(), Path("/data") / name, "sweep-1.abc", 3)
    command = text.strip().splitlines()[-1].removeprefix("exec ")
    batch = f"/data/{name}/slurm/abc.json"
    assert in_bash(command) == [sys.executable, "-u", "-m", "ternlab.sweeps.on_slurm.task", batch]


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\tb", "a\x1bb", "a\\b", "a\x7fb"])
def test_a_folder_that_cannot_be_named_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"paths\.sweeps") as caught:
        check_path(Path("/data") / name)
    assert "\n" not in str(caught.value).replace("\n  instead", "")


@given(st.text(max_size=20) | st.from_regex(r"[A-Za-z0-9 ;$`'\"\n\\()<>-]{0,20}", fullmatch=True))
def test_a_word_of_slurm_has_no_blank_quote_or_end_of_line(text: str) -> None:
    harmless = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:,&|*=/@-]{0,127}", text) is not None
    for setting in ("partition", "account", "qos", "constraint"):
        if harmless:
            assert f"--{setting}=" in script(SlurmCluster(**{setting: text}), PLAIN, "s.t", 1)
        else:
            with pytest.raises(ValidationError):
                SlurmCluster(**{setting: text})


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:,&|*=/@-]{0,127}", fullmatch=True))
def test_a_word_gets_to_sbatch_as_it_is(word: str) -> None:
    lines = script(SlurmCluster(constraint=word), PLAIN, "s.t", 1).splitlines()
    (line,) = [line for line in lines if line.startswith("#SBATCH --constraint=")]
    assert shlex.split(line, comments=False)[1:] == [f"--constraint={word}"]
    assert len(lines) == len(script(SlurmCluster(), PLAIN, "s.t", 1).splitlines()) + 1


def test_nothing_of_the_environment_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "canary")
    assert "canary" not in made("everything")


@pytest.mark.parametrize(
    ("printed", "job"),
    [
        ("Submitted batch job 12\n", "12"),
        ("Submitted batch job 12 on cluster west\n", "12"),
        ("You have job 99 of 100\nSubmitted batch job 12\njob 3\n", "12"),
        ("", None),
        ("Submitted batch job\n", None),
        ("Submitted batch job x\n", None),
        ("job 12\n", None),
    ],
)
def test_the_id_of_the_job_is_read(printed: str, job: str | None) -> None:
    assert job_id(printed) == job


@pytest.mark.parametrize(
    ("cluster", "place"),
    [
        ({}, Place(threads=1)),
        ({"cpus_per_task": 7, "processes_per_node": 2}, Place(threads=3, devices=2)),
        ({"cpus_per_task": 2, "processes_per_node": 4}, Place(threads=1, devices=4)),
        (
            {"cpus_per_task": 64, "gpus_per_node": 8, "nodes": 2},
            Place(threads=8, devices=8, nodes=2, accelerator="gpu"),
        ),
    ],
)
def test_the_cluster_says_how_many_processes_and_threads(cluster: dict[str, Any], place: Place) -> None:
    assert place_of(SlurmCluster(**cluster)) == place


def test_the_log_is_where_sbatch_is_told(tmp_path: Path) -> None:
    assert log_file(PLAIN, "12", 3) == PLAIN / "slurm" / "12_3.txt"
