"""Measures accuracy, bytes and latency of a packed network in every installed runtime."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ternlab.core.cpu import this_cpu
from ternlab.core.errors import SettingsError
from ternlab.data.module import ImageDataModule
from ternlab.export.accounting import entropy
from ternlab.export.calibration import calibration_batches
from ternlab.export.info import info
from ternlab.export.measure_settings import MeasureSettings
from ternlab.export.packed import load, read_codes
from ternlab.export.runtimes import Images, Runtime, installed, onnx_runtime, openvino_runtime, torch_runtime
from ternlab.metrics.batch import Batch
from ternlab.metrics.classification import top1
from ternlab.quantizers.base import Codes

REFERENCE = "torch float32"


@dataclass(frozen=True)
class Latency:
    """Seconds of one batch.

    Attributes:
        median, smallest, largest: over the rounds.
        speed: median of the reference's seconds over these, round by round.
    """

    median: float
    smallest: float
    largest: float
    speed: float


@dataclass(frozen=True)
class Row:
    """One runtime.

    Attributes:
        runtime: its name and arithmetic.
        top1: on the test images, percent; `None` for the full-precision network measured for comparison.
        difference: largest |logit - reference's logit| over the largest |logit| of the test images.
        latency: by batch size.
    """

    runtime: str
    top1: float | None
    difference: float | None
    latency: dict[int, Latency]


def measure(
    path: Path, data: ImageDataModule, wanted: MeasureSettings, against: nn.Module | None = None
) -> dict[str, Any]:
    """Return what `src/measure.py` prints, as plain JSON values: `file`, `threads`, `cpu` and `runtimes`.

    Args:
        path: a packed file of a network that ternlab builds.
        data: the images, set up.
        wanted: batch sizes, rounds, threads.
        against: the same network in full precision, whose int8 form is timed for comparison.
    """
    about = info(path)
    network = load(path)
    _check_shape(about, data)
    shape = data.channels, data.size, data.size
    with tempfile.TemporaryDirectory() as folder:
        runtimes = list(_runtimes(network, shape, data, wanted, Path(folder)))
        beside = (
            [] if against is None else list(_int8(against, shape, data, wanted, Path(folder) / "full", " (baseline)"))
        )
        scored = _scored(runtimes, data.test_dataloader(), wanted.limit_test)
        timed = _timed([*runtimes, *beside], shape, wanted)
    rows = []
    for runtime in [*runtimes, *beside]:
        score, difference = scored.get(runtime.name, (None, None))
        rows.append(Row(runtime.name, score, difference, timed[runtime.name]))
    return {
        "file": _file(path, about),
        "threads": wanted.threads or torch.get_num_threads(),
        "cpu": asdict(this_cpu()),
        "runtimes": [asdict(row) for row in rows],
    }


def _file(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    found = read_codes(path).values()
    weights = about["weights"]
    # Of each plane by itself, as they are packed; the joint entropy of residual expansion is smaller.
    planes = [plane for codes in found for plane in codes.planes]
    bound = sum(entropy(Codes((plane,))) * plane.codes.numel() for plane in planes) / weights
    kept = ("run_id", "rule", "bytes", "ratio", "weights", "bits_per_weight")
    return {"path": str(path), **{key: about[key] for key in kept}, "entropy_bits_per_weight": bound}


def _runtimes(
    network: nn.Module, shape: tuple[int, int, int], data: ImageDataModule, wanted: MeasureSettings, folder: Path
) -> Iterator[Runtime]:
    yield torch_runtime(network, bfloat16=False, threads=wanted.threads)
    # A copy: the memory format of the first must not change.
    yield torch_runtime(load(wanted.model), bfloat16=True, threads=wanted.threads)
    if not installed("onnxscript"):
        return
    from ternlab.export.onnx_file import onnx_model, write_onnx

    path = folder / "float.onnx"
    write_onnx(onnx_model(network, shape, integers=False), path, {})
    if installed("onnxruntime"):
        yield onnx_runtime(path, "float32", wanted.threads)
    if installed("openvino"):
        yield openvino_runtime(path, bfloat16=True, threads=wanted.threads)
    yield from _int8(network, shape, data, wanted, folder, "")


def _int8(
    network: nn.Module,
    shape: tuple[int, int, int],
    data: ImageDataModule,
    wanted: MeasureSettings,
    folder: Path,
    suffix: str,
) -> Iterator[Runtime]:
    if not (installed("onnxscript") and installed("onnxruntime")):
        return
    from ternlab.export.integer import with_integer_activations
    from ternlab.export.onnx_file import onnx_model, write_onnx

    folder.mkdir(exist_ok=True)
    path = folder / "int8.onnx"
    batches = calibration_batches(data, wanted.images)
    write_onnx(
        with_integer_activations(onnx_model(network, shape, integers=False), batches, wanted.calibration), path, {}
    )
    yield onnx_runtime(path, f"int8{suffix}", wanted.threads)
    if installed("openvino"):
        yield openvino_runtime(path, f"int8{suffix}", threads=wanted.threads)


def _scored(
    runtimes: list[Runtime], batches: Iterable[tuple[Tensor, Tensor]], limit: int | None
) -> dict[str, tuple[float, float]]:
    """Return top-1 in percent and the largest difference from the first runtime, by name."""
    right = dict.fromkeys((runtime.name for runtime in runtimes), 0)
    apart = dict.fromkeys(right, 0.0)
    count, largest = 0, 0.0
    for images, labels in batches:
        left = len(labels) if limit is None else min(len(labels), limit - count)
        if left <= 0:
            break
        inputs: Images = np.ascontiguousarray(images[:left].numpy())
        reference = runtimes[0].logits(inputs)
        largest = max(largest, float(np.abs(reference).max()))
        count += left
        for runtime in runtimes:
            logits = runtime.logits(inputs)
            right[runtime.name] += int(top1(Batch(torch.from_numpy(logits), labels[:left])))
            apart[runtime.name] = max(apart[runtime.name], float(np.abs(logits - reference).max()))
    return {name: (100 * right[name] / count, apart[name] / largest) for name in right}


def _timed(
    runtimes: list[Runtime], shape: tuple[int, int, int], wanted: MeasureSettings
) -> dict[str, dict[int, Latency]]:
    """Time every runtime for every batch size, in turns."""
    found: dict[str, dict[int, Latency]] = {runtime.name: {} for runtime in runtimes}
    for batch in wanted.batches:
        images = np.random.default_rng(0).standard_normal((batch, *shape), dtype=np.float32)
        seconds: dict[str, list[float]] = {runtime.name: [] for runtime in runtimes}
        for runtime in runtimes:
            runtime.logits(images)
        for _ in range(wanted.rounds):
            for runtime in runtimes:
                seconds[runtime.name].append(_seconds(runtime, images))
        reference = seconds[runtimes[0].name]
        for name, own in seconds.items():
            speed = statistics.median(first / second for first, second in zip(reference, own, strict=True))
            found[name][batch] = Latency(statistics.median(own), min(own), max(own), speed)
    return found


def _seconds(runtime: Runtime, images: Images) -> float:
    """Return the seconds of one call, the second of two: the first brings its threads and memory back."""
    runtime.logits(images)
    started = time.perf_counter()
    runtime.logits(images)
    return time.perf_counter() - started


def _check_shape(about: dict[str, Any], data: ImageDataModule) -> None:
    architecture = about.get("architecture") or {}
    wanted = (architecture.get("channels"), architecture.get("size"), len(architecture.get("classes") or ()))
    found = (data.channels, data.size, len(data.classes))
    if wanted != found:
        raise SettingsError(
            "data",
            value=f"{found[0]} channels, {found[1]} pixels, {found[2]} classes",
            rule=f"the network expects {wanted[0]} channels, {wanted[1]} pixels and {wanted[2]} classes",
            instead="the data that it was trained on (data.image_size= sets the pixels)",
        )
