"""Options of the files that ternlab writes; free of torch."""

from __future__ import annotations

from typing import ClassVar, Literal

from ternlab.core.fields import PositiveInt
from ternlab.export.settings import ExportSettings


class PackedSettings(ExportSettings):
    """Options of `packed`: small files for ternlab.

    Attributes:
        packing: `trit5` takes 1.6 bits per ternary weight, `2bit` whole bits, `entropy` the entropy of the codes.
        fold_batchnorm: fold BatchNorm into scale and bias; equal except for rounding.
    """

    default_file: ClassVar[str] = "packed.safetensors"

    packing: Literal["trit5", "2bit", "entropy"] = "trit5"
    fold_batchnorm: bool = False


class OnnxSettings(ExportSettings):
    """Options of `onnx`: files for inference runtimes; BatchNorm is always folded.

    Attributes:
        activations: `float32`, or `int8` calibrated on training images.
        calibration: how the ranges of int8 activations are determined: `minmax`, or `percentile` without outliers.
        images: number of training images for calibration.
    """

    default_file: ClassVar[str] = "model.onnx"

    activations: Literal["float32", "int8"] = "float32"
    calibration: Literal["minmax", "percentile"] = "minmax"
    images: PositiveInt = 256

    @property
    def file_name(self) -> str:
        """Name of the file, which depends on the type of activations."""
        return "model.int8.onnx" if self.activations == "int8" else self.default_file


class StateDictSettings(ExportSettings):
    """Options of `state_dict`: float weights in safetensors, for any torch network with the same names."""

    default_file: ClassVar[str] = "state_dict.safetensors"
