"""Eight-bit activations for ONNX files, calibrated on images (ONNX Runtime's static quantization).

Weights become int8 with one scale a filter. For ternary weights this is exact: a filter's codes -1, 0, 1 become
-127, 0, 127 and its scale S becomes S / 127; what is lost is the rounding of the activations. Sums of several
planes and two scales are rounded to 255 levels a filter.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from onnx import ModelProto
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from ternlab.export.onnx_names import INPUT
from ternlab.export.runtimes import Images

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
        logging.getLogger().disabled = True
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
                )
        finally:
            logging.getLogger().disabled = False
        return onnx.load(target)
