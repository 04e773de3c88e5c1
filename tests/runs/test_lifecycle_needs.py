"""The life of a run whose needs have needs, with a training that takes no time; see `tests.needy`."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ternlab.core.errors import (
    BaselineDivergedError,
    DivergedError,
    ExitCode,
    NeedDivergedError,
    RunInterrupted,
    SettingsError,
)
from ternlab.runs import lifecycle
from ternlab.runs import needs as needs_module
from ternlab.runs.directory import RunDirectory
from ternlab.runs.identity import run_id
from ternlab.runs.lifecycle import complete
from ternlab.runs.needs import Need, needs, ordered, register_needs
from ternlab.settings.root import Settings
from tests.fork_server import FORK_SERVER
from tests.needy import NEEDY
from tests.runs.lifecycle_world import FakeTrain, finish, full, hold, record_of
from tests.settings_for_tests import tiny_settings


def tree(settings: Settings) -> dict[str, RunDirectory]:
    """Return the folders of all runs that are needed, by role."""
    return {need.role: need.directory for need, _ in ordered(needs(settings), run_id(settings))}


def test_everything_that_is_needed_is_trained_first_and_once_and_gives_its_weights(tmp_path: Path) -> None:
    settings, train = tiny_settings(tmp_path, **NEEDY), FakeTrain()
    run, folders = finish(settings, train), tree(settings)
    assert train.calls == [
        ("none", folders["root"].run_id, None),
        ("none", folders["left"].run_id, folders["root"].weights_file),
        ("none", folders["right"].run_id, folders["root"].weights_file),
        ("none", folders["baseline"].run_id, folders["left"].weights_file),
        ("tga", run["run_id"], None),
    ]
    ids = {role: folder.run_id for role, folder in folders.items()}
    assert run["needs"] == {"baseline": ids["baseline"]}
    assert run["metrics"]["degradation/top1"] == 2.5
    baseline = folders["baseline"].record() or {}
    assert baseline["needs"] == {"left": ids["left"], "right": ids["right"]}
    # They are no baselines: nothing is paired.
    assert (baseline["baseline_run_id"], baseline["baseline"]) == (None, None)
    assert "degradation/top1" not in baseline["metrics"]
    again = FakeTrain()
    assert finish(settings, again) == run
    assert again.calls == []


def test_a_needed_run_that_diverged_is_named_and_nothing_above_it_is_tried(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, **NEEDY)
    folders = tree(settings)
    for train in (FakeTrain(none=DivergedError("loss is nan")), FakeTrain()):
        with pytest.raises(NeedDivergedError, match=f"^The root {folders['root'].run_id} diverged:.*loss") as error:
            finish(settings, train)
        assert not isinstance(error.value, BaselineDivergedError)
        assert error.value.exit_code == ExitCode.DIVERGED
        assert f"--config-path {folders['root'].path} " in str(error.value)
        assert "baseline.overrides" not in str(error.value)
        assert "tga" not in train.trained
    assert (folders["root"].record() or {})["status"] == "diverged"
    said = record_of(settings)["error"]["message"]
    for role in ("left", "baseline"):
        assert (folders[role].record() or {})["status"] == "failed"
        assert f"this happened in the {role} run {folders[role].run_id}" in said
    assert folders["right"].record() is None


def test_what_was_interrupted_below_goes_on_with_the_same_command(tmp_path: Path) -> None:
    settings, train = tiny_settings(tmp_path, **NEEDY), FakeTrain(none=RunInterrupted("stopped"))
    with pytest.raises(RunInterrupted):
        finish(settings, train)
    statuses = {role: (folder.record() or {}).get("status") for role, folder in tree(settings).items()}
    assert statuses == {"root": "interrupted", "left": "interrupted", "right": None, "baseline": "interrupted"}
    finish(settings, train)
    assert train.trained == ["none"] * 5 + ["tga"]


def test_a_run_far_below_that_another_process_trains_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lifecycle, "_WAIT_SECONDS", 0.05)
    settings, train = tiny_settings(tmp_path, **NEEDY), FakeTrain()
    folders = tree(settings)
    mine, theirs = FORK_SERVER.Pipe()
    child = FORK_SERVER.Process(target=hold, args=(folders["root"].path, theirs, True), daemon=True)
    child.start()
    assert mine.recv() == "held"
    # It finishes the run once this process has said that it waits.
    answer = logging.Handler()
    answer.emit = lambda record: mine.send("go") if "waiting for" in record.getMessage() else None  # type: ignore[method-assign]
    monkeypatch.setattr(logging.getLogger("ternlab"), "handlers", [*logging.getLogger("ternlab").handlers, answer])
    with caplog.at_level("INFO", logger="ternlab"):
        finish(settings, train)
    child.join(30)
    assert folders["root"].run_id not in [run for _, run, _ in train.calls]
    assert len(train.calls) == 4
    assert caplog.text.count("waiting for the root: ") == 1


@pytest.fixture
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs_module, "NEEDS", dict(needs_module.NEEDS))


@pytest.mark.usefixtures("_forgotten")
def test_runs_that_need_each_other_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    register_needs(lambda settings: [Need.of("other", settings.model_copy(update={"seed": 1 - settings.seed}))])
    train = FakeTrain()
    with pytest.raises(SettingsError, match="a run cannot need itself"):
        finish(full(tmp_path / "runs"), train)
    assert train.calls == [] and not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("_forgotten")
def test_the_layers_of_a_needed_run_are_checked_before_anything_is_trained(tmp_path: Path) -> None:
    def below(settings: Settings) -> list[Need]:
        return [] if settings.quant.active else [Need.of("quantized", tiny_settings(tmp_path / "runs", seed=3))]

    def check(settings: Settings) -> None:
        raise SettingsError("quant.include", rule=f"matches no layer of seed {settings.seed}")

    def top(settings: Settings) -> list[Need]:
        return below(settings) if settings.seed == 0 else []

    register_needs(top)
    train = FakeTrain()
    with pytest.raises(SettingsError, match="matches no layer of seed 3"):
        complete(full(tmp_path / "runs"), "command", train, check=check)
    assert train.calls == [] and not (tmp_path / "runs").exists()
    complete(full(tmp_path / "runs"), "command", train)
    assert train.trained == ["none", "tga", "none"]


@pytest.mark.usefixtures("_forgotten")
def test_force_trains_the_run_afresh_and_none_that_it_needs(tmp_path: Path) -> None:
    register_needs(lambda settings: [Need.of("other", settings.model_copy(update={"seed": 5}))][settings.seed // 5 :])
    train = FakeTrain()
    finish(full(tmp_path), train)
    finish(full(tmp_path, force=True), train)
    assert len(train.calls) == 3
    assert len(list(tmp_path.iterdir())) == 3
