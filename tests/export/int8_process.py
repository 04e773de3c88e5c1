"""Logits of int8 files in OpenVINO, in a process of its own: `IMAGES.npy LOGITS.npz FILE...`.

Prints the kernels of the convolutions, so that a test sees that a limit of instructions was obeyed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ternlab.export.runtimes import openvino_core, openvino_runtime


def kernels(path: str) -> list[str]:
    """Return the kernels of the convolutions by the names that OpenVINO gives them."""
    network = openvino_core().compile_model(path, "CPU")
    facts = [operation.get_rt_info() for operation in network.get_runtime_model().get_ordered_ops()]
    return [str(each["primitiveType"].value) for each in facts if each["layerType"].value == "Convolution"]


if __name__ == "__main__":
    images, target, *files = sys.argv[1:]
    pixels = np.load(images)
    np.savez(target, *(openvino_runtime(Path(file), "", threads=1).logits(pixels) for file in files))
    print(*(kernel for file in files for kernel in kernels(file)))
