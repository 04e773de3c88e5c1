"""What is told of the CPU: against torch's own detection here, and from the texts of other machines."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ternlab.core import cpu
from ternlab.core.cpu import LIMITS, Cpu, cpu_of_record, from_cpuinfo, from_sysctl, this_cpu

XEON = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8480+
flags\t\t: fpu sse2 avx avx2 avx512f avx512dq avx_vnni avx512_bf16 amx_bf16 avx512_vnni amx_tile amx_int8

processor\t: 1
model name\t: Another
flags\t\t: fpu
"""
GRAVITON = """processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd evtstrm aes asimddp sve i8mm bf16 svebf16
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""
INTEL_MAC = "machdep.cpu.brand_string: Intel(R) Core(TM) i7\nhw.optional.avx2_0: 1\nhw.optional.avx512f: 0\n"
APPLE = """machdep.cpu.brand_string: Apple M2
hw.optional.neon: 1
hw.optional.AdvSIMD: 1
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_BF16: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_SME: 0
"""


def test_an_xeon_with_everything() -> None:
    model, flags = from_cpuinfo(XEON)
    assert model == "Intel(R) Xeon(R) Platinum 8480+"
    assert set(flags) == {
        *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"),
    }


def test_arm_has_features_and_no_name() -> None:
    model, flags = from_cpuinfo(GRAVITON)
    assert model == ""
    # Whole words: svebf16 is another one.
    assert set(flags) == {"asimd", "asimddp", "i8mm", "bf16", "sve"}


def test_macs() -> None:
    assert from_sysctl(INTEL_MAC) == ("Intel(R) Core(TM) i7", ("avx2",))
    assert from_sysctl(APPLE) == ("Apple M2", ("asimd", "asimddp", "i8mm", "bf16"))


@given(st.text())
def test_no_text_is_too_odd(text: str) -> None:
    for model, flags in (from_cpuinfo(text), from_sysctl(text)):
        assert isinstance(model, str) and set(flags) <= set(cpu.INSTRUCTIONS)


@pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() != "x86_64", reason="compares with what torch finds on x86"
)
def test_torch_finds_the_same_here() -> None:
    capable = torch.cpu.get_capabilities()
    names = {"avx512f": "avx512_f"}
    flags = [flag for flag in cpu.INSTRUCTIONS if flag.startswith(("avx", "amx"))]
    expected = {flag for flag in flags if capable[names.get(flag, flag)]}
    assert set(this_cpu().flags) == expected


@pytest.fixture
def fresh() -> Any:
    """Forget what was found before, and again afterwards."""
    cpu._found.cache_clear()
    yield
    cpu._found.cache_clear()


@pytest.mark.parametrize("system", ["Linux", "Darwin", "Windows", ""])
def test_a_system_that_tells_nothing_still_has_a_name(system: str, fresh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError

    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(subprocess, "run", refuse)
    found = this_cpu()
    assert (found.model, found.flags) == ("riscv64", ())
    assert str(found) == "riscv64 (no flags known)"


def test_what_limits_the_libraries_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LIMITS:
        monkeypatch.delenv(name, raising=False)
    whole = this_cpu()
    assert whole.limits == {} and "limited" not in str(whole)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    limited = this_cpu()
    assert limited.limits == {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    assert limited.flags == whole.flags
    assert str(limited).endswith("limited by ATEN_CPU_CAPABILITY=default, limited by ONEDNN_MAX_CPU_ISA=AVX2)")


def test_a_cpu_comes_back_from_a_record() -> None:
    whole = Cpu("Name", ("avx2", "avx512f"), {"ATEN_CPU_CAPABILITY": "avx2"})
    host = json.loads(json.dumps({"name": "here", "cpu": asdict(whole)}))
    assert cpu_of_record(host) == whole


@pytest.mark.parametrize(
    "host", [None, "here", {}, {"cpu": None}, {"cpu": "x"}, {"cpu": {}}, {"cpu": {"model": 3, "flags": []}}]
)
def test_records_without_a_cpu_have_none(host: Any) -> None:
    assert cpu_of_record(host) is None


def test_half_a_cpu_in_a_record_is_what_it_is() -> None:
    assert cpu_of_record({"cpu": {"model": "Name", "flags": "avx2", "limits": []}}) == Cpu("Name", ())


def test_it_is_told_without_torch() -> None:
    script = "import sys; from ternlab.runs.provenance import host; host(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
