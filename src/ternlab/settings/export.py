"""Settings of an export."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ternlab.core.fields import PositiveInt, Section
from ternlab.settings.root import PathSettings


class ExportSettings(Section):
    """Which run becomes which file.

    Attributes:
        run: id of a run, a unique beginning or ending of it, or its folder; its final weights are exported.
        format: `packed` (small, for ternlab), `onnx` (for runtimes), `state_dict` (float weights in safetensors, for
            any torch network of the same names).
        packing: of `packed`: `trit5` is 1.6 bits a ternary weight, `2bit` whole bits, `entropy` what the frequencies of
            the codes allow.
        fold_batchnorm: of `packed`: fold BatchNorm into scale and bias; equal but for rounding. ONNX files always are.
        activations: of `onnx`: `float32`, or `int8` calibrated on training images.
        calibration: how the ranges of int8 activations are taken: `minmax`, or `percentile` without the outermost.
        images: number of training images to calibrate on.
        out: the file (`None`: in the run's folder).
    """

    run: str = Field(min_length=1)
    format: Literal["packed", "onnx", "state_dict"] = "packed"
    packing: Literal["trit5", "2bit", "entropy"] = "trit5"
    fold_batchnorm: bool = False
    activations: Literal["float32", "int8"] = "float32"
    calibration: Literal["minmax", "percentile"] = "minmax"
    images: PositiveInt = 256
    out: str | None = None
    paths: PathSettings = Field(default_factory=PathSettings)

    @model_validator(mode="after")
    def _of_one_format(self) -> ExportSettings:
        if self.activations == "int8" and self.format != "onnx":
            raise ValueError(f"activations=int8 goes with format=onnx, but format={self.format}")
        if (self.packing != "trit5" or self.fold_batchnorm) and self.format != "packed":
            raise ValueError(f"packing and fold_batchnorm go with format=packed, but format={self.format}")
        return self
