"""What is refused before anything is submitted, and with which words."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ternlab.core.errors import SettingsError
from ternlab.sweeps.on_slurm.check import check, largest_array
from ternlab.sweeps.on_slurm.commands import Answer
from ternlab.sweeps.on_slurm.nodes import minutes, parse_nodes
from ternlab.sweeps.on_slurm.settings import SlurmCluster
from ternlab.sweeps.on_slurm.submit import kept_variables
from ternlab.sweeps.plan import Plan
from tests.sweeps.made import plan_of

SINFO = """\
low*|1-00:00:00|2|4|8192|gpu:2
low*|1-00:00:00|1|64|512000|gpu:a100:4(S:0-1),gpu:v100:2
cpu|2:00:00|10|128|256000|(null)
long|infinite|1|8|1|(null)
nonsense
"""


FINE = Answer(0)


class Commands:
    """Answers sinfo, sbatch and sacctmgr."""

    def __init__(self, sbatch: Answer = FINE, sinfo: str = SINFO, known: str = "", silent: bool = False) -> None:
        of_nodes = Answer(1, err="Unable to contact slurm controller") if silent else Answer(0, sinfo)
        self.answers = {"sbatch": sbatch, "sinfo": of_nodes, "sacctmgr": Answer(0, known)}
        self.calls: list[list[str]] = []
        self.text = ""

    def __call__(self, command: Sequence[str], kept: Sequence[str]) -> Answer:
        self.calls.append(list(command))
        if command[0] == "sbatch":
            self.text = Path(command[-1]).read_text()
        return self.answers[command[0]]


@pytest.fixture(autouse=True)
def there_is_an_sbatch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of(tmp_path / "runs", "quant=none", "seed=0,1", "trainer.accelerator=auto")


def refused(plan: Plan, commands: Commands | None = None, **cluster: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        check(Path("/data/sweep"), plan, SlurmCluster(**cluster), commands or Commands())
    return str(caught.value)


@pytest.mark.parametrize(
    "cluster",
    [
        {},
        {"gpus_per_node": 2, "nodes": 3},
        {"gpus_per_node": 6, "cpus_per_task": 64, "mem_gb": 500},
        {"partition": "cpu", "nodes": 10, "cpus_per_task": 128, "time": 120},
        {"partition": "long", "time": 100_000},
        # Nodes that do not say how much memory they have.
        {"partition": "long", "mem_gb": 4},
        {"partition": "low,cpu", "cpus_per_task": 128},
        {"time": 1, "signal_seconds": 30},
    ],
)
def test_what_fits_passes(plan: Plan, cluster: dict[str, Any], tmp_path: Path) -> None:
    commands = Commands()
    check(tmp_path / "sweep", plan, SlurmCluster(**cluster), commands)
    assert commands.calls[-1][:2] == ["sbatch", "--test-only"]
    assert commands.text.startswith("#!/bin/bash")
    assert not Path(commands.calls[-1][-1]).exists()
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"partition": "lwo"}, ["cluster.partition = lwo", "no such partition", "did you mean low", "cpu, long, low"]),
        ({"partition": "cpu,gpu"}, ["cluster.partition = gpu", "cpu, long, low"]),
        ({"partition": "cpu", "time": 121}, ["cluster.time = 121", "allows at most 120 minutes", "cluster.time=120"]),
        ({"time": 1441}, ["partition low allows at most 1440 minutes"]),
        ({"gpus_per_node": 7}, ["cluster.gpus_per_node = 7", "more than 6", "cluster.gpus_per_node=6"]),
        ({"partition": "cpu", "gpus_per_node": 1}, ["cluster.gpus_per_node = 1", "more than 0", "another"]),
        ({"cpus_per_task": 65}, ["cluster.cpus_per_task = 65", "more than 64"]),
        ({"mem_gb": 501}, ["cluster.mem_gb = 501", "more than 500"]),
        ({"nodes": 4}, ["cluster.nodes = 4", "has only 3 nodes", "cluster.nodes=3"]),
        ({"nodes": 2, "gpus_per_node": 4}, ["cluster.nodes = 2", "has only 1 nodes of this size", "cluster.nodes=1"]),
        ({"time": 2}, ["cluster.signal_seconds = 90", "cluster.signal_seconds=60"]),
    ],
)
def test_what_does_not_exist_is_refused(plan: Plan, cluster: dict[str, Any], words: list[str]) -> None:
    message = refused(plan, **cluster)
    assert all(word in message for word in words), message
    assert message.count("instead:") == 1


def test_sizes_that_no_single_node_has_together_are_refused(plan: Plan) -> None:
    sinfo = "low*|infinite|1|64|8192|(null)\nlow*|infinite|1|4|8192|gpu:4\n"
    message = refused(plan, Commands(sinfo=sinfo), gpus_per_node=4, cpus_per_task=64)
    assert "has no nodes of this size" in message


def test_where_there_is_no_slurm(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Unable to contact" in refused(plan, Commands(silent=True))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    commands = Commands()
    message = refused(plan, commands)
    assert "sbatch is not on PATH" in message and "cluster=local" in message
    assert commands.calls == []


@pytest.mark.parametrize(
    ("words", "known", "wanted"),
    [
        (
            "allocation failure: Invalid account or account/partition combination specified",
            "lab\nother\nlab\n",
            ["cluster.account", "Invalid account", "one of: lab, other"],
        ),
        ("allocation failure: Invalid qos specification", "normal,high\n", ["cluster.qos", "one of: high, normal"]),
        ("allocation failure: Invalid qos specification", "", ["cluster.qos", "cluster.qos=NAME"]),
        (
            "sbatch: error: QOSMaxWallDurationPerJobLimit\nallocation failure: Job violates accounting/QOS policy "
            "(job submit limit, user's size and/or time limits)",
            "",
            ["cluster: SLURM", "QOSMaxWallDurationPerJobLimit / allocation failure"],
        ),
        ("allocation failure: Something new", "", ["cluster: SLURM rejects this job", "Something new"]),
    ],
)
def test_sbatch_has_the_last_word(plan: Plan, words: str, known: str, wanted: list[str]) -> None:
    message = refused(plan, Commands(Answer(1, err=words), known=known))
    assert all(word in message for word in wanted), message


@pytest.mark.parametrize(
    "words",
    [
        "allocation failure: Requested node configuration is not available",
        "allocation failure: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "sbatch: error: AssocMaxSubmitJobLimit\nallocation failure: Job violates accounting/QOS policy (job ...)",
        "allocation failure: Socket timed out on send/recv operation",
    ],
)
def test_what_is_so_now_only_is_no_reason(plan: Plan, words: str) -> None:
    check(Path("/data/sweep"), plan, SlurmCluster(), Commands(Answer(1, err=words)))


def test_trials_do_not_say_what_the_cluster_says(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "quant=none", "trainer.devices=2", "trainer.accelerator=auto")
    assert "cluster.processes_per_node=2" in refused(plan)
    assert "cluster.gpus_per_node=2" in refused(plan, gpus_per_node=1)
    check(Path("/data/sweep"), plan, SlurmCluster(processes_per_node=2), Commands())
    on_cpu = plan_of(tmp_path, "quant=none", "trainer.accelerator=cpu")
    assert "would leave them idle" in refused(on_cpu, gpus_per_node=1)


def test_the_sweeps_folder_must_have_a_name_that_a_batch_file_can_hold(plan: Plan) -> None:
    with pytest.raises(SettingsError, match=r"paths\.sweeps"):
        check(Path("/data/a\nb"), plan, SlurmCluster(), Commands())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("30:00", 30),
        ("2:00:00", 120),
        ("1-00:00:00", 1440),
        ("1-12", 2160),
        ("90", 90),
        ("infinite", None),
        ("n/a", None),
    ],
)
def test_times_of_slurm(text: str, value: int | None) -> None:
    assert minutes(text) == value


def test_the_lines_of_sinfo() -> None:
    nodes = parse_nodes(SINFO)
    assert [(one.partition, one.default, one.count, one.cpus, one.mem_gb, one.gpus) for one in nodes] == [
        ("low", True, 2, 4, 8, 2),
        ("low", True, 1, 64, 500, 6),
        ("cpu", False, 10, 128, 250, 0),
        ("long", False, 1, 8, 0, 0),
    ]


def test_the_largest_array() -> None:
    text = "Configuration data as of ...\nMaxArraySize            = 4001\nMaxDBDMsgs = 1\n"
    assert largest_array(lambda command, kept: Answer(0, text)) == 4001
    assert largest_array(lambda command, kept: Answer(1)) == 1001


def test_the_users_own_defaults_count_where_the_settings_say_nothing() -> None:
    assert set(kept_variables(SlurmCluster(partition="low", qos="high"))) == {
        "SBATCH_ACCOUNT",
        "SBATCH_CONSTRAINT",
        "SBATCH_RESERVATION",
    }
