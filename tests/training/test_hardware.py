"""Arithmetic by machine: what is set is kept, and `auto` says why."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ternlab.core.errors import SettingsError
from ternlab.settings.trainer import TrainerSettings
from ternlab.training.hardware import choose, cpu_default


@pytest.mark.parametrize(
    ("capabilities", "precision", "words"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "bf16-mixed", "AMX"),
        ({"amx_bf16": True}, "bf16-mixed", "AMX"),
        ({"amx_bf16": False, "avx512_bf16": True}, "bf16-mixed", "AVX-512 bfloat16"),
        ({"amx_bf16": False, "avx512_bf16": False, "avx512_f": True, "avx2": True}, "32", "without bfloat16"),
        ({}, "32", "without bfloat16"),
    ],
)
def test_bfloat16_where_the_cpu_has_instructions_for_it(
    capabilities: dict[str, bool], precision: str, words: str
) -> None:
    chosen, reason = cpu_default(capabilities)
    assert chosen == precision
    assert words in reason
    assert reason.startswith("CPU ")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes this a CPU machine with these capabilities."""

    def make(**capabilities: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)

    return make


@pytest.mark.parametrize("capable", [False, True])
@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_a_precision_that_is_set_is_kept_on_every_machine(machine: Any, capable: bool, precision: str) -> None:
    machine(avx512_bf16=capable)
    choice = choose(TrainerSettings(precision=precision))
    assert (choice.precision, choice.reason, choice.device) == (precision, "as set", "cpu")


def test_auto_takes_the_machines_choice_and_its_reason(machine: Any) -> None:
    machine(avx512_bf16=True)
    choice = choose(TrainerSettings())
    assert (choice.precision, choice.reason) == cpu_default({"avx512_bf16": True})
    machine(avx512_bf16=False)
    assert choose(TrainerSettings()).precision == "32"


@pytest.mark.parametrize(("given", "expected"), [("auto", True), (True, True), (False, False)])
def test_the_memory_format_is_channels_last_unless_it_is_refused(machine: Any, given: Any, expected: bool) -> None:
    machine()
    assert choose(TrainerSettings(channels_last=given)).channels_last is expected


def test_a_gpu_that_is_not_there_is_refused(machine: Any) -> None:
    machine()
    with pytest.raises(SettingsError, match="trainer=cpu"):
        choose(TrainerSettings(accelerator="gpu"))


def gpus(monkeypatch: pytest.MonkeyPatch, count: int, *, bfloat16: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bfloat16)


@pytest.mark.parametrize(("bfloat16", "precision"), [(True, "bf16-mixed"), (False, "32")])
def test_a_gpu_is_taken_when_there_is_one_and_named(
    monkeypatch: pytest.MonkeyPatch, bfloat16: bool, precision: str
) -> None:
    gpus(monkeypatch, 1, bfloat16=bfloat16)
    choice = choose(TrainerSettings())
    assert (choice.device, choice.precision) == ("cuda", precision)
    assert "Some GPU" in choice.reason
    assert choose(TrainerSettings(accelerator="cpu")).device == "cpu"


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 2, bfloat16=True)
    assert choose(TrainerSettings(devices=2)).device == "cuda"
    with pytest.raises(SettingsError, match=r"trainer\.devices=2"):
        choose(TrainerSettings(devices=3))
