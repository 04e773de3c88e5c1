"""What tests of ONNX files share: the runtimes, torch's logits, the arrays in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from torch import nn

from ternlab.export.onnx_file import onnx_model, write_onnx
from ternlab.export.runtimes import onnx_runtime, openvino_runtime
from tests.export.digits_network import all_images

RUNTIMES = {"onnxruntime": onnx_runtime, "openvino": openvino_runtime}
HEADER = {"run_id": "a-run", "metrics": {"test/top1": 12.5}}


def logits_of(model: nn.Module) -> NDArray[np.float32]:
    """Return the logits of all test images in torch."""
    with torch.inference_mode():
        found: NDArray[np.float32] = model(all_images()[0]).numpy()
    return found


def save_onnx(model: nn.Module, path: Path, shape: tuple[int, int, int], header: Mapping[str, Any]) -> int:
    """Write a quantized network with integer weights and return the file's bytes."""
    return write_onnx(onnx_model(model, shape, integers=True), path, header)


def arrays(proto: ModelProto) -> dict[str, NDArray[Any]]:
    """Return the initializers by name."""
    return {entry.name: numpy_helper.to_array(entry) for entry in proto.graph.initializer}
