"""`python src/measure.py`: one table of accuracy, bytes and latency over all runtimes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ternlab.commands.measure import main as measure
from ternlab.core.cpu import cpu_of_record, this_cpu
from ternlab.core.errors import ExitCode
from ternlab.runs.directory import RunDirectory
from tests.commands.conftest import Files, Here
from tests.commands.run_command import run

MEASURE = "file/measure.yaml"


def runtimes() -> list[str]:
    """Return the names of all runtimes; OpenVINO computes in bfloat16 only where the CPU has instructions for it."""
    # In a process of its own: OpenVINO's threads and its arithmetic without denormal numbers would stay in this one.
    script = "import openvino; print(openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return [
        "torch float32",
        "torch bfloat16 channels_last",
        "onnxruntime float32",
        "openvino bfloat16" if "BF16" in done.stdout else "openvino float32",
        "onnxruntime int8",
        "openvino int8",
    ]


def quick(runs: RunDirectory) -> tuple[str, ...]:
    """Return settings that make a measurement short."""
    return (f"paths.runs={runs.path.parent}", "rounds=2", "batches=[1,3]", "images=64", "threads=1")


def test_every_runtime_has_accuracy_and_latency(files: Files, digits_run: RunDirectory, here: Here) -> None:
    code, out, err = here(MEASURE, measure, f"model={files.packed}", "json=true", *quick(digits_run))
    assert code == ExitCode.DONE, err
    found = json.loads(out.splitlines()[-1])
    assert [row["runtime"] for row in found["runtimes"]] == runtimes()
    accuracy = (digits_run.record() or {})["metrics"]["test/top1"]
    reference = found["runtimes"][0]
    assert reference["top1"] == pytest.approx(accuracy), "torch float32 is what the run was tested with"
    for row in found["runtimes"]:
        assert abs(row["top1"] - accuracy) < (2 if "int8" in row["runtime"] else 0.6), row["runtime"]
        for batch in ("1", "3"):
            latency = row["latency"][batch]
            assert 0 < latency["smallest"] <= latency["median"] <= latency["largest"]
        assert row["latency"]["1"]["speed"] > 0
    assert cpu_of_record(found) == this_cpu()
    differences = {row["runtime"]: row["difference"] for row in found["runtimes"]}
    assert differences["torch float32"] == 0
    assert differences["onnxruntime float32"] < 1e-4
    assert 1e-4 < differences["openvino int8"] < 0.5, "8 bits are no float32"


def test_the_file_is_described_with_its_bytes_and_the_bound(files: Files, digits_run: RunDirectory, here: Here) -> None:
    code, out, err = here(MEASURE, measure, f"model={files.packed}", "json=true", "limit_test=8", *quick(digits_run))
    assert code == ExitCode.DONE, err
    file = json.loads(out.splitlines()[-1])["file"]
    assert file["bytes"] == files.packed.stat().st_size
    assert file["run_id"] == digits_run.run_id
    assert 0 < file["entropy_bits_per_weight"] < file["bits_per_weight"] < 2


def test_a_full_precision_run_is_measured_beside(
    files: Files, digits_run: RunDirectory, baseline_run: RunDirectory, here: Here
) -> None:
    settings = (f"model={files.packed}", f"against={baseline_run.run_id}", "limit_test=8", *quick(digits_run))
    code, out, err = here(MEASURE, measure, *settings)
    assert code == ExitCode.DONE, err
    lines = out.splitlines()
    assert sum("(baseline)" in line for line in lines) == 2
    assert all(any(line.startswith(name) for line in lines) for name in runtimes())
    assert "bits per quantized weight" in out and "x smaller than float32" in out


@pytest.mark.slow
def test_the_command_as_a_process_measures_on_given_data(files: Files, tmp_path: Path) -> None:
    short = ("limit_test=8", "rounds=1", "batches=[2]", "images=8", "plugins=[tests.tiny]")
    code, out, err = run(tmp_path, f"model={files.packed}", "data={name: digits}", *short, script="measure.py")
    assert code == ExitCode.DONE, err
    assert "openvino int8" in out


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["model=nowhere.tern"], ["nowhere.tern", "cannot be read"]),
        (["model=PACKED", "paths.runs=nowhere"], ["data", "was exported from run", "paths.runs=FOLDER"]),
        (["model=PACKED", "data={name: cifar11}"], ["data.name = cifar11", "cifar10"]),
        (["model=PACKED", "data={name: digits}", "rounds=0"], ["rounds = 0"]),
        (["model=PACKED", "RUNS", "against=RUN"], ["against", "is quantized"]),
        (["model=ONNX", "data={name: digits}"], ["not a packed network"]),
    ],
)
def test_bad_input_is_answered_with_what_to_type_instead(
    typed: list[str], words: list[str], files: Files, digits_run: RunDirectory, here: Here
) -> None:
    names = {
        "PACKED": str(files.packed),
        "ONNX": str(files.onnx),
        "RUNS": f"paths.runs={digits_run.path.parent}",
        "RUN": digits_run.run_id,
    }
    for name, value in names.items():
        typed = [word.replace(name, value) for word in typed]
    code, _, err = here(MEASURE, measure, *typed)
    assert code == ExitCode.BAD_SETTINGS
    assert all(word in err for word in words), err
