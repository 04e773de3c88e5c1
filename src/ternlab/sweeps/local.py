"""The local launcher: forks as many processes as this machine's cores allow, without repeating imports."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ternlab.core.signals import die_with_parent
from ternlab.sweeps.cluster import ClusterSettings
from ternlab.sweeps.folder import output_file
from ternlab.sweeps.launcher import Task
from ternlab.sweeps.local_settings import LocalCluster
from ternlab.sweeps.plan import Plan

# Imported once, in the fork server of all trials; torch starts no threads before it computes.
_PRELOADED = [
    "ternlab.commands.entry",
    "ternlab.training.train_run",
    "ternlab.sweeps.trial",
    "ternlab.training.fit",
    "ternlab.training.launch",
]


def warm_up() -> None:
    """Start the trials' imports in the fork server while the plan is made."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOADED)
    forkserver.ensure_running()


class LocalLauncher:
    """Runs in parallel on this machine.

    Args:
        folder: the sweep's folder; a run's output goes to `output/<run ID>.txt` in it, deleted if the run succeeds.
        workers: number of concurrent runs.
        threads: threads per run.
        arguments: further arguments of `run_trial`, the same for each run.
        gpus: IDs of the GPUs for each worker slot; if empty, a run sees the GPUs that this process sees.
    """

    name = "local"
    queues = False

    def __init__(
        self,
        folder: Path,
        workers: int,
        threads: int,
        arguments: Mapping[str, Any] | None = None,
        gpus: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self._workers = workers
        self._arguments = {"threads": threads, **(arguments or {})}
        self._threads = threads
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOADED)
        self._processes: dict[str, ForkServerProcess] = {}
        self._gpus = gpus
        self._places: dict[str, int] = {}

    def describe(self, tasks: Sequence[Task]) -> list[str]:
        """Return how the runs share this machine."""
        return [f"{len(tasks)} runs on this machine, {self._workers} at a time, {self._threads} threads each"]

    def running(self) -> Sequence[str]:
        """Return nothing: runs end with the launcher that started them."""
        return ()

    def free(self) -> int:
        """Return how many more runs fit on this machine."""
        return self._workers - len(self._processes)

    def start(self, tasks: Sequence[Task]) -> None:
        """Fork a process for each run."""
        for task in tasks:
            self._start(task)

    def _start(self, task: Task) -> None:
        output = self.output(task.run_id)
        output.parent.mkdir(parents=True, exist_ok=True)
        place = min(set(range(self._workers)) - set(self._places.values()))
        self._places[task.run_id] = place
        visible = self._gpus[place] if self._gpus else None
        process = self._context.Process(
            target=_trial,
            args=(str(task.plan), task.run_id, self._arguments, str(output), str(Path.cwd()), visible),
            daemon=False,
        )
        process.start()
        self._processes[task.run_id] = process

    def unsent(self) -> Sequence[str]:
        """Return nothing: there is no queue."""
        return ()

    def ended(self) -> Sequence[tuple[str, int]]:
        """Return the runs whose processes have ended, with their exit codes."""
        gone = [(run, process) for run, process in self._processes.items() if process.exitcode is not None]
        for run, process in gone:
            del self._processes[run], self._places[run]
            process.join()
            if process.exitcode == 0:
                self.output(run).unlink(missing_ok=True)
        return [(run, process.exitcode or 0) for run, process in gone]

    def stop_runs(self, runs: Iterable[str]) -> None:
        """Send SIGTERM to some runs."""
        for run in runs:
            self._processes[run].terminate()

    def stop(self) -> None:
        """Send SIGTERM to all runs and wait until they have saved and exited."""
        self.stop_runs(self._processes)
        for process in self._processes.values():
            process.join()

    def tidy(self, finished: Iterable[str]) -> None:
        """Remove the output of finished runs; some may have finished after an earlier launcher was killed."""
        for run in finished:
            self.output(run).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the output folder if it is empty."""
        # Not empty, or does not exist.
        with contextlib.suppress(OSError):
            (self._folder / "output").rmdir()

    def output(self, run: str) -> Path:
        """Return the file with a run's output."""
        return output_file(self._folder, run)


def launcher_of(folder: Path, plan: Plan, cluster: ClusterSettings) -> LocalLauncher:
    """Return the launcher for this machine; without numbers in `cluster`, the cores are divided among the runs."""
    assert isinstance(cluster, LocalCluster)
    plan.refuse_nodes(cluster.name)
    processes = plan.processes()
    visible = gpus() if plan.may_use_gpus() else ()
    # Without a number in `cluster`, as many runs as the GPUs allow.
    most = max(1, len(visible) // processes) if visible else None
    workers, threads = share(cluster.workers or most, cores(), processes)
    return LocalLauncher(folder, workers, cluster.threads or threads, gpus=dealt(visible, workers, processes))


def gpus() -> tuple[str, ...]:
    """Return the IDs of the GPUs that this process may use, without importing torch."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(part.strip() for part in named.split(",") if part.strip() not in ("", "-1", "NoDevFiles"))
    folder = Path("/proc/driver/nvidia/gpus")
    return tuple(str(number) for number, _ in enumerate(folder.iterdir())) if folder.is_dir() else ()


def dealt(gpus: Sequence[str], workers: int, processes: int) -> tuple[str, ...]:
    """Return the GPUs of each of `workers` slots, assigned round-robin if there are fewer than needed."""
    if not gpus:
        return ()
    return tuple(
        ",".join(gpus[(place * processes + number) % len(gpus)] for number in range(min(processes, len(gpus))))
        for place in range(workers)
    )


def share(workers: int | None, cores: int, processes: int = 1) -> tuple[int, int]:
    """Return the number of concurrent runs and the threads of each, without oversubscribing cores.

    Args:
        workers: as set (`None`: one per core).
        cores: number of cores available to this process.
        processes: processes of the largest run (`trainer.devices`).
    """
    chosen = workers or max(1, cores // processes)
    return chosen, max(1, cores // (chosen * processes))


def cores() -> int:
    """Return the number of cores available to this process; fewer than the machine's in containers and under SLURM."""
    return len(os.sched_getaffinity(0))


def _leave_with(launcher: BaseProcess | None) -> None:
    if launcher is not None:
        launcher.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _trial(
    plan: str, run: str, arguments: dict[str, Any], output: str, folder: str, visible: str | None = None
) -> None:
    # Its own process group: Ctrl-C at the terminal reaches only the launcher, which forwards it once.
    os.setpgid(0, 0)
    # If the launcher dies, the run saves and exits, so that the same command can resume it. The kernel only signals the
    # death of the parent, the fork server, which lives as long as any run; so the launcher itself is watched.
    die_with_parent()
    threading.Thread(target=_leave_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    os.chdir(folder)
    os.environ["OMP_NUM_THREADS"] = str(arguments["threads"])
    if visible is not None:
        # Before CUDA is initialized: importing torch does not initialize it.
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(descriptor, stream.fileno())
    from ternlab.core.logs import log_to_terminal
    from ternlab.sweeps.trial import run_trial

    log_to_terminal()
    sys.exit(run_trial(Path(plan), run, **arguments))
