"""The CPU, on which timings and rounding depend: its model, the instruction sets that matter, what limits their use."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Named as Linux names them, from the narrowest to the widest; the second row is of ARM.
INSTRUCTIONS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve"),
)
# Each lets a library use less than the CPU has: of torch, oneDNN (also by its former name) and MKL.
LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")

# Names of macOS.
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
        model: its name; the architecture where the system tells no name.
        flags: those of `INSTRUCTIONS` that it has.
        limits: variables of the environment that let libraries use less than that, with their values.
    """

    model: str
    flags: tuple[str, ...]
    limits: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        limits = [f"limited by {name}={value}" for name, value in self.limits.items()]
        return f"{self.model} ({', '.join([*self.flags, *limits]) or 'no flags known'})"


def cpu_of_record(host: Any) -> Cpu | None:
    """Return the CPU in the `host` of a record; `None` where it is not there or not readable, as in older records."""
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
    """Return the CPU of this machine, as far as the system tells; never raises."""
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
    """Return model (empty: not told) and flags from the text of Linux's `/proc/cpuinfo`.

    Linux shows the same flags for all cores: those that any program may use on each of them.
    """
    values = _values(text)
    # x86 has "flags", ARM has "Features" and mostly no name.
    return values.get("model name", ""), _known(values.get("flags", values.get("Features", "")).split())


def from_sysctl(text: str) -> tuple[str, tuple[str, ...]]:
    """Return model (empty: not told) and flags from what macOS prints for `sysctl machdep.cpu hw.optional`."""
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
    """Return the values of lines such as `name : value`; of a name that is there often, the first."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    return found


def _known(flags: list[str]) -> tuple[str, ...]:
    return tuple(flag for flag in INSTRUCTIONS if flag in flags)
