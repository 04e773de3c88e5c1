"""`python src/train.py` from the outside."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ternlab.core.errors import ExitCode
from ternlab.runs.record import Record
from tests.commands import run_command
from tests.commands.run_command import LONG, TINY, stop, wait_for
from tests.commands.warm_command import run, start
from tests.made_once import made_once
from tests.reports.made_runs import make_run

QUANTIZED = ("quant=tga", *TINY)
FULL = ("quant=none", *(argument for argument in TINY if not argument.startswith("quant.")))
SLOW = {"TINY_SECONDS": "0.3"}


def records(folder: Path) -> dict[str, Record]:
    """Return the records below `folder` by quantizer."""
    found = [json.loads(path.read_text()) for path in (folder / "logs" / "runs").glob("*/record.json")]
    return {record["quant"]: record for record in found if "aside" not in record["run_id"]}


def weights(folder: Path, quantizer: str) -> dict[str, torch.Tensor]:
    """Return the final weights of the only run with this quantizer."""
    (path,) = (folder / "logs" / "runs").glob(f"*-{quantizer}-*/model.safetensors")
    return load_file(path)


def assert_same(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Compare bit for bit."""
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], expected[name]) for name in expected)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the quantized run and its baseline are finished."""

    def train_in(folder: Path) -> None:
        code, _, err = run_command.run(folder, *QUANTIZED)
        assert code == ExitCode.DONE, err

    return made_once(tmp_path_factory, "trained", train_in)


def test_the_table_is_printed_where_its_characters_do_not_exist(finished: Path) -> None:
    # In so few columns the table needs an ellipsis.
    code, out, err = run_command.run(finished, *QUANTIZED, COLUMNS="24", PYTHONIOENCODING="ascii")
    assert code == ExitCode.DONE, err
    assert "?" in out and out.isascii()


def test_a_run_leaves_a_whole_record_and_its_baseline(finished: Path) -> None:
    found = records(finished)
    quantized, baseline = found["tga"], found["none"]
    keys = "run_id status command seed metrics baseline_run_id started finished seconds versions git host error"
    assert set(keys.split()) <= quantized.keys()
    assert quantized["status"] == baseline["status"] == "finished"
    assert quantized["baseline_run_id"] == baseline["run_id"]
    metrics = quantized["metrics"]
    assert metrics["baseline/top1"] == baseline["metrics"]["test/top1"]
    assert metrics["degradation/top1"] == metrics["baseline/top1"] - metrics["test/top1"]
    assert metrics["degradation/top5"] == metrics["baseline/top5"] - metrics["test/top5"]
    assert metrics["compression/ratio"] > 1
    assert quantized["command"].startswith("python ")
    assert "hydra." not in quantized["command"]
    left = quantized["facts"]["full_precision"]
    # BatchNorm and the bias of the last layer.
    assert (left["weights"], left["others"]) == ({}, 4 * 8 + 10)
    assert left["share"] == left["parameters"] / quantized["facts"]["parameters"]
    assert baseline["facts"]["full_precision"]["share"] == 1


def test_a_finished_run_is_answered_with_its_table(finished: Path) -> None:
    before = records(finished)
    code, out, err = run(finished, *QUANTIZED)
    assert code == ExitCode.DONE
    assert "already finished" in err
    assert "degradation, top-1" in out
    assert records(finished) == before


def test_a_finished_run_is_answered_without_torch(tmp_path: Path) -> None:
    # No plugin, which would import it.
    made = make_run(tmp_path / "logs" / "runs", {"test/top1": 90.0, "test/top5": 99.0, "size/float_bytes": 4e6})
    again = ("--config-path", str(made.path), "--config-name", "config")
    code, out, err = run_command.run(tmp_path, *again, PYTHONPROFILEIMPORTTIME="1")
    assert code == ExitCode.DONE, err
    assert "already finished" in err and "90.00 %" in out
    imported = {line.rpartition("|")[2].strip() for line in err.splitlines() if line.startswith("import time:")}
    assert "hydra" in imported
    assert not {"torch", "pytorch_lightning", "wandb"} & imported


def test_the_command_of_the_baselines_record_makes_the_same_run(finished: Path) -> None:
    baseline = records(finished)["none"]
    words = baseline["command"].split()
    assert words[:2] == ["python", "src/train.py"]
    code, _, err = run(finished, *words[2:])
    assert code == ExitCode.DONE, err
    assert "already finished" in err


def test_the_log_file_has_no_advice_of_libraries(finished: Path) -> None:
    for path in (finished / "logs" / "runs").glob("*/log.txt"):
        lines = path.read_text().splitlines()
        assert any(" ternlab.training.fit: " in line for line in lines)
        assert not [line for line in lines if " INFO " in line and " ternlab." not in line]


def test_no_folder_named_by_the_time_of_day_appears(finished: Path) -> None:
    assert sorted(path.name for path in finished.iterdir()) == ["logs"]


def test_kill_9_at_random_moments_ends_with_the_weights_of_an_uninterrupted_run(finished: Path, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    arguments = (*QUANTIZED, "checkpoint.every_steps=1")
    for quantizer in ("none", "tga"):
        process = start(tmp_path, *arguments, **SLOW)
        wait_for(tmp_path, f"*-{quantizer}-*/checkpoints/*.json")
        time.sleep(moments.uniform(0, 1.2))
        stop(process, signal.SIGKILL)
    code, _, err = run(tmp_path, *arguments)
    assert code == ExitCode.DONE, err
    for quantizer in ("none", "tga"):
        assert_same(weights(tmp_path, quantizer), weights(finished, quantizer))
        kept = ("metrics", "facts")
        got, expected = records(tmp_path)[quantizer], records(finished)[quantizer]
        assert {key: _timeless(got[key]) for key in kept} == {key: _timeless(expected[key]) for key in kept}


def _timeless(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != "peak_memory_bytes"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_a_signal_saves_and_exits_with_5_and_the_same_command_goes_on(
    number: int, finished: Path, tmp_path: Path
) -> None:
    process = start(tmp_path, *FULL, **SLOW)
    wait_for(tmp_path, "*/checkpoints/*.json")
    code, _, err = stop(process, number)
    assert code == ExitCode.INTERRUPTED
    assert "re-run the same command" in err
    assert records(tmp_path)["none"]["status"] == "interrupted"
    code, _, err = run(tmp_path, *FULL)
    assert code == ExitCode.DONE
    assert "resuming from step" in err
    assert_same(weights(tmp_path, "none"), weights(finished, "none"))
    assert [attempt["status"] for attempt in records(tmp_path)["none"]["attempts"]] == ["interrupted", "finished"]


def test_a_second_process_says_who_holds_the_run_and_a_dead_one_is_taken_over(tmp_path: Path) -> None:
    first = start(tmp_path, *FULL, **SLOW)
    wait_for(tmp_path, "*/config.yaml")
    code, _, err = run(tmp_path, *FULL)
    assert code == ExitCode.HELD
    assert f"held by process {first.pid}" in err
    assert "Traceback" not in err
    stop(first, signal.SIGKILL)
    code, _, err = run(tmp_path, *FULL)
    assert code == ExitCode.DONE, err


def test_force_starts_afresh_and_keeps_the_old(tmp_path: Path) -> None:
    assert run(tmp_path, *FULL)[0] == ExitCode.DONE
    code, _, err = run(tmp_path, *FULL, "force=true")
    assert code == ExitCode.DONE
    assert "previous run moved to" in err
    folders = sorted(path.name for path in (tmp_path / "logs" / "runs").iterdir())
    assert len(folders) == 2
    assert ".aside-" in folders[1]


def test_a_diverging_run_stops_with_4_and_keeps_its_last_good_checkpoint(tmp_path: Path) -> None:
    arguments = (*FULL, "optim.lr=1e30", "checkpoint.every_steps=1")
    code, _, err = run(tmp_path, *arguments)
    assert code == ExitCode.DIVERGED
    assert "no longer finite" in err
    assert "optim.lr" in err
    record = records(tmp_path)["none"]
    assert record["status"] == "diverged"
    checkpoints = list((tmp_path / "logs" / "runs" / record["run_id"] / "checkpoints").glob("*.ckpt"))
    for path in checkpoints:
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())
    code, _, err = run(tmp_path, *arguments)
    assert code == ExitCode.DIVERGED
    assert "has already diverged" in err


@pytest.mark.slow
def test_two_processes_train_with_the_same_thresholds_on_both(tmp_path: Path) -> None:
    # Its baseline in one: that two train in full precision is seen below.
    baseline = "baseline.overrides=['trainer.devices=1']"
    code, _, err = run(tmp_path, *QUANTIZED, "trainer.devices=2", "checkpoint.every_steps=2", baseline)
    assert code == ExitCode.DONE, err
    quantized = records(tmp_path)["tga"]
    assert quantized["facts"]["world_size"] == 2
    assert quantized["facts"]["threads"]["waiting"] == "passive"
    assert quantized["facts"]["thresholds_agree"] is True
    assert quantized["metrics"]["degradation/top1"] == pytest.approx(
        quantized["metrics"]["baseline/top1"] - quantized["metrics"]["test/top1"]
    )


@pytest.mark.slow
def test_two_processes_resume_after_the_parent_is_killed(tmp_path: Path) -> None:
    arguments = (*FULL, "trainer.devices=2", "checkpoint.every_steps=1")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    assert run(whole, *arguments)[0] == ExitCode.DONE
    process = start(killed, *arguments, **SLOW)
    wait_for(killed, "*/checkpoints/*.json")
    stop(process, signal.SIGKILL)
    # The processes of a killed parent save and leave by themselves; until then they hold the run.
    end = time.monotonic() + LONG
    while (result := run(killed, *arguments))[0] == ExitCode.HELD and time.monotonic() < end:
        time.sleep(0.5)
    code, _, err = result
    assert code == ExitCode.DONE, err
    assert_same(weights(killed, "none"), weights(whole, "none"))


@pytest.mark.slow
def test_two_processes_start_from_the_weights_of_the_baseline(tmp_path: Path) -> None:
    # The rate is so small that a step leaves every weight as it is.
    words = [word for word in QUANTIZED if not word.startswith(("quant.init", "optim.lr"))]
    own = ("quant.init=baseline", "optim.lr=1e-20", 'baseline.overrides=["optim.lr=0.05"]', "trainer.devices=2")
    code, _, err = run(tmp_path, *words, *own)
    assert code == ExitCode.DONE, err
    latent = {
        name.replace("parametrizations.weight.original", "weight"): w for name, w in weights(tmp_path, "tga").items()
    }
    assert torch.equal(latent["1.weight"], weights(tmp_path, "none")["1.weight"])
