"""Every mirror but that of W&B: complete, continuous over stops, and the same when a run is sent again."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ternlab.core.errors import SettingsError
from ternlab.loggers.history import history_of, scalars_of
from ternlab.loggers.registry import LOGGERS, LoggerEntry
from ternlab.loggers.sync import send_run
from ternlab.runs.directory import RunDirectory
from ternlab.runs.lifecycle import complete
from ternlab.runs.metrics import MetricsTable
from tests.commands import warm_command
from tests.commands.run_command import ROOT, TINY, stop, wait_for
from tests.loggers import made
from tests.loggers.made import STEPS, add_epochs, finish, made_run
from tests.settings_for_tests import tiny_settings

RESULTS = {"test/top1": 69.3, "degradation/top1": 0.25}
followed = functools.partial(made.followed, results=RESULTS)
STARTED = "2026-01-02T03:04:05+0000"

Points = dict[str, list[tuple[int, float]]]
"""(step, value) of each metric, in the order in which the reader returns them."""


def read_tensorboard(folder: Path, directory: RunDirectory) -> list[Points]:
    """Read with TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    places = [path for path in (folder / "events", directory.path / "tensorboard") if path.is_dir()]
    found = []
    for place in {event.parent for one in places for event in one.rglob("events.*")}:
        reader = EventAccumulator(str(place), size_guidance={"scalars": 0}).Reload()
        names = reader.Tags()["scalars"]
        found.append({name: [(one.step, one.value) for one in reader.Scalars(name)] for name in names})
    return found


def read_mlflow(folder: Path, directory: RunDirectory) -> list[Points]:
    """Read with MLflow's own client."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("ternlab")
    if experiment is None:
        return []
    found = []
    for run in client.search_runs([experiment.experiment_id]):
        histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        found.append({name: [(one.step, one.value) for one in history] for name, history in histories.items()})
    return found


def read_trackio(_: Path, __: RunDirectory) -> list[Points]:
    """Read what Trackio's dashboard reads."""
    from trackio import Api
    from trackio.sqlite_storage import SQLiteStorage

    found = []
    for run in Api().runs("ternlab"):
        points: Points = {}
        for row in SQLiteStorage.get_logs("ternlab", run_id=run.id):
            for name, value in row.items():
                if name not in ("step", "timestamp"):
                    points.setdefault(name, []).append((row["step"], value))
        found.append(points)
    return found


