"""Weights of an ONNX file as int8 integers with their scales.

Each weight becomes an int8 initializer followed by a DequantizeLinear with one scale per filter; residual expansion and
two scales (TTQ) are sums of several. Runtimes fold these into constants when they load the file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

from ternlab.quantizers.base import Codes

# Of one rounding in float32, for weights that the exporter multiplied.
_ROUNDING = 1e-6


def replace_weights(graph: GraphProto, weights: Mapping[str, Codes], entries: Mapping[str, str]) -> list[str]:
    """Replace weights in float by integers and scales; return the names of those that are not in the graph.

    A weight is found by its values: torch's exporter renames weights, transposes those of linear layers, stores equal
    ones once, and multiplies each filter by the factor of a BatchNorm that follows.

    Args:
        graph: changed in place.
        weights: codes by the name of the weight.
        entries: by the same name, what the weight is called in the network's state.
    """
    floats = {entry.name: values for entry in graph.initializer if (values := _float(entry)) is not None}
    nodes: list[NodeProto] = []
    integers: list[TensorProto] = []
    replaced: set[str] = set()
    missing = []
    for name, codes in weights.items():
        stem = entries[name]
        found = _found(codes.effective().cpu().numpy(), stem, floats, replaced)
        if found is None:
            missing.append(name)
        elif found.name not in replaced:
            replaced.add(found.name)
            added, computed = _dequantized(stem, codes, found)
            integers += added
            nodes += computed
    kept = [entry for entry in graph.initializer if entry.name not in replaced]
    operations = list(graph.node)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend([*kept, *integers])
    graph.node.extend([*nodes, *operations])
    return missing


@dataclass(frozen=True)
class _Found:
    """The initializer that holds a layer's weight.

    Attributes:
        name: name of the initializer.
        transposed: whether it is the transposed weight.
        factors: what each filter was multiplied by, float64; `None` for nothing.
    """

    name: str
    transposed: bool
    factors: NDArray[np.float64] | None


def _float(entry: TensorProto) -> NDArray[Any] | None:
    """Return the values of an initializer that can be a weight in floating point."""
    if len(entry.dims) < 2 or entry.data_type not in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE):
        return None
    return numpy_helper.to_array(entry)


def _found(
    weight: NDArray[Any], own: str, floats: Mapping[str, NDArray[Any]], replaced: Collection[str]
) -> _Found | None:
    """Return the initializer that holds `weight`: the one with its own name, else one that no other layer has."""
    names = sorted(floats, key=lambda name: (name != own, name in replaced))
    for compare in (_equal, _scaled):
        for name in names:
            for transposed in (False, True):
                values = floats[name].T if transposed else floats[name]
                if (transposed and weight.ndim != 2) or values.shape != weight.shape:
                    continue
                if (factors := compare(values, weight)) is not None:
                    return _Found(name, transposed, factors if compare is _scaled else None)
    return None


def _equal(values: NDArray[Any], weight: NDArray[Any]) -> NDArray[np.float64] | None:
    return np.ones(len(weight)) if np.array_equal(values, weight) else None


def _scaled(values: NDArray[Any], weight: NDArray[Any]) -> NDArray[np.float64] | None:
    """Return the factor of each filter, of the first dimension, that turns `weight` into `values`, if there are any."""
    wide, plain = (array.astype(np.float64).reshape(len(weight), -1) for array in (values, weight))
    squares = (plain**2).sum(1)
    factors = np.where(squares > 0, (wide * plain).sum(1) / np.where(squares > 0, squares, 1), 1)
    close = np.abs(wide - factors[:, None] * plain) <= _ROUNDING * np.abs(wide).max(1, keepdims=True)
    return factors if close.all() else None


def _dequantized(stem: str, codes: Codes, found: _Found) -> tuple[list[TensorProto], list[NodeProto]]:
    """Return initializers and nodes that compute the weight `found`; their names begin with `stem`."""
    initializers: list[TensorProto] = []
    nodes: list[NodeProto] = []
    terms: list[str] = []
    for number, (integers, scale) in enumerate(_terms(codes)):
        term = f"{stem}.{number}"
        if found.factors is not None:
            of_filters = np.broadcast_to(scale.reshape(-1), found.factors.shape)
            shape = (-1, *(1 for _ in integers.shape[1:]))
            scale = (of_filters * found.factors).astype(scale.dtype).reshape(shape)
        arrays, made = _product(term, integers, scale)
        initializers += arrays
        nodes += made
        terms.append(made[-1].output[0])
    if len(terms) > 1:
        nodes.append(helper.make_node("Sum", terms, [f"{stem}.sum"], f"{stem}.sum"))
    if found.transposed:
        # Integers that are transposed in the file would let ONNX Runtime round the activations to eight bits: it turns
        # DequantizeLinear and MatMul into MatMulNBits.
        before = nodes[-1].output[0]
        nodes.append(helper.make_node("Transpose", [before], [found.name], f"{stem}.transposed", perm=[1, 0]))
    nodes[-1].output[0] = found.name
    return initializers, nodes


def _terms(found: Codes) -> Iterator[tuple[NDArray[np.int8], NDArray[np.float32]]]:
    """Yield (codes, scale, which broadcasts to them) whose products add up to the weight."""
    for plane in found.planes:
        codes = plane.codes.cpu()
        if plane.negative_scale is None:
            yield codes.numpy(), _numpy(plane.scale)
        else:
            yield codes.clamp(min=0).numpy(), _numpy(plane.scale)
            yield codes.clamp(max=0).numpy(), _numpy(plane.negative_scale)


def _numpy(scale: Tensor) -> NDArray[np.float32]:
    values: NDArray[np.float32] = scale.float().cpu().numpy()
    return values


def _product(
    stem: str, integers: NDArray[np.int8], scale: NDArray[np.float32]
) -> tuple[list[TensorProto], list[NodeProto]]:
    """Return the arrays and the nodes that compute integers times scale; the last node's output is the product."""
    codes, output = f"{stem}.codes", f"{stem}.effective"
    arrays = [_initializer(codes, integers)]
    if scale.ndim <= integers.ndim:
        axis = next((axis for axis, size in enumerate(scale.shape) if size > 1), 0)
        of_filters = np.broadcast_to(scale.reshape(-1), (integers.shape[axis],))
        arrays.append(_initializer(f"{stem}.scale", of_filters))
        return arrays, [helper.make_node("DequantizeLinear", [codes, f"{stem}.scale"], [output], stem, axis=axis)]
    # A transposed convolution with groups: DequantizeLinear cannot give each group scales along the second dimension.
    groups, _, *rest = scale.shape
    of_inputs = np.repeat(scale.reshape(groups, *rest), integers.shape[0] // groups, axis=0)
    arrays += [_initializer(f"{stem}.one", np.float32(1)), _initializer(f"{stem}.scale", of_inputs)]
    return arrays, [
        helper.make_node("DequantizeLinear", [codes, f"{stem}.one"], [f"{stem}.float"], stem),
        helper.make_node("Mul", [f"{stem}.float", f"{stem}.scale"], [output], f"{stem}.scaled"),
    ]


def _initializer(name: str, values: NDArray[Any] | np.float32) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(values), name)
