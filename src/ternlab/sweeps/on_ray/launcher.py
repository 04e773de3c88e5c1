"""The Ray launcher: runs as Ray Tune trials, on its own cluster on loopback or on an existing cluster."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ternlab.core.errors import InfrastructureError
from ternlab.sweeps.cluster import ClusterSettings
from ternlab.sweeps.folder import output_file
from ternlab.sweeps.launcher import Task
from ternlab.sweeps.local import cores
from ternlab.sweeps.on_ray.process import DriverProcess
from ternlab.sweeps.on_ray.refusals import BAD_TOKEN, check_installed, check_reachable, refusal, too_much
from ternlab.sweeps.on_ray.settings import RayCluster
from ternlab.sweeps.plan import Plan

_log = logging.getLogger(__name__)
# An existing cluster responds within a second or two; its own takes four to start, more on a busy machine.
_CONNECT_SECONDS = 10.0
_START_SECONDS = 120.0


class RayLauncher:
    """Runs as Ray Tune trials.

    Args:
        folder: the sweep's folder; a run's output goes to `output/<run ID>.txt` in it, deleted if the run succeeds.
        plan: the sweep's plan.
        cluster: the resources of each trial, and the cluster's address.
    """

    name = "ray"
    queues = False

    def __init__(self, folder: Path, plan: Plan, cluster: RayCluster) -> None:
        self._folder = folder.absolute()
        self._plan, self._cluster = plan, cluster
        self._points = {trial.run_id: trial.point for trial in plan.trials}
        self._driver: DriverProcess | None = None
        self._slots = 0
        self._running: set[str] = set()
        self._ended: list[tuple[str, int]] = []

    def describe(self, tasks: Sequence[Task]) -> list[str]:
        """Return the resources of each run, and the cluster."""
        cluster = self._cluster
        gpus = f" and {cluster.gpus_per_trial} GPUs" if cluster.gpus_per_trial else ""
        where = cluster.address or f"its own Ray cluster on this machine, {self._cores()} cores"
        most = f", {cluster.workers} at a time" if cluster.workers else ""
        return [f"{len(tasks)} Ray Tune trials on {where}{most}, {cluster.cpus_per_trial} cores{gpus} each"]

    def running(self) -> Sequence[str]:
        """Return nothing: runs end with the launcher that started them."""
        return ()

    def connect(self) -> None:
        """Start the cluster, or connect to it; further calls do nothing.

        Raises:
            SettingsError: there is no cluster, it rejects this user, or no node of it can run a trial.
        """
        if self._driver is not None:
            return
        cluster = self._cluster
        results = cluster.results and f"{_absolute(cluster.results)}/{self._plan.sweep_id}"
        driver = DriverProcess(cluster.address, self._cores(), cluster.cpus_per_trial, cluster.gpus_per_trial, results)
        try:
            self._slots = self._slots_of(driver)
        except BaseException:
            driver.kill()
            driver.close()
            raise
        self._driver = driver

    def _slots_of(self, driver: DriverProcess) -> int:
        """Return how many trials the cluster can run, once it is up."""
        refused = ""
        try:
            # The time to import Ray depends on the file system; only what follows is Ray's response time.
            driver.news(_START_SECONDS)
            answer = driver.first_answer(_CONNECT_SECONDS if self._cluster.address else _START_SECONDS, BAD_TOKEN)
            if "ready" in answer:
                slots: int = answer["ready"]
                if slots == 0:
                    raise too_much(self._cluster)
                return slots
            refused = answer.get("refused", "")
        except InfrastructureError as error:
            refused = str(error).splitlines()[0]
        raise refusal(self._cluster, refused, driver.said())

    def free(self) -> int:
        """Return how many more runs the cluster accepts.

        As many runs as are running also wait in Tune: an actor is reused only if its next run is already there.
        """
        self.connect()
        self._listen()
        workers = self._cluster.workers
        most = 2 * self._slots if workers is None or workers >= self._slots else workers
        return max(0, most - len(self._running))

    def start(self, tasks: Sequence[Task]) -> None:
        """Pass the runs to Tune."""
        self.connect()
        for task in tasks:
            self._running.add(task.run_id)
            self._send({"start": self._config(task)})

    def _config(self, task: Task) -> dict[str, Any]:
        gpus = self._cluster.gpus_per_trial
        return {
            "run": task.run_id,
            "settings": self._points.get(task.run_id, {}),
            "plan": str(task.plan.absolute()),
            "runs": str(self._plan.runs),
            "folder": str(Path.cwd()),
            "sweep": str(self._folder),
            "cpus": self._cluster.cpus_per_trial,
            "gpus": gpus,
            "threads": max(1, self._cluster.cpus_per_trial // (gpus or self._plan.processes())),
            "arguments": {"same_code": True, **({"devices": gpus, "accelerator": "gpu"} if gpus else {})},
        }

    def unsent(self) -> Sequence[str]:
        """Return nothing: there is no queue."""
        return ()

    def ended(self) -> Sequence[tuple[str, int]]:
        """Return the runs that have ended, with their exit codes; a run whose actor died has -9.

        Raises:
            InfrastructureError: the cluster is lost. The runs save and exit.
        """
        self._listen()
        found, self._ended = self._ended, []
        return found

    def stop_runs(self, runs: Iterable[str]) -> None:
        """Ask some runs to save and exit."""
        self._send({"stop": list(runs)})

    def stop(self) -> None:
        """Ask all runs to save and exit, and wait until they have or the cluster is lost."""
        if self._driver is None or not self._running:
            return
        self.stop_runs(sorted(self._running))
        try:
            while self._running:
                self._listen(seconds=1.0)
        except InfrastructureError as error:
            _log.warning("%s", error)
            self._running.clear()

    def tidy(self, finished: Iterable[str]) -> None:
        """Remove the output of finished runs; some may have finished after an earlier launcher was killed."""
        for run in finished:
            output_file(self._folder, run).unlink(missing_ok=True)

    def close(self) -> None:
        """Disconnect from the cluster; its own cluster is shut down."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None
        output = self._folder / "output"
        if output.is_dir() and not any(output.iterdir()):
            output.rmdir()

    def _send(self, request: dict[str, Any]) -> None:
        assert self._driver is not None
        self._driver.send(request)

    def _listen(self, seconds: float = 0.0) -> None:
        """Process the driver's messages; wait at most this long for the first."""
        if self._driver is None:
            return
        while (message := self._driver.news(seconds)) is not None:
            seconds = 0.0
            if "slots" in message:
                self._slots = message["slots"]
            elif "ended" in message:
                self._take_end(message["ended"], message["code"], message["said"])

    def _take_end(self, run: str, code: int, said: str) -> None:
        self._running.discard(run)
        self._ended.append((run, code))
        if said:
            # Where the table of failures looks for error messages.
            output_file(self._folder, run).parent.mkdir(parents=True, exist_ok=True)
            with output_file(self._folder, run).open("a") as file:
                print(said, file=file)

    def _cores(self) -> int:
        """Return the CPUs of its own cluster; if there are more workers than CPUs, they share them."""
        workers = self._cluster.workers
        return workers * self._cluster.cpus_per_trial if workers else cores()


def _absolute(folder: str) -> str:
    """Return the folder as the driver sees it; Tune also takes addresses such as `s3://bucket/folder`."""
    return folder.rstrip("/") if "://" in folder else str(Path(folder).absolute())


def launcher_of(folder: Path, plan: Plan, cluster: ClusterSettings) -> RayLauncher:
    """Return the Ray launcher.

    It connects to an existing cluster at once; it starts its own cluster only when needed.

    Raises:
        SettingsError: Ray is not installed, the cluster cannot be used, or no node of it can run a trial.
    """
    assert isinstance(cluster, RayCluster)
    plan.refuse_nodes(cluster.name)
    check_installed()
    if cluster.address is not None:
        check_reachable(cluster.address)
    elif cluster.cpus_per_trial > cores():
        raise too_much(cluster)
    launcher = RayLauncher(folder, plan, cluster)
    if cluster.address is not None or cluster.gpus_per_trial:
        launcher.connect()
    return launcher
