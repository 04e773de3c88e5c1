"""Precision, memory format and threads for this machine, with the reason for each choice."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ternlab.core.errors import SettingsError
from ternlab.core.wait_policy import wait_policy
from ternlab.settings.trainer import TrainerSettings


@dataclass(frozen=True)
class Choice:
    """How the computation is done.

    Attributes:
        device: `cpu` or `cuda`.
        precision: `32` or `bf16-mixed`.
        channels_last: whether images and weights use the channels_last memory format.
        reason: the reason, for the header of the run.
    """

    device: str
    precision: str
    channels_last: bool
    reason: str


@dataclass(frozen=True)
class Threads:
    """The CPU threads of a process.

    Attributes:
        count: torch's thread count.
        waiting: how they wait for each other: `passive`, `default`, or the variables that the user has set.
        reason: the reason, for the header of the run.
    """

    count: int
    waiting: str
    reason: str


def threads_here() -> Threads:
    """Return the current thread configuration of this process."""
    return Threads(torch.get_num_threads(), *wait_policy(os.environ))


def choose(trainer: TrainerSettings) -> Choice:
    """Return how a run computes: as set, or the best choice for this machine where the settings say `auto`.

    The measurements behind the defaults are in docs/benchmarks.md.

    Raises:
        SettingsError: the settings ask for GPUs that do not exist.
    """
    cuda = trainer.accelerator != "cpu" and torch.cuda.is_available()
    _check_devices(trainer, cuda)
    precision, reason = _cuda_default() if cuda else cpu_default(torch.cpu.get_capabilities())
    if trainer.precision != "auto":
        precision, reason = trainer.precision, "as set"
    channels_last = trainer.channels_last is not False
    return Choice("cuda" if cuda else "cpu", precision, channels_last, reason)


def _check_devices(trainer: TrainerSettings, cuda: bool) -> None:
    if trainer.accelerator == "gpu" and not cuda:
        raise SettingsError(
            "trainer.accelerator", value="gpu", rule="torch finds no CUDA device here", instead="trainer=cpu"
        )
    if cuda and trainer.devices > torch.cuda.device_count():
        raise SettingsError(
            "trainer.devices",
            value=trainer.devices,
            rule=f"this machine has {torch.cuda.device_count()} CUDA devices",
            instead=f"trainer.devices={torch.cuda.device_count()}",
        )


def cpu_default(capabilities: Mapping[str, Any]) -> tuple[str, str]:
    """Return precision and reason for a CPU with these capabilities (see `torch.cpu.get_capabilities`)."""
    if capabilities.get("amx_bf16"):
        return "bf16-mixed", "CPU with AMX, which multiplies bfloat16 in tiles"
    if capabilities.get("avx512_bf16"):
        return "bf16-mixed", "CPU with AVX-512 bfloat16 instructions, twice as fast as float32"
    return "32", "CPU without bfloat16 instructions"


def _cuda_default() -> tuple[str, str]:
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16-mixed", f"{torch.cuda.get_device_name()} has bfloat16"
    return "32", f"{torch.cuda.get_device_name()} has no bfloat16"
