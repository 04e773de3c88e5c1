"""What is trained when, and what the record says."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ternlab.commands.entry import run as run_entry
from ternlab.commands.train import main as train_command
from ternlab.core.cpu import cpu_of_record, this_cpu
from ternlab.core.errors import (
    BaselineDivergedError,
    DivergedError,
    ExitCode,
    RunHeldError,
    RunInterrupted,
    SettingsError,
    StorageError,
)
from ternlab.core.signals import StopRequest
from ternlab.runs import lifecycle
from ternlab.runs.directory import run_directory
from ternlab.runs.identity import run_id
from ternlab.runs.lifecycle import complete
from ternlab.runs.record import Record, write_record
from ternlab.settings.load import twin_of
from ternlab.settings.root import Settings
from ternlab.training import train_run
from tests.commands.run_command import LONG, ROOT
from tests.fork_server import FORK_SERVER
from tests.runs.lifecycle_world import FakeTime, FakeTrain, clock, finish, full, hold, record_of
from tests.settings_for_tests import tiny_settings

__all__ = ["clock"]


# A safetensors file without tensors.
NO_WEIGHTS = (2).to_bytes(8, "little") + b"{}"


def test_a_finished_run_has_a_whole_record(tmp_path: Path) -> None:
    seen: list[Record] = []
    train = FakeTrain()
    train.during = lambda directory: seen.append(directory.record() or {})
    record = finish(full(tmp_path, tags=["a"]), train)
    assert (seen[0]["status"], seen[0]["finished"], seen[0]["metrics"]) == ("running", None, {})
    assert record["status"] == "finished" and record["error"] is None
    assert (record["seed"], record["model"], record["data"], record["quant"]) == (0, "tiny", "digits", "none")
    assert (record["command"], record["tags"]) == ("python src/train.py ...", ["a"])
    assert record["metrics"]["test/top1"] == 92.5
    assert record["run_id"] == run_id(full(tmp_path))
    assert record["versions"]["python"] and record["host"]["name"] and "git" in record
    assert cpu_of_record(record["host"]) == this_cpu()
    assert [attempt["status"] for attempt in record["attempts"]] == ["finished"]


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    before = finish(tiny_settings(tmp_path))
    again = FakeTrain()
    assert finish(tiny_settings(tmp_path), again) == before
    assert again.calls == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RunInterrupted("stopped"), "interrupted"),
        (KeyboardInterrupt(), "interrupted"),
        (ValueError("boom"), "failed"),
        (StorageError("full"), "failed"),
        (MemoryError(), "failed"),
        (SystemExit(3), "failed"),
    ],
)
def test_a_run_that_did_not_finish_is_gone_on_with_and_its_attempts_and_seconds_are_kept(
    tmp_path: Path, error: BaseException, status: str
) -> None:
    settings, train = full(tmp_path), FakeTrain(none=error)
    train.seconds["none"] = 0.05
    with pytest.raises(type(error)) as raised:
        finish(settings, train)
    assert raised.value is error
    first = record_of(settings)
    assert first["status"] == status
    assert first["error"]["type"] == type(error).__name__
    assert first["error"]["message"].startswith(str(error))
    assert first["metrics"] == {}
    second = finish(settings, train)
    assert train.trained == ["none", "none"]
    assert second["status"] == "finished" and second["error"] is None
    assert [attempt["status"] for attempt in second["attempts"]] == [status, "finished"]
    assert second["attempts"][0] == first["attempts"][0]
    assert second["started"] == first["started"]
    assert second["seconds"] == pytest.approx(sum(attempt["seconds"] for attempt in second["attempts"]))
    assert second["seconds"] >= 0.1


def test_a_diverged_run_stays_diverged_until_it_is_forced(tmp_path: Path) -> None:
    settings = full(tmp_path)
    with pytest.raises(DivergedError):
        finish(settings, FakeTrain(none=DivergedError("loss is nan")))
    before = record_of(settings)
    assert before["status"] == "diverged"
    train = FakeTrain()
    with pytest.raises(DivergedError, match="has already diverged: loss is nan") as error:
        finish(settings, train)
    assert error.value.exit_code == ExitCode.DIVERGED
    assert "force=true" in str(error.value)
    assert train.calls == [] and record_of(settings) == before
    assert finish(full(tmp_path, force=True), train)["status"] == "finished"
    assert len(record_of(settings)["attempts"]) == 1


def test_force_moves_the_run_aside_whole_and_leaves_its_baseline(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    before = finish(settings)
    train = FakeTrain()
    after = finish(tiny_settings(tmp_path, force=True), train)
    assert train.trained == ["tga"]
    assert len(after["attempts"]) == 1
    (aside,) = tmp_path.glob("*.aside-*")
    assert json.loads((aside / "record.json").read_text()) == before
    assert (aside / "model.safetensors").exists()
    assert len(list(tmp_path.iterdir())) == 3


def test_force_on_a_run_that_was_never_started_is_no_error(tmp_path: Path) -> None:
    assert finish(tiny_settings(tmp_path, force=True))["status"] == "finished"
    assert not list(tmp_path.glob("*.aside-*"))


def test_a_run_that_another_process_finished_between_the_look_and_the_lock_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, other, train = full(tmp_path), FakeTrain(), FakeTrain()
    check = lifecycle._check_before_anything_is_spent

    def check_slowly(settings: Settings) -> None:
        monkeypatch.setattr(lifecycle, "_check_before_anything_is_spent", check)
        finish(settings, other)

    monkeypatch.setattr(lifecycle, "_check_before_anything_is_spent", check_slowly)
    record = finish(settings, train)
    assert (other.trained, train.trained) == (["none"], [])
    assert [attempt["status"] for attempt in record["attempts"]] == ["finished"]


def test_the_baseline_is_trained_first_and_shared(tmp_path: Path) -> None:
    train = FakeTrain()
    first = finish(tiny_settings(tmp_path, quant__init="baseline"), train)
    second = finish(tiny_settings(tmp_path, quant__init="scratch"), train)
    twin = run_id(twin_of(tiny_settings(tmp_path)))
    weights = run_directory(tmp_path, twin).weights_file
    assert train.calls == [
        ("none", twin, None),
        ("tga", first["run_id"], weights),
        ("tga", second["run_id"], None),
    ]
    assert first["run_id"] != second["run_id"]
    assert first["baseline_run_id"] == second["baseline_run_id"] == twin
    assert first["metrics"]["baseline/top1"] == first["baseline"]["metrics"]["test/top1"] == 92.5
    assert first["baseline"]["run_id"] == twin
    assert first["metrics"]["degradation/top1"] == 2.5
    assert first["metrics"]["degradation/top5"] == 0.0
    assert record_of(twin_of(tiny_settings(tmp_path)))["baseline_run_id"] is None


def test_the_command_in_the_baselines_record_makes_the_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(tiny_settings(tmp_path))
    words = record_of(twin_of(tiny_settings(tmp_path)))["command"].split()
    assert words[:2] == ["python", "src/train.py"]
    train = FakeTrain()
    monkeypatch.setattr(train_run, "_train", train)
    monkeypatch.setattr(sys, "argv", words[1:])
    assert run_entry(ROOT / "conf" / "train.yaml", train_command) == ExitCode.DONE
    assert train.calls == []
    assert "92.50" in capsys.readouterr().out


def test_a_run_can_start_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "start.safetensors"
    file.write_bytes(NO_WEIGHTS)
    monkeypatch.setenv("HOME", str(tmp_path))
    for number, typed in enumerate([str(file), f"~/{file.name}"]):
        train = FakeTrain()
        settings = tiny_settings(tmp_path / f"runs-{number}", quant__init="file", quant__init_file=typed)
        assert finish(settings, train)["baseline_run_id"]
        assert train.calls[1][2] == file


def test_a_start_that_is_not_weights_is_refused_before_the_baseline_is_trained(tmp_path: Path) -> None:
    file = tmp_path / "start.safetensors"
    file.write_bytes(b"not weights")
    train = FakeTrain()
    with pytest.raises(SettingsError, match=r"^quant\.init_file"):
        finish(tiny_settings(tmp_path / "runs", quant__init="file", quant__init_file=str(file)), train)
    assert train.calls == [] and not (tmp_path / "runs").exists()


def test_what_the_check_of_the_layers_refuses_is_refused_before_the_baseline_is_trained(tmp_path: Path) -> None:
    def check(settings: Settings) -> None:
        raise SettingsError("quant.include", rule="matches no layer")

    train = FakeTrain()
    with pytest.raises(SettingsError, match="matches no layer"):
        complete(tiny_settings(tmp_path / "runs"), "command", train, check=check)
    assert train.calls == [] and not (tmp_path / "runs").exists()
    # There is nothing to check in full precision.
    complete(full(tmp_path / "runs"), "command", train, check=check)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("data.root", rule="is gone"), ExitCode.BAD_SETTINGS),
        (StorageError("disk full"), ExitCode.STORAGE),
        (RunInterrupted("stopped"), ExitCode.INTERRUPTED),
        (ValueError("boom"), None),
    ],
)
def test_a_baseline_that_ends_ends_its_run_which_says_that_it_was_the_baseline(
    tmp_path: Path, error: Exception, code: ExitCode | None
) -> None:
    settings, train = tiny_settings(tmp_path), FakeTrain(none=error)
    with pytest.raises(type(error)) as raised:
        finish(settings, train)
    assert getattr(raised.value, "exit_code", None) == code
    assert train.trained == ["none"]
    twin, run = record_of(twin_of(settings)), record_of(settings)
    expected = "interrupted" if isinstance(error, RunInterrupted) else "failed"
    assert (twin["status"], run["status"]) == (expected, expected)
    assert twin["error"]["message"] == str(error)
    assert str(error) in run["error"]["message"]
    assert f"this happened in the baseline run {twin['run_id']}" in run["error"]["message"]
    assert run["seconds"] == 0
    # Both go on.
    assert finish(settings, train)["status"] == "finished"
    assert train.trained == ["none", "none", "tga"]


def test_a_baseline_that_diverged_fails_its_run_and_says_so(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    for train in (FakeTrain(none=DivergedError("loss is nan")), FakeTrain()):
        with pytest.raises(BaselineDivergedError, match="loss is nan") as error:
            finish(settings, train)
        assert error.value.exit_code == ExitCode.DIVERGED
        assert "baseline.overrides" in str(error.value)
        run = record_of(settings)
        assert (run["status"], run["error"]["type"]) == ("failed", "BaselineDivergedError")
        assert record_of(twin_of(settings))["run_id"] in run["error"]["message"]
        assert "tga" not in train.trained
    assert record_of(twin_of(settings))["status"] == "diverged"


def test_the_seconds_of_a_run_are_without_its_baselines(tmp_path: Path, clock: FakeTime) -> None:
    train = FakeTrain()
    train.seconds = {"none": 0.3, "tga": 0.02}
    settings = tiny_settings(tmp_path)
    run = finish(settings, train)
    assert record_of(twin_of(settings))["seconds"] == 0.3
    assert run["seconds"] == 0.02


def test_another_baseline_can_be_named(tmp_path: Path) -> None:
    other = full(tmp_path, optim__lr=0.3)
    finish(other)
    train = FakeTrain()
    run = finish(tiny_settings(tmp_path, baseline__run=run_id(other)[-10:], quant__init="baseline"), train)
    assert run["baseline_run_id"] == run_id(other)
    assert train.calls == [("tga", run["run_id"], run_directory(tmp_path, run_id(other)).weights_file)]


def unfinished(runs: Path) -> str:
    with pytest.raises(ValueError, match="boom"):
        finish(full(runs), FakeTrain(none=ValueError("boom")))
    return run_id(full(runs))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda runs: "nothing", "there is no such run"),
        (lambda runs: finish(tiny_settings(runs, seed=5))["run_id"], "it is quantized"),
        (
            lambda runs: finish(full(runs, model={"name": "resnet20"}))["run_id"],
            r"its model\.name is resnet20, not tiny",
        ),
        (lambda runs: finish(full(runs, data={"name": "mnist"}))["run_id"], r"its data\.name is mnist, not digits"),
        (lambda runs: finish(full(runs, seed=7))["run_id"], "its seed is 7, not 0"),
        (lambda runs: finish(full(runs, data__limit_train=64))["run_id"], r"its data\.limit_train is 64, not 96"),
        (unfinished, "it is failed"),
    ],
    ids=["unknown", "quantized", "other model", "other data", "other seed", "fewer images", "failed"],
)
def test_a_run_that_cannot_be_the_baseline_is_refused_before_anything_is_written(
    tmp_path: Path, make: Callable[[Path], str], words: str
) -> None:
    name = make(tmp_path)
    before = sorted(tmp_path.iterdir())
    train = FakeTrain()
    with pytest.raises(SettingsError, match=words) as error:
        finish(tiny_settings(tmp_path, baseline__run=name), train)
    assert str(error.value).startswith(f"baseline.run = {name}:")
    assert error.value.exit_code == ExitCode.BAD_SETTINGS
    assert train.calls == [] and sorted(tmp_path.iterdir()) == before


def test_overrides_that_make_it_no_twin_are_refused(tmp_path: Path) -> None:
    train = FakeTrain()
    with pytest.raises(SettingsError, match=r"^baseline\.overrides.*its seed is 1, not 0"):
        finish(tiny_settings(tmp_path / "runs", baseline__overrides=["seed=1"]), train)
    assert train.calls == [] and not (tmp_path / "runs").exists()
    settings = tiny_settings(tmp_path / "runs", baseline__overrides=["optim.lr=0.3", "trainer.max_epochs=0"])
    assert finish(settings, train)["baseline"]["epochs"] == 0


@pytest.mark.parametrize("finish_it", [True, False])
def test_a_baseline_that_another_process_trains_is_waited_for(
    tmp_path: Path, finish_it: bool, clock: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    settings, train = tiny_settings(tmp_path), FakeTrain()
    twin = run_directory(tmp_path, run_id(twin_of(settings)))
    mine, theirs = FORK_SERVER.Pipe()
    child = FORK_SERVER.Process(target=hold, args=(twin.path, theirs, finish_it), daemon=True)
    child.start()
    assert mine.recv() == "held"

    def end_at_the_third_look() -> None:
        looks.append(clock.now)
        if len(looks) == 3:
            mine.send("go")
            child.join()

    looks: list[float] = []
    clock.asleep = end_at_the_third_look
    with caplog.at_level("INFO", logger="ternlab"):
        run = finish(settings, train)
    assert len(looks) >= 3
    assert train.trained == (["tga"] if finish_it else ["none", "tga"])
    assert run["metrics"]["baseline/top1"] == (91.0 if finish_it else 92.5)
    assert caplog.text.count(f"is held by process {child.pid}") == 1
    # The waiting was not its training.
    assert clock.now > 0
    assert run["seconds"] == 0


def test_a_signal_ends_the_waiting(tmp_path: Path, clock: FakeTime) -> None:
    settings, train = tiny_settings(tmp_path), FakeTrain()
    twin = run_directory(tmp_path, run_id(twin_of(settings)))
    mine, theirs = FORK_SERVER.Pipe()
    child = FORK_SERVER.Process(target=hold, args=(twin.path, theirs, False), daemon=True)
    child.start()
    assert mine.recv() == "held"
    clock.asleep = lambda: os.kill(os.getpid(), signal.SIGTERM)
    with StopRequest() as stop, pytest.raises(RunInterrupted, match="SIGTERM"):
        complete(settings, "command", train, stop)
    mine.send("go")
    child.join(LONG)
    assert train.calls == []
    assert record_of(settings)["status"] == "interrupted"


def test_a_run_that_another_process_trains_is_refused_and_its_record_left(tmp_path: Path) -> None:
    settings, train = full(tmp_path), FakeTrain()
    path = run_directory(tmp_path, run_id(settings)).path
    mine, theirs = FORK_SERVER.Pipe()
    child = FORK_SERVER.Process(target=hold, args=(path, theirs, True), daemon=True)
    child.start()
    assert mine.recv() == "held"
    with pytest.raises(RunHeldError, match=f"process {child.pid} "):
        finish(settings, train)
    write_record(path / "record.json", {"status": "running"})
    with pytest.raises(RunHeldError):
        finish(full(tmp_path, force=True), train)
    assert train.calls == []
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    mine.send("go")
    child.join(LONG)
    finish(settings, train)
    assert train.calls == []
