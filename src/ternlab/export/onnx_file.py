"""ONNX files: ternary weights as int8 integers with their scales, BatchNorm folded, a dynamic batch size.

Each weight is an int8 initializer followed by a DequantizeLinear with one scale per filter; residual expansion and two
scales (TTQ) are sums of several. Runtimes fold these into constants when they load the file.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from ternlab.core.errors import SettingsError
from ternlab.core.files import write_bytes
from ternlab.export.folding import inference_network
from ternlab.export.runtimes import INPUT, OUTPUT
from ternlab.quantizers.base import Codes, Plane
from ternlab.quantizers.weights import entry_of, named_weight


def onnx_model(model: nn.Module, shape: tuple[int, int, int], *, integers: bool) -> ModelProto:
    """Return a quantized network in ONNX.

    Args:
        model: as `ternlab.quantize` made it.
        shape: channels, height and width of the images.
        integers: weights as int8 integers with their scales; else in float32.

    Raises:
        SettingsError: torch's exporter cannot trace the network.
    """
    inference = inference_network(model, fold=True)
    proto = _exported(inference.network, shape)
    if integers:
        modules = dict(inference.network.named_modules(remove_duplicate=False))
        for name, found in inference.codes.items():
            place = named_weight(modules, name)
            assert place is not None, name
            _replace_weight(proto, entry_of(*place), found)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def write_onnx(proto: ModelProto, path: Path, header: Mapping[str, Any]) -> int:
    """Write `proto` with `header` in its metadata; return the file's bytes."""
    helper.set_model_props(proto, {"ternlab": json.dumps(header, allow_nan=False)})
    data = proto.SerializeToString()
    write_bytes(path, data)
    return len(data)


def _exported(network: nn.Module, shape: tuple[int, int, int]) -> ModelProto:
    # Two images: a batch of one would be taken for a constant.
    images = torch.zeros(2, *shape)
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


def _replace_weight(proto: ModelProto, name: str, found: Codes) -> None:
    """Put integers and scales in the place of the initializer `name`."""
    graph = proto.graph
    kept = [initializer for initializer in graph.initializer if initializer.name != name]
    if len(kept) != len(graph.initializer) - 1:
        raise SettingsError(
            "format", value="onnx", rule=f"torch's exporter renamed the weight {name}", instead="format=packed"
        )
    nodes: list[NodeProto] = []
    terms: list[str] = []
    for number, (integers, scale) in enumerate(_terms(found)):
        stem = f"{name}.{number}"
        arrays, made = _dequantized(stem, integers, scale)
        kept += arrays
        nodes += made
        terms.append(made[-1].output[0])
    if len(terms) == 1:
        nodes[-1].output[0] = name
    else:
        nodes.append(helper.make_node("Sum", terms, [name], f"{name}.sum"))
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for node in reversed(nodes):
        graph.node.insert(0, node)


def _dequantized(
    stem: str, integers: NDArray[np.int8], scale: NDArray[np.float32]
) -> tuple[list[TensorProto], list[NodeProto]]:
    """Return the arrays and the nodes that compute integers times scale; the last node's output is the product."""
    codes, output = f"{stem}.codes", f"{stem}.effective"
    arrays = [_initializer(codes, integers)]
    if scale.ndim <= integers.ndim:
        # One scale for each filter, along the dimension of the filters.
        axis = max(range(scale.ndim), key=lambda dim: scale.shape[dim])
        arrays.append(_initializer(f"{stem}.scale", scale.reshape(-1)))
        return arrays, [helper.make_node("DequantizeLinear", [codes, f"{stem}.scale"], [output], stem, axis=axis)]
    # DequantizeLinear knows no groups, each of which has scales of its own along the second dimension.
    groups, _, *rest = scale.shape
    of_inputs = np.repeat(scale.reshape(groups, *rest), integers.shape[0] // groups, axis=0)
    arrays += [_initializer(f"{stem}.one", np.array(1, np.float32)), _initializer(f"{stem}.scale", of_inputs)]
    return arrays, [
        helper.make_node("DequantizeLinear", [codes, f"{stem}.one"], [f"{stem}.float"], stem),
        helper.make_node("Mul", [f"{stem}.float", f"{stem}.scale"], [output], f"{stem}.scaled"),
    ]


def _terms(found: Codes) -> Iterator[tuple[NDArray[np.int8], NDArray[np.float32]]]:
    """Yield (codes, scale of each filter) whose products add up to the weight."""
    for plane in found.planes:
        codes = plane.codes.cpu()
        if plane.negative_scale is None:
            yield codes.numpy(), _of_filters(plane.scale, plane)
        else:
            yield codes.clamp(min=0).numpy(), _of_filters(plane.scale, plane)
            yield codes.clamp(max=0).numpy(), _of_filters(plane.negative_scale, plane)


def _of_filters(scale: Tensor, plane: Plane) -> NDArray[np.float32]:
    """Return the scale with one number for each filter, in the shape that `Plane.scale` has then."""
    if not scale.ndim:
        scale = scale.expand(plane.codes.shape[0], *(1 for _ in plane.codes.shape[1:]))
    values: NDArray[np.float32] = scale.float().cpu().contiguous().numpy()
    return values


def _initializer(name: str, values: NDArray[Any]) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(values), name)
