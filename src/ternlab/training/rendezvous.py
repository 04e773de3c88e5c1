"""Rendezvous of the tasks of one run on several nodes, through files in a folder that all nodes see."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from ternlab.core.errors import InfrastructureError, SettingsError, TernlabError
from ternlab.core.files import write_json
from ternlab.core.lock import RunLock
from ternlab.core.signals import StopRequest
from ternlab.slurm.allocation import Allocation

# The longest delay between the starts of a step's tasks (cold file system, slow prolog).
ARRIVAL_SECONDS = 300.0
# How long a training may take to end on one node after it has ended on another.
ENDING_SECONDS = 30.0
_LOOK_SECONDS = 0.2
_END = "end.json"


@dataclass(frozen=True)
class Call:
    """One training that the leader asks the other nodes to join.

    Attributes:
        number: 0, 1, ...; a needed run comes before the run that needs it.
        run: run directory, with settings and inputs.
        address, port: where the first process listens.
    """

    number: int
    run: Path
    address: str
    port: int

    def rendezvous(self, nodes: int, node: int) -> list[str]:
        """Return the `torchrun` options for one node."""
        place = [f"--nnodes={nodes}", f"--node-rank={node}"]
        return [*place, f"--master-addr={self.address}", f"--master-port={self.port}"]


class _Task:
    """Base class of leader and followers.

    Args:
        runs: folder of the runs; the tasks meet in its subfolder `.nodes`.
        here: the allocation of this task.
    """

    def __init__(self, runs: Path, here: Allocation) -> None:
        self.nodes = here.nodes
        self.node = here.process
        self._here = here
        self.folder = runs.resolve() / ".nodes" / _meeting_name(here)
        self._lock = RunLock(self.folder / "lock")

    def outcome_file(self, call: Call, node: int | None = None) -> Path:
        """Return the file in which a node's processes or its task write why they ended."""
        return self.folder / f"outcome-{call.number}-node-{self.node if node is None else node}.json"

    def _names(self) -> set[str]:
        """Return the names of the files in the folder; empty if the folder is gone."""
        try:
            # Listing a folder makes NFS ask the server; looking up a single name may be answered from a cache.
            return set(os.listdir(self.folder))  # noqa: PTH208
        except FileNotFoundError:
            return set()

    def _missing(self, what: str) -> list[int]:
        names = self._names()
        return [node for node in range(1, self.nodes) if f"{what}-{node}.json" not in names]


class Leader(_Task):
    """The task that keeps the record; while the block runs, it calls the other nodes to each training.

    Raises:
        TernlabError: on entry, if the folder cannot be created or locked.
    """

    _calls = 0

    def __enter__(self) -> Leader:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_earlier()
        self._lock.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # When this task exits, SLURM ends the step, including tasks that are still running.
        with contextlib.suppress(OSError, TernlabError):
            write_json(self.folder / _END, {"error": None if error is None else str(error)})
            wait_until(lambda: not self._missing("left"), ENDING_SECONDS)
        self._lock.__exit__(kind, error, trace)
        # A task that arrives later finds the end marker, and the last task removes the folder.
        if not self._missing("left"):
            _remove(self.folder)

    def call(self, run: Path, stop: StopRequest) -> Call:
        """Wait until all nodes have arrived, call them to a training and return the call.

        Raises:
            InfrastructureError: a node has not arrived.
            RunInterrupted: a signal asked to stop.
        """

        def all_there() -> bool:
            stop.leave_if_asked()
            return not self._missing("node")

        if not wait_until(all_there, ARRIVAL_SECONDS):
            raise self._nobody_came()
        call = Call(self._calls, run, os.environ.get("MASTER_ADDR") or socket.gethostname(), _free_port())
        self._calls += 1
        values = {"run": str(run), "address": call.address, "port": call.port}
        write_json(self.folder / f"call-{call.number}.json", values)
        return call

    def error_elsewhere(self, call: Call) -> dict[str, Any] | None:
        """Return `exit_code` and `error` of a node on which this training failed, or `None`."""
        for node in range(1, self.nodes):
            outcome = _read(self.outcome_file(call, node))
            if outcome is not None and "error" in outcome:
                return outcome
        return None

    def _nobody_came(self) -> InfrastructureError:
        names = _host_names(self._here.nodelist)
        missing = [names[node] if node < len(names) else f"number {node}" for node in self._missing("node")]
        return InfrastructureError(
            f"{len(missing)} of {self.nodes} nodes did not join the run within {ARRIVAL_SECONDS:.0f} seconds: "
            f"{', '.join(missing)}.\n"
            f"  instead: check what their tasks printed, and whether they see the folder {self.folder.parent.parent}"
        )

    def _remove_earlier(self) -> None:
        """Remove folders that the same job left when it was killed before being requeued."""
        for restart in range(self._here.restarts):
            for folder in self.folder.parent.glob(f"{self._here.job}-{restart}-*"):
                _remove(folder)