READERS: dict[str, Callable[[Path, RunDirectory], list[Points]]] = {
    "tensorboard": read_tensorboard,
    "mlflow": read_mlflow,
    "trackio": read_trackio,
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty MLflow database; to make one takes many seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(params=READERS)
def name(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Path) -> str:
    """Return the name of a logger; all but Trackio are in the test extra."""
    chosen = str(request.param)
    if chosen == "trackio" and importlib.util.find_spec("trackio") is None:
        pytest.skip("needs make test-trackio: Trackio needs an older Pillow than the newest")
    monkeypatch.chdir(tmp_path)
    # What arrives, not when, is tested here.
    monkeypatch.setattr("ternlab.loggers.live_sync._CLOSE_SECONDS", 300.0)
    if chosen == "mlflow":
        shutil.copy(database, tmp_path / "mlflow.db")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    if chosen == "trackio":
        # Trackio reads its folder when it is imported.
        for module in ("trackio.utils", "trackio.sqlite_storage"):
            monkeypatch.setattr(importlib.import_module(module), "TRACKIO_DIR", tmp_path / "trackio")
    return chosen


def begun(folder: Path, name: str, **changes: Any) -> RunDirectory:
    """Return a run that has no epoch yet."""
    return made_run(folder / "runs", 0, status="running", logger__name=name, **changes)


def expected(directory: RunDirectory, results: dict[str, float] = RESULTS) -> Points:
    """Return what must be there: each row once, and the results at the last step."""
    points: Points = {}
    rows = history_of(directory)
    for row in rows:
        for metric, value in scalars_of(row).items():
            points.setdefault(metric, []).append((row["step"], value))
    for metric, value in results.items():
        points.setdefault(metric, []).append((rows[-1]["step"], value))
    return points


def close_to(found: Points, wanted: Points) -> bool:
    """Return whether two readings are equal; event files hold single precision."""
    return {metric: [step for step, _ in points] for metric, points in found.items()} == {
        metric: [step for step, _ in points] for metric, points in wanted.items()
    } and all(
        [value for _, value in found[metric]] == pytest.approx([value for _, value in points], rel=1e-6)
        for metric, points in wanted.items()
    )


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what this package said."""
    return [record.message for record in caplog.records if record.name.startswith("ternlab")]


def test_a_run_is_there_once_after_stops_and_after_a_sync(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    directory = begun(tmp_path, name)
    followed(directory, 3, failed=True)
    # The checkpoint is of an epoch before the last row.
    for table in (directory.metrics_file, directory.layers_file):
        MetricsTable(table).keep_until(2 * STEPS)
    followed(directory, 1, failed=True)
    add_epochs(directory, 1)  # an attempt that was killed before anything of it was sent
    followed(directory, 2)
    (found,) = READERS[name](tmp_path, directory)
    assert close_to(found, expected(directory))
    assert [step for step, _ in found["epoch"]] == [STEPS * number for number in range(1, 7)]
    finish(directory, directory.settings(), started=STARTED, status="finished", **RESULTS)
    send_run(directory, directory.settings().logger)
    (found,) = READERS[name](tmp_path, directory)
    del found["val/top1"]  # also a result, of another value in these made files
    assert close_to(found, {key: points for key, points in expected(directory).items() if key != "val/top1"})
    assert messages(caplog) == []


def test_a_run_of_no_logger_is_sent_later(tmp_path: Path, name: str) -> None:
    directory = made_run(tmp_path / "runs", 3, logger__name="local")
    results = (directory.record() or {})["metrics"]
    del results["val/top1"]
    chosen = LOGGERS[name].settings(name=name)
    assert send_run(directory, chosen) == 3
    (found,) = READERS[name](tmp_path, directory)
    assert {metric: points for metric, points in found.items() if metric != "val/top1"}.keys() == (
        expected(directory, results).keys() - {"val/top1"}
    )
    for metric, value in results.items():
        assert found[metric] == [(3 * STEPS, pytest.approx(value))]


def test_a_run_that_was_trained_again_does_not_mix_with_the_earlier_one(tmp_path: Path, name: str) -> None:
    directory = made_run(tmp_path / "runs", 2, logger__name=name)
    send_run(directory, directory.settings().logger)
    directory.path.rename(directory.path.with_name(f"{directory.run_id}.aside-20260101-000000-1"))
    again = made_run(tmp_path / "runs", 0, logger__name=name, started="2027-01-01T00:00:00+0000")
    add_epochs(again, 3, scale=2.0)
    send_run(again, again.settings().logger)
    losses = sorted([value for _, value in one["train/loss"]] for one in READERS[name](tmp_path, again))
    assert losses[-1] == pytest.approx([2.0, 1.0, 2 / 3])
    assert losses[:-1] in ([], [pytest.approx([1.0, 0.5])])


UNUSABLE = {
    "tensorboard": {"logger__dir": "a-file"},
    "mlflow": {"logger__uri": "http://127.0.0.1:1"},
    "trackio": {"logger__project": "registry-x"},
}


def test_a_place_that_cannot_be_used_is_one_warning_with_the_way_to_send_the_run_later(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a-file").write_text("")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    directory = begun(tmp_path, name, **UNUSABLE[name])
    with caplog.at_level(logging.WARNING):
        followed(directory, 2)
    (message,) = messages(caplog)
    assert message.startswith(LOGGERS[name].title)
    assert f"ternlab sync {directory.run_id} --runs {directory.path.parent}" in message
    assert len(history_of(directory)) == 2


def test_the_logger_of_the_page_follows_a_resumed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = (ROOT / "docs" / "extending.md").read_text().partition("## A logger\n")[2]
    (tmp_path / "my_logger.py").write_text(section.partition("```python\n")[2].partition("```")[0])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    importlib.import_module("my_logger")
    try:
        directory = begun(tmp_path, "lines")
        followed(directory, 2, failed=True)
        followed(directory, 1)
        lines = [line.split() for line in (tmp_path / "epochs.txt").read_text().splitlines()]
    finally:
        del LOGGERS["lines"]
    assert [(run, int(epoch)) for run, epoch, _ in lines] == [(directory.run_id, epoch) for epoch in range(3)]


def test_a_logger_whose_package_is_missing_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    missing = LoggerEntry("Lines", LOGGERS["local"].settings, "x:y", ("no_such_package",), "lines")
    LOGGERS["lines"] = missing
    try:
        with pytest.raises(SettingsError, match=r"no_such_package is not installed\n.*ternlab\[lines\]"):
            complete(tiny_settings(tmp_path, logger__name="lines"), "", lambda *_: ({}, {}))
    finally:
        del LOGGERS["lines"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_training_that_was_stopped_has_one_continuous_history(tmp_path: Path, number: int) -> None:
    typed = (*TINY, "logger=tensorboard", "quant=none", "trainer.max_epochs=4")
    process = warm_command.start(tmp_path, *typed, TINY_SECONDS="0.1")
    wait_for(tmp_path, "*/checkpoints/*6*.json")
    stop(process, number)
    code, _, err = warm_command.run(tmp_path, *typed)
    assert code == 0, err
    (path,) = (tmp_path / "logs" / "runs").iterdir()
    directory = RunDirectory(path)
    (found,) = read_tensorboard(tmp_path, directory)
    assert [value for _, value in found["epoch"]] == [0, 1, 2, 3]
    results = {"test/top1": (directory.record() or {})["metrics"]["test/top1"]}
    wanted = expected(directory, results)
    assert close_to({name: found[name] for name in wanted}, wanted)
