"""ONNX files: weights as int8 integers (see `onnx_weights`) or in float32, BatchNorm folded, a dynamic batch size."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import ModelProto, helper
from torch import Tensor, nn

from ternlab.core.errors import SettingsError
from ternlab.core.files import write_bytes
from ternlab.export.folding import Inference, NotTraceableError, inference_network
from ternlab.export.onnx_weights import replace_weights
from ternlab.export.runtimes import INPUT, OUTPUT
from ternlab.models.outputs import LogitsOnly
from ternlab.quantizers.weights import entry_of, named_weight

_log = logging.getLogger(__name__)


def onnx_model(model: nn.Module, shape: tuple[int, int, int], *, integers: bool) -> ModelProto:
    """Return a quantized network in ONNX.

    Args:
        model: as `ternlab.quantize` made it.
        shape: channels, height and width of the images.
        integers: weights as int8 integers with their scales; else in float32.

    Raises:
        SettingsError: torch's exporter cannot trace the network.
    """
    inference = _folded_if_possible(model)
    proto = _exported(inference.network, shape)
    if integers and (missing := replace_weights(proto.graph, inference.codes, _entries(inference))):
        _log.warning(
            "Not stored as integers in the ONNX file, because inference does not use them or torch's exporter changed "
            "them: the weights of %s",
            ", ".join(missing),
        )
    onnx.checker.check_model(proto, full_check=True)
    return proto


def write_onnx(proto: ModelProto, path: Path, header: Mapping[str, Any]) -> int:
    """Write `proto` with `header` in its metadata; return the file's bytes."""
    helper.set_model_props(proto, {"ternlab": json.dumps(header, allow_nan=False)})
    data = proto.SerializeToString()
    write_bytes(path, data)
    return len(data)


def _folded_if_possible(model: nn.Module) -> Inference:
    try:
        return inference_network(model, fold=True)
    except NotTraceableError as error:
        _log.info("BatchNorm is not folded: %s", error.reason)
        return inference_network(model)


def _entries(inference: Inference) -> dict[str, str]:
    """Return what each quantized weight is called in the network's state, by its name."""
    modules = dict(inference.network.named_modules(remove_duplicate=False))
    found = {name: named_weight(modules, name) for name in inference.codes}
    return {name: entry_of(*place) for name, place in found.items() if place is not None}


def _exported(network: nn.Module, shape: tuple[int, int, int]) -> ModelProto:
    # Two images: a batch of one would be taken for a constant.
    images = torch.zeros(2, *shape)
    with torch.no_grad():
        if not isinstance(network(images), Tensor):
            network = LogitsOnly(network)
    try:
        program: Any = torch.onnx.export(
            network,
            (images,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        raise SettingsError(
            "format", value="onnx", rule=f"torch cannot export this network ({error})", instead="format=packed"
        ) from error
    buffer = io.BytesIO()
    program.save(buffer)
    proto = onnx.load_from_string(buffer.getvalue())
    # The exporter writes where in the source each operation came from, with paths of this machine.
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    return proto
