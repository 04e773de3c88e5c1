"""Selects the runtime for prediction: the fastest installed one that agrees with torch."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ternlab.core.errors import SettingsError
from ternlab.export.packed import load
from ternlab.export.runtimes import Images, Runtime, installed, need, onnx_runtime, openvino_runtime, torch_runtime
from ternlab.export.signature import ModelSignature

log = logging.getLogger(__name__)

CONVERSION_SECONDS = 12.0
"""Time that torch needs for all images from which converting a packed network pays.

Converting takes 4 to 8 s on one core, and the converted network takes 0.3 to 0.56 of torch's time (ResNet-18 at 224
pixels, ResNet-20 at 8 and 32): it pays from about 6 s / (1 - 0.5). A slower CPU needs longer for both.
"""
_TIMED_IMAGES = 4
AGREEMENT = 1e-4
"""Largest difference between a runtime's logits and torch's that `auto` accepts, over the largest logit."""
_RUNTIMES = ("openvino", "onnxruntime")


def runtime_for(
    about: ModelSignature, wanted: str, threads: int | None, images: Callable[[int], int | None]
) -> Runtime:
    """Return the runtime to predict with; `auto` logs its choice and the reason.

    Args:
        about: the file.
        wanted: `auto`, `torch`, `onnxruntime` or `openvino`.
        threads: threads of the runtime; `None` is its own choice.
        images: takes a number and returns the number of images, counted up to it; `None` if it is not
            known.

    Raises:
        SettingsError: the runtime is not installed, cannot run the file, or the network cannot be built.
    """
    if wanted not in ("auto", "torch"):
        need(wanted, "runtime", wanted)
    if about.onnx:
        return _of_onnx(about, wanted, threads)
    network = load(about.path)
    if wanted == "auto":
        return _of_packed(network, about, threads, images)
    return _torch(network, threads) if wanted == "torch" else _converted(network, about, wanted, threads)


def _of_onnx(about: ModelSignature, wanted: str, threads: int | None) -> Runtime:
    if wanted == "torch":
        raise SettingsError(
            "runtime", value="torch", rule="torch cannot run ONNX files", instead="runtime=auto, or a packed file"
        )
    name = next((name for name in _RUNTIMES if wanted in (name, "auto") and installed(name)), None)
    if name is None:
        raise SettingsError(
            "model",
            value=str(about.path),
            rule="is an ONNX file, and neither openvino nor onnxruntime is installed",
            instead="pip install 'ternlab[export]', or a packed file",
        )
    if wanted == "auto":
        why = "openvino is preferred" if name == "openvino" else "openvino is not installed"
        log.info("runtime: %s; the file is in ONNX, and %s (override with runtime=)", name, why)
    return _opened(about.path, name, threads)


def _of_packed(
    network: nn.Module, about: ModelSignature, threads: int | None, images: Callable[[int], int | None]
) -> Runtime:
    """Convert if there is enough to compute for it to pay off, and if the converted network agrees with torch."""
    plain = _torch(network, threads)
    name = next((name for name in _RUNTIMES if installed(name)), None)
    if name is None or not installed("onnx") or not installed("onnxscript"):
        return _said(plain, "the only installed runtime for a packed file")
    few = int(CONVERSION_SECONDS / seconds_per_image(plain, about.shape))
    count = images(few + 1)
    if count is None:
        return _said(plain, f"the number of images is unknown (runtime={name} is faster from about {few:,} images)")
    if count <= few:
        return _said(plain, f"converting to {name} would take longer than it saves (up to about {few:,} images)")
    try:
        faster = _converted(network, about, name, threads)
    except SettingsError as error:
        return _said(plain, f"the network cannot be converted ({str(error).splitlines()[0]})")
    if (difference := _difference(plain, faster, about.shape)) > AGREEMENT:
        return _said(plain, f"{name} differs by {difference:.1e} of the largest logit")
    return _said(faster, f"converted, which pays off above about {few:,} images")


def _said(runtime: Runtime, why: str) -> Runtime:
    log.info("runtime: %s; %s", runtime.name, why)
    return runtime


def _torch(network: nn.Module, threads: int | None) -> Runtime:
    return torch_runtime(network, bfloat16=False, threads=threads)


def _converted(network: nn.Module, about: ModelSignature, name: str, threads: int | None) -> Runtime:
    """Return a packed file's network in a runtime that takes ONNX."""
    for package in ("onnx", "onnxscript"):
        need(package, "runtime", name)
    # Deferred: optional packages.
    from ternlab.export.onnx_file import onnx_model, write_onnx

    proto = onnx_model(network, about.shape, integers=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(proto, path, {})
        return _opened(path, name, threads)


def _opened(path: Path, name: str, threads: int | None) -> Runtime:
    open_file: Any = openvino_runtime if name == "openvino" else onnx_runtime
    runtime: Runtime = open_file(path, "", threads=threads)
    return Runtime(name, runtime.logits)


def seconds_per_image(runtime: Runtime, shape: tuple[int, int, int]) -> float:
    """Return the time of one image in a small batch, after a first one that is not timed."""
    images: Images = np.zeros((_TIMED_IMAGES, *shape), dtype=np.float32)
    runtime.logits(images)
    began = time.perf_counter()
    runtime.logits(images)
    return (time.perf_counter() - began) / _TIMED_IMAGES


def _difference(plain: Runtime, other: Runtime, shape: tuple[int, int, int]) -> float:
    images: Images = np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32)
    expected = plain.logits(images)
    return float(np.abs(other.logits(images) - expected).max() / max(np.abs(expected).max(), 1e-30))
