"""Runs with a training that takes no time, and a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from ternlab.runs import lifecycle
from ternlab.runs.directory import RunDirectory, run_directory
from ternlab.runs.identity import run_id
from ternlab.runs.lifecycle import complete
from ternlab.runs.needs import Inputs
from ternlab.runs.record import Record, Status, write_record
from ternlab.settings.root import Settings
from tests.settings_for_tests import tiny_settings

METRICS = {
    "test/top1": 90.0,
    "test/top5": 99.0,
    "size/float_bytes": 100.0,
    "size/quantized_bytes": 10.0,
    "compression/ratio": 10.0,
    "quant/sparsity": 0.5,
}


class FakeTime:
    """Stands for the module `time`: nothing takes time but sleeping.

    Attributes:
        now: seconds since the start.
        asleep: called at each sleep.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.asleep: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.asleep()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    """The time of the runs of a test."""
    clock = FakeTime()
    monkeypatch.setattr(lifecycle, "time", clock)
    return clock


class FakeTrain:
    """Stands for a training: remembers its calls, fails when told to, and leaves final weights.

    Attributes:
        calls: quantizer, id and start of each call.
        errors: for `tga` or `none`: errors to raise, one a call.
        seconds: how long a call takes.
    """

    def __init__(self, **errors: BaseException) -> None:
        self.calls: list[tuple[str, str, Path | None]] = []
        self.errors = errors
        self.seconds = {"tga": 0.0, "none": 0.0}
        self.during: Callable[[RunDirectory], None] = lambda directory: None

    def __call__(
        self, settings: Settings, directory: RunDirectory, inputs: Inputs, *_: Any
    ) -> tuple[dict[str, float], dict[str, Any]]:
        name = settings.quant.name
        self.calls.append((name, directory.run_id, inputs.get("start")))
        self.during(directory)
        lifecycle.time.sleep(self.seconds[name])
        if name in self.errors:
            raise self.errors.pop(name)
        directory.weights_file.write_bytes(b"weights")
        top1 = 92.5 if name == "none" else 90.0
        return {**METRICS, "test/top1": top1}, {"arithmetic": {"precision": "32"}}

    @property
    def trained(self) -> list[str]:
        return [name for name, _, _ in self.calls]


def full(runs: Path, **changes: Any) -> Settings:
    return tiny_settings(runs, quant={"name": "none"}, **changes)


def record_of(settings: Settings) -> Record:
    record = run_directory(settings.paths.runs, run_id(settings)).record()
    assert record is not None
    return record


def finish(settings: Settings, train: Any = None) -> Record:
    return complete(settings, "python src/train.py ...", train or FakeTrain()).record() or {}


def hold(path: Path, talk: Connection, finish_it: bool) -> None:
    """Hold a run's lock until told to go; leave it finished, or as it is."""
    directory = RunDirectory(path)
    directory.create()
    with directory.lock():
        talk.send("held")
        talk.recv()
        if finish_it:
            directory.weights_file.write_bytes(b"weights")
            write_record(directory.record_file, {"status": Status.FINISHED, "metrics": {**METRICS, "test/top1": 91.0}})
