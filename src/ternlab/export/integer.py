"""Eight-bit activations for ONNX files, calibrated on images (ONNX Runtime's static quantization).

Weights become int8 with one scale per filter, from `ternlab.export.weight_range`. For ternary weights this is exact:
the integers are the codes and the scale is that of the filter, so only the activations are rounded. The same holds for
rules of up to seven bits. Other weights (full precision, two scales, sums of several planes) are rounded to at most 129
levels.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from ternlab.export.runtimes import INPUT, Images
from ternlab.export.weight_range import filter_scales

METHODS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: Iterable[Images]) -> None:
        self._batches: Iterator[Images] = iter(batches)

    def get_next(self) -> dict[str, Images] | None:
        """Return the next batch, `None` at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def with_integer_activations(proto: ModelProto, batches: Iterable[Images], method: str = "minmax") -> ModelProto:
    """Return `proto` with weights and activations in int8 (quantize-dequantize form).

    Args:
        proto: the network with weights in float32.
        batches: normalised training images; the ranges of the activations are taken from them.
        method: `minmax` takes the whole range, `percentile` cuts the outermost hundred-thousandth.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(proto, source)
        # It advises a pre-processing that torch's exporter has done already.
        logging.getLogger().addFilter(_refuse)
        # And it prints how it collects percentiles.
        silent = contextlib.redirect_stdout(io.StringIO())
        try:
            with silent:
                quantize_static(
                    str(source),
                    str(target),
                    _Batches(batches),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    weight_type=QuantType.QInt8,
                    activation_type=QuantType.QUInt8,
                    calibrate_method=METHODS[method],
                    extra_options={"TensorQuantOverrides": _weight_scales(proto)},
                )
        finally:
            logging.getLogger().removeFilter(_refuse)
        return onnx.load(target)


def _refuse(record: logging.LogRecord) -> bool:
    return False


def _weight_scales(proto: ModelProto) -> dict[str, list[dict[str, Any]]]:
    """Return the scale of each filter by the name of the weight, as the quantizer takes them."""
    initializers = {entry.name: entry for entry in proto.graph.initializer}
    found: dict[str, list[dict[str, Any]]] = {}
    for node in proto.graph.node:
        axis = _filter_axis(node)
        if axis is None or node.input[1] not in initializers:
            continue
        weights = numpy_helper.to_array(initializers[node.input[1]])
        scales = filter_scales(np.moveaxis(weights, axis, 0))
        found[node.input[1]] = [{"axis": axis, "scale": scale, "zero_point": 0} for scale in scales]
    return found


def _filter_axis(node: NodeProto) -> int | None:
    """Return the dimension of the filters in a layer's weight; `None` when `node` is no layer."""
    if node.op_type == "Gemm":
        transposed = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}.get("transB", 0)
        return 0 if transposed else 1
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}.get(node.op_type)
