"""Options of the files that ternlab writes; free of torch."""

from __future__ import annotations

from typing import ClassVar, Literal

from ternlab.core.fields import PositiveInt
from ternlab.export.settings import ExportSettings


class PackedSettings(ExportSettings):
    """Of `packed`: small, for ternlab.

    Attributes:
        packing: `trit5` is 1.6 bits a ternary weight, `2bit` whole bits, `entropy` what the frequencies of the codes
            allow.
        fold_batchnorm: fold BatchNorm into scale and bias; equal but for rounding.
    """

    default_file: ClassVar[str] = "packed.safetensors"

    packing: Literal["trit5", "2bit", "entropy"] = "trit5"
    fold_batchnorm: bool = False


class OnnxSettings(ExportSettings):
    """Of `onnx`: for runtimes; BatchNorm is always folded.

    Attributes:
        activations: `float32`, or `int8` calibrated on training images.
        calibration: how the ranges of int8 activations are taken: `minmax`, or `percentile` without the outermost.
        images: number of training images to calibrate on.
    """

    default_file: ClassVar[str] = "model.onnx"

    activations: Literal["float32", "int8"] = "float32"
    calibration: Literal["minmax", "percentile"] = "minmax"
    images: PositiveInt = 256

    @property
    def file_name(self) -> str:
        """Name of the file; the two kinds of activations have one each."""
        return "model.int8.onnx" if self.activations == "int8" else self.default_file


class StateDictSettings(ExportSettings):
    """Of `state_dict`: float weights in safetensors, for any torch network of the same names."""

    default_file: ClassVar[str] = "state_dict.safetensors"