class Follower(_Task):
    """A task on another node: joins each training that the leader calls, and leaves when the leader does."""

    def calls(self) -> Iterator[Call]:
        """Register this node, then yield each training until the leader has ended.

        Raises:
            InfrastructureError: there is no leader, or it has died.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / f"node-{self.node}.json", {"host": socket.gethostname(), "pid": os.getpid()})
        if not wait_until(lambda: self._lock.held() or self.ended(), ARRIVAL_SECONDS):
            raise InfrastructureError(
                f"The first task of the run did not start within {ARRIVAL_SECONDS:.0f} seconds.\n"
                f"  instead: check what it printed, and whether it can see the folder {self.folder.parent.parent}"
            )
        number = 0
        while (call := self._next(number)) is not None:
            yield call
            number += 1
        if not self.ended():
            raise InfrastructureError("The first task of the run is gone; re-run the command to resume the run.")

    def _next(self, number: int) -> Call | None:
        name = f"call-{number}.json"
        wait_until(lambda: name in self._names() or self.over())
        told = _read(self.folder / name)
        if told is None:
            return None
        return Call(number, Path(told["run"]), told["address"], told["port"])

    def ended(self) -> bool:
        """Return whether the leader has ended and written its end marker."""
        names = self._names()
        return _END in names or not names

    def over(self) -> bool:
        """Return whether the leader has ended or died."""
        # In this order: the leader writes its end marker before it releases its lock.
        return not self._lock.held() or self.ended()

    def report(self, call: Call, error: TernlabError) -> None:
        """Tell the leader why a training failed on this node, unless its processes have already done so."""
        if _read(self.outcome_file(call)) is None:
            values = {"exit_code": int(error.exit_code), "error": f"on {socket.gethostname()}: {error}"}
            with contextlib.suppress(OSError, TernlabError):
                write_json(self.outcome_file(call), values)

    def leave(self) -> None:
        """Mark this task as gone; the last task removes the folder."""
        with contextlib.suppress(OSError, TernlabError):
            write_json(self.folder / f"left-{self.node}.json", {})
        if not self._missing("left") and not self._lock.held():
            _remove(self.folder)


def check_address(call: Call) -> None:
    """Make sure that this node can resolve the address of the first node.

    Raises:
        SettingsError: the name does not resolve here.
    """
    try:
        socket.getaddrinfo(call.address, call.port)
    except OSError as error:
        raise SettingsError(
            "MASTER_ADDR",
            value=call.address,
            rule=f"does not resolve on {socket.gethostname()} ({error})",
            instead="export MASTER_ADDR=... in the job's script: an address of the first node that the others reach",
        ) from error


def lasting(condition: Callable[[], bool], seconds: float = ENDING_SECONDS) -> Callable[[], bool]:
    """Return a function that tells whether `condition` has held for `seconds`; it checks only every few seconds."""
    since: float | None = None
    looked = 0.0

    def lasts() -> bool:
        nonlocal since, looked
        now = time.monotonic()
        if now - looked > 2:
            looked = now
            since = (since or now) if condition() else None
        return since is not None and now - since > seconds

    return lasts


def wait_until(condition: Callable[[], bool], seconds: float | None = None) -> bool:
    """Wait until `condition` holds; return `False` if it does not within `seconds`."""
    end = None if seconds is None else time.monotonic() + seconds
    while not condition():
        if end is not None and time.monotonic() > end:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _meeting_name(here: Allocation) -> str:
    # The port of srun identifies the step; job ids alone do not, because they repeat after SLURM loses its state.
    port = os.environ.get("SLURM_STEP_LAUNCHER_PORT", "0")
    return f"{here.job}-{here.restarts}-{here.step}-{port}"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _host_names(nodelist: str) -> list[str]:
    """Expand SLURM's short form of host names; empty if SLURM does not respond."""
    try:
        said = subprocess.run(["scontrol", "show", "hostnames", nodelist], text=True, capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return said.stdout.split() if said.returncode == 0 else []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
