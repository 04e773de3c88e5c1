"""The CPU, which timings and rounding depend on: its model, relevant instruction sets and limits on their use."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# With Linux's names, from narrowest to widest; the second row is for ARM.
INSTRUCTIONS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve"),
)
# Each makes a library use less than the CPU offers: torch, oneDNN (also under its former name) and MKL.
LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")

# macOS names.
_SYSCTL = {
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.AdvSIMD": "asimd",
    "hw.optional.neon": "asimd",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
}


@dataclass(frozen=True)
class Cpu:
    """A CPU.

    Attributes:
        model: its name, or the architecture if the system reports no name.
        flags: the entries of `INSTRUCTIONS` that it supports.
        limits: environment variables that make libraries use less than that, with their values.
    """

    model: str
    flags: tuple[str, ...]
    limits: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        limits = [f"limited by {name}={value}" for name, value in self.limits.items()]
        return f"{self.model} ({', '.join([*self.flags, *limits]) or 'no flags known'})"


def cpu_of_record(host: Any) -> Cpu | None:
    """Return the CPU in the `host` of a record; `None` if it is missing or unreadable, as in older records."""
    found = host.get("cpu") if isinstance(host, dict) else None
    if not isinstance(found, dict) or not isinstance(found.get("model"), str):
        return None
    flags, limits = found.get("flags"), found.get("limits")
    return Cpu(
        found["model"],
        tuple(map(str, flags)) if isinstance(flags, list) else (),
        {str(name): str(value) for name, value in limits.items()} if isinstance(limits, dict) else {},
    )


def this_cpu() -> Cpu:
    """Return the CPU of this machine, as far as the system reports it; never raises."""
    model, flags = _found(platform.system())
    limits = {name: os.environ[name] for name in LIMITS if os.environ.get(name)}
    return Cpu(model or platform.machine() or "unknown", flags, limits)


@functools.cache
def _found(system: str) -> tuple[str, tuple[str, ...]]:
    try:
        if system == "Linux":
            return from_cpuinfo(Path("/proc/cpuinfo").read_text(errors="replace"))
        if system == "Darwin":
            return from_sysctl(_sysctl())
    except (OSError, subprocess.SubprocessError):
        return "", ()
    return platform.processor(), ()


def from_cpuinfo(text: str) -> tuple[str, tuple[str, ...]]:
    """Return model (empty if unknown) and flags from the text of Linux's `/proc/cpuinfo`.

    Linux reports the same flags for all cores: those that a program can use on every core.
    """
    values = _values(text)
    # x86 has "flags"; ARM has "Features" and usually no model name.
    return values.get("model name", ""), _known(values.get("flags", values.get("Features", "")).split())


def from_sysctl(text: str) -> tuple[str, tuple[str, ...]]:
    """Return model (empty if unknown) and flags from the macOS output of `sysctl machdep.cpu hw.optional`."""
    values = _values(text)
    return values.get("machdep.cpu.brand_string", ""), _known(
        [flag for name, flag in _SYSCTL.items() if values.get(name) == "1"]
    )


def _sysctl() -> str:
    done = subprocess.run(
        ["sysctl", "machdep.cpu", "hw.optional"], capture_output=True, text=True, errors="replace", timeout=20
    )
    return done.stdout


def _values(text: str) -> dict[str, str]:
    """Return the values of lines like `name : value`; for a repeated name, the first value."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    return found


def _known(flags: list[str]) -> tuple[str, ...]:
    return tuple(flag for flag in INSTRUCTIONS if flag in flags)
