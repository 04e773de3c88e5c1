"""A SLURM that is a dictionary: its commands answer as the real ones of 22.05 do, and a test moves its clock."""

from __future__ import annotations

import json
import re
import shlex
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ternlab.core.errors import ExitCode
from ternlab.sweeps.on_slurm.commands import Answer
from ternlab.sweeps.progress import Clock
from tests.sweeps.made import write_status

# How a run ends: status of its record, code in its exit record (`None`: none is written), state of its job.
Ending = tuple[str | None, int | None, str]
FINE: Ending = ("finished", None, "COMPLETED")
LOST = Answer(1, err="sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
GONE = Answer(1, err="slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
FULL = Answer(
    1,
    err="sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: "
    "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
)


@dataclass
class Job:
    """A task of an array."""

    id: str
    index: int
    name: str
    batch: Path
    after: list[str]
    state: str = "PENDING"
    reason: str = "None"
    ends: float = 0.0
    held: str = ""

    @property
    def over(self) -> bool:
        return self.state not in ("PENDING", "RUNNING", "COMPLETING")


@dataclass
class FakeSlurm:
    """Every job begins at once when nothing is in its way.

    Attributes:
        runs: folder of the runs.
        endings: of each run, one for each try; a run that is not named finishes.
        seconds: that each run takes; 1 for a run that is not named.
        faults: what the next calls of a command do instead: an answer, or a function that makes one.
        begun: runs that were begun, in order.
        calls: of all commands.
        limit: jobs that a user may have.
        largest: tasks of an array.
        forget: seconds for which squeue lists what has ended.
    """

    runs: Path
    endings: dict[str, list[Ending]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    faults: dict[str, list[Answer | Callable[[Sequence[str]], Answer]]] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)
    calls: list[list[str]] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    limit: int = 10**9
    largest: int = 1001
    forget: float = 300.0
    time: float = 0.0
    sacct: dict[str, str] | None = None

    def clock(self) -> Clock:
        """Return its clock: who sleeps moves it."""
        return Clock(lambda: self.time, self._sleep)

    def __call__(self, command: Sequence[str], kept: Sequence[str]) -> Answer:
        words = list(command)
        self.calls.append(words)
        self._go_on()
        fault = (self.faults.get(words[0]) or [None]).pop(0)
        if fault is not None:
            return fault(words) if callable(fault) else fault
        answer = self.answer(words)
        self._go_on()
        return answer

    def answer(self, words: Sequence[str]) -> Answer:
        """Answer as SLURM does when nothing is wrong."""
        return {"sbatch": self._sbatch, "squeue": self._squeue, "scancel": self._scancel}.get(words[0], self._other)(
            list(words)
        )

    def live(self) -> list[Job]:
        return [job for job in self.jobs if not job.over]

    def _sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.time += seconds
        assert self.time < 20_000, "nothing ends this sweep"

    def _sbatch(self, words: list[str]) -> Answer:
        text = Path(words[-1]).read_text()
        self.scripts.append(text)
        options = dict(re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", text, re.MULTILINE))
        count = int(options["array"].partition("%")[0].partition("-")[2]) + 1
        if count > self.largest:
            return Answer(1, err="sbatch: error: Batch job submission failed: Invalid job array specification")
        if len(self.live()) + count > self.limit:
            return FULL
        number = str(len({job.id for job in self.jobs}) + 41)
        batch = Path(shlex.split(text.strip().splitlines()[-1])[-1])
        kind, *after = options.get("dependency", "afterok").split(":")
        assert kind == "afterok"
        self.jobs += [Job(number, index, options["job-name"], batch, after) for index in range(count)]
        return Answer(0, f"Submitted batch job {number}\n")

    def _squeue(self, words: list[str]) -> Answer:
        assert any(word.startswith("--user=") for word in words)
        shown = [job for job in self.jobs if not job.over or job.ends + self.forget >= self.time]
        lines = [f"{job.id}|{job.index}|{job.state}|{job.reason}|{job.name}" for job in shown]
        return Answer(0, "\n".join(["7|N/A|RUNNING|None|a|b", "8|0|RUNNING|None|other.token", *lines]) + "\n")

    def _scancel(self, words: list[str]) -> Answer:
        for job in self.live():
            if f"{job.id}_{job.index}" in words:
                if job.state == "RUNNING":
                    write_status(self.runs, self._run_of(job), "interrupted")
                self._end(job, "CANCELLED")
        return Answer(0)

    def _other(self, words: list[str]) -> Answer:
        if words[:3] == ["scontrol", "show", "config"]:
            return Answer(0, f"MaxArraySize            = {self.largest}\nKillWait = 30 sec\n")
        if words[0] == "sacct":
            if self.sacct is None:
                return Answer(1, err="Slurm accounting storage is disabled")
            (job,) = [word.removeprefix("--jobs=") for word in words if word.startswith("--jobs=")]
            return Answer(0, self.sacct.get(job, "") + "\n")
        return Answer(0)

    def _go_on(self) -> None:
        """Let time pass in the cluster."""
        for job in self.jobs:
            if job.state == "RUNNING" and job.ends <= self.time:
                self._finish(job)
        for job in self.jobs:
            if job.state == "PENDING" and not job.held:
                self._begin(job)

    def _begin(self, job: Job) -> None:
        if job.after:
            before = [one for one in self.jobs if f"{one.id}_{one.index}" in job.after]
            if any(one.over and one.state != "COMPLETED" for one in before):
                job.reason = "DependencyNeverSatisfied"
                self._end(job, "CANCELLED")
                return
            if any(not one.over for one in before):
                job.reason = "Dependency"
                return
        if not job.batch.exists():
            self._end(job, "FAILED")
            return
        job.state, job.reason, job.ends = "RUNNING", "None", self.time + self.seconds.get(self._run_of(job), 1)
        self.begun.append(self._run_of(job))

    def _finish(self, job: Job) -> None:
        run = self._run_of(job)
        status, code, state = (self.endings.get(run) or [FINE]).pop(0)
        if status is not None:
            write_status(self.runs, run, status)
        if code is not None:
            record = job.batch.parent.parent / "exits" / f"{run}.json"
            record.parent.mkdir(exist_ok=True)
            record.write_text(json.dumps(_ending(code)))
        self._end(job, state)

    def _end(self, job: Job, state: str) -> None:
        job.state, job.ends = state, self.time

    def _run_of(self, job: Job) -> str:
        return str(json.loads(job.batch.read_text())["runs"][job.index])


def _ending(code: int) -> dict[str, int | str | None]:
    """Return what `ternlab.slurm.job` writes."""
    return {"code": code if code > 0 else None, "signal": signal.Signals(-code).name if code < 0 else None}


FAILS: Ending = ("failed", int(ExitCode.FAILED), "FAILED")
