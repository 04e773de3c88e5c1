"""One call for several runtimes: images in, logits out."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ternlab.core.errors import SettingsError

# Names of input and output in the ONNX files.
INPUT, OUTPUT = "images", "logits"

Images = NDArray[np.float32]
Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Runtime:
    """A network that is ready to run.

    Attributes:
        name: name of the runtime and its arithmetic (`openvino int8`).
        logits: takes normalised images, float32 (count, channels, size, size); returns (count, classes).
    """

    name: str
    logits: Callable[[Images], Logits]


def installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def need(package: str, setting: str, value: str) -> None:
    """Raise SettingsError when `package`, which a setting asks for, is not installed."""
    if not installed(package):
        raise SettingsError(
            setting, value=value, rule=f"{package} is not installed", instead="pip install 'ternlab[export]'"
        )


def torch_runtime(network: Any, *, bfloat16: bool, threads: int | None = None) -> Runtime:
    """Return a torch network, in float32 or in bfloat16 with channels_last."""
    import torch

    from ternlab.models.outputs import logits_of

    if threads is not None:
        torch.set_num_threads(threads)
    layout = torch.channels_last if bfloat16 else torch.contiguous_format
    network = network.eval().to(memory_format=layout)

    def logits(images: Images) -> Logits:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            batch = torch.from_numpy(images).to(memory_format=layout)
            found: Logits = logits_of(network(batch)).float().numpy()
        return found

    return Runtime("torch bfloat16 channels_last" if bfloat16 else "torch float32", logits)


def onnx_runtime(path: Path, name: str, threads: int | None = None) -> Runtime:
    """Return an ONNX file in ONNX Runtime, on the CPU.

    Raises:
        SettingsError: the runtime refuses the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have a class for each status and no common base
        raise _refused(path, "ONNX Runtime", error) from error

    def logits(images: Images) -> Logits:
        found: Logits = session.run(None, {INPUT: images})[0]
        return found

    return Runtime(f"onnxruntime {name}", logits)


def openvino_runtime(path: Path, name: str = "", *, bfloat16: bool = False, threads: int | None = None) -> Runtime:
    """Return an ONNX file in OpenVINO, on the CPU.

    Args:
        path: path of the file.
        name: name of its arithmetic; default: what OpenVINO says that it computes floating-point numbers in.
        bfloat16: ask for bfloat16. On a CPU without instructions for it, OpenVINO computes in float32 all the same.
        threads: threads of the runtime; `None` is its own choice.

    Raises:
        SettingsError: the runtime refuses the file.
    """
    hints: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        # By itself it would round the input of linear layers with integer weights to eight bits in any precision.
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    }
    if threads is not None:
        hints["INFERENCE_NUM_THREADS"] = threads
    try:
        compiled = openvino_core().compile_model(str(path), "CPU", hints)
    except RuntimeError as error:
        raise _refused(path, "OpenVINO", error) from error

    def logits(images: Images) -> Logits:
        found: Logits = np.array(compiled(images)[0])
        return found

    return Runtime(f"openvino {name or _arithmetic(compiled)}", logits)


@functools.cache
def openvino_core() -> Any:
    """Return the one `openvino.Core` of this process.

    OpenVINO's CPU plugin gives the thread that loads it a stack for signal handlers, and takes it back when the plugin
    is unloaded. Where a second core outlives the first, the thread is left with a stack that no longer exists, and the
    next signal ends the process. One core that stays loads the plugin once.
    """
    import openvino

    return openvino.Core()


def _arithmetic(compiled: Any) -> str:
    """Return what a compiled network computes in, which need not be what was asked for."""
    precision: str = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}.get(precision, precision)


def _refused(path: Path, runtime: str, error: Exception) -> SettingsError:
    words = " ".join(str(error).split())[:300]
    return SettingsError(
        "model", value=str(path), rule=f"{runtime} rejects the file ({words})", instead="export it again"
    )
