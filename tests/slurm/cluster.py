"""A real SLURM on this computer for tests: started when asked for, always stopped."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.commands.run_command import ROOT

SCRIPT = ROOT / "slurm" / "one_host_cluster.sh"
# Below the ports that the kernel gives to clients.
PORTS = range(20000, 32000)

needs_slurm = pytest.mark.skipif(
    shutil.which("sbatch") is None, reason="needs SLURM: apt-get install slurm-wlm munge (as root)"
)


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs; `sbatch` and the like find it by SLURM_CONF, which is set while it runs.

    Attributes:
        folder: everything of it: `slurm.conf`, `log/`, `run/*.pid`.
        nodes: n1, n2, ...
    """

    folder: Path
    nodes: int

    def call(self, *command: str, check: bool = True, cwd: Path | None = None) -> str:
        """Run a command of SLURM and return its standard output."""
        done = subprocess.run(command, text=True, capture_output=True, timeout=60, cwd=cwd)
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout.strip()

    def submit(self, *arguments: str, cwd: Path | None = None) -> str:
        """Hand a job over with `sbatch` and return its id."""
        return self.call("sbatch", "--parsable", *arguments, cwd=cwd).partition(";")[0]

    def job(self, job: str) -> dict[str, str]:
        """Return what `scontrol show job` says; SLURM keeps an ended job for five minutes."""
        words = self.call("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait_for(self, job: str, *states: str, seconds: float = 60) -> dict[str, str]:
        """Wait until a job is in one of these states and return what SLURM says of it."""
        wait_until(lambda: self.job(job)["JobState"] in states, f"{job}: {states}", seconds)
        return self.job(job)

    def pids(self, job: str) -> list[int]:
        """Return the ids of all processes of a job, of its script and of its steps."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                variables = (process / "environ").read_bytes().split(b"\0")
                ours = f"SLURM_CONF={self.folder}/slurm.conf".encode() in variables
                if ours and f"SLURM_JOB_ID={job}".encode() in variables:
                    found.append(int(process.name))
        return found

    def empty(self) -> None:
        """End all jobs and wait until the nodes are idle again."""
        for arguments in (("--state=PENDING",), ("--full", "--signal=KILL"), ()):
            self.call("scancel", "--user=root", *arguments, check=False)
        idle = ("sinfo", "--noheader", "--Node", "--partition=low", "--states=idle", "--format=%N")
        wait_until(lambda: len(self.call(*idle).split()) == self.nodes, "idle nodes", 60)


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait until `condition` holds; the limit is for tests that would hang, and measures nothing."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"has not come true: {what}")
        time.sleep(0.1)


@contextlib.contextmanager
def one_host_cluster(
    tmp: Path,
    nodes: int = 2,
    gpus: int = 2,
    cpus: int = 4,
    grace: int = 0,
    kill_wait: int = 5,
    accounting: bool = False,
) -> Iterator[Cluster]:
    """Run a SLURM while the block runs, with SLURM_CONF set for it.

    Args:
        tmp: a folder of the test; the cluster is in `tmp / "slurm"`.
        nodes, gpus, cpus: nodes; fake GPUs and CPUs of each.
        grace: GraceTime of partition `low`, in seconds.
        kill_wait: seconds between TERM and KILL.
        accounting: with slurmdbd, so that `sacct` answers.
    """
    folder = tmp / "slurm"
    options = [f"--nodes={nodes}", f"--gpus={gpus}", f"--cpus={cpus}", f"--grace={grace}", f"--kill-wait={kill_wait}"]
    options += ["--accounting"] * accounting
    before = os.environ.get("SLURM_CONF")
    try:
        _start(folder, options, nodes)
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        yield Cluster(folder, nodes)
    finally:
        _script("stop", folder)
        if before is None:
            os.environ.pop("SLURM_CONF", None)
        else:
            os.environ["SLURM_CONF"] = before


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes with two fake GPUs each, GraceTime 0, no accounting; for all tests of the session."""
    with one_host_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def _start(folder: Path, options: list[str], nodes: int) -> None:
    for _ in range(3):
        done = _script("start", folder, f"--port={free_ports(11 + nodes)}", *options)
        if done.returncode == 0:
            return
        # Somebody else was quicker with a port.
        _script("stop", folder)
    logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in (folder / "log").glob("*.log"))
    raise AssertionError(f"the cluster did not start: {done.stderr}\n{logs}")


def _script(action: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    # A test inside of a job must not hand its own job's variables to the new cluster.
    variables = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    command = [str(SCRIPT), action, f"--folder={folder}", *options]
    return subprocess.run(command, text=True, capture_output=True, env=variables, timeout=180)


def free_ports(count: int) -> int:
    """Return the first of so many ports in a row that nobody uses."""
    # Not the session's seed: tests beside one another must not try the same ports.
    numbers = random.SystemRandom()
    for _ in range(100):
        first = numbers.randrange(PORTS.start, PORTS.stop - count)
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def records(folder: Path) -> list[dict[str, object]]:
    """Return the records of all runs below `folder`, by the order of their ids."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*/record.json"))]
