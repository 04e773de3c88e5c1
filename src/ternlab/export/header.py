"""The header of a packed network, validated when it is read; free of torch."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from ternlab.core.fields import NonNegativeInt, PositiveInt, Section
from ternlab.export.container import FileFormatError, shown

# Raised when an older ternlab could not read the file rightly.
# 2: weights with names of their own (attention), scales of transposed convolutions, `full_precision`.
FORMAT_VERSION = 2
FORMAT: Literal["ternlab-packed"] = "ternlab-packed"
# A network is built from these before its arrays are compared with it: a forged number must not make it huge.
MOST_CHANNELS = 4096
MOST_PIXELS = 65536

Packing = Literal["trit5", "bits", "entropy"]


class PlaneHeader(Section):
    """How the codes of one plane are written.

    Attributes:
        alphabet: start, stop and step of the range of the codes.
        packing: `trit5` (five a byte, three levels), `bits` (whole bits), or `entropy` (range coder).
        negative_scale: whether negative codes have a scale of their own.
        counts: how often each code occurs, for `entropy`.
    """

    alphabet: tuple[int, int, int]
    packing: Packing
    negative_scale: bool = False
    counts: tuple[NonNegativeInt, ...] = ()

    @field_validator("alphabet")
    @classmethod
    def _is_a_range_of_bytes(cls, alphabet: tuple[int, int, int]) -> tuple[int, int, int]:
        start, stop, step = alphabet
        # The limits come first: the length of a range of huge numbers is an OverflowError.
        if not (-128 <= start < stop <= 383 and 1 <= step <= 255 and len(range(*alphabet)) > 1):
            raise ValueError("must be a range of 2 to 256 codes from -128 to 127")
        if range(*alphabet)[-1] > 127:
            raise ValueError("must be a range of 2 to 256 codes from -128 to 127")
        return alphabet

    @model_validator(mode="after")
    def _fits_its_packing(self) -> Self:
        levels = len(self.codes)
        if self.packing == "trit5" and levels != 3:
            raise ValueError(f"trits cannot hold {levels} levels")
        if len(self.counts) != (levels if self.packing == "entropy" else 0):
            raise ValueError(f"there are {len(self.counts)} frequencies for {levels} levels packed as {self.packing}")
        return self

    @property
    def codes(self) -> range:
        """The integers that the codes may be."""
        return range(*self.alphabet)


class LayerHeader(Section):
    """One quantized weight.

    Attributes:
        name: name of the layer in the network, for its `weight`; of the parameter, for others (`attn.in_proj_weight`).
        shape: shape of the weight.
        planes: at least one.
    """

    name: str
    shape: tuple[PositiveInt, ...] = Field(min_length=1)
    planes: tuple[PlaneHeader, ...] = Field(min_length=1)

    @property
    def weights(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


class FullPrecisionHeader(Section):
    """What of the network stays in full precision.

    Attributes:
        parameters: number of parameters.
        share: share of all parameters of the network.
        weights: number of elements of each parameter of two or more dimensions, by name.
        others: number of elements of all other parameters.
    """

    parameters: NonNegativeInt
    share: Annotated[float, Field(ge=0, le=1)]
    weights: dict[str, NonNegativeInt]
    others: NonNegativeInt


class Architecture(Section):
    """The network as ternlab builds it.

    Attributes:
        model: settings of the model: its name and its options; without first weights, which the file itself holds.
        channels, size: channels and side of the images.
        classes: their names, in the order of the logits.
    """

    model: dict[str, Any]
    channels: Annotated[int, Field(ge=1, le=MOST_CHANNELS)]
    size: Annotated[int, Field(ge=1, le=MOST_PIXELS)]
    classes: tuple[str, ...] = Field(min_length=1)

    @field_validator("model")
    @classmethod
    def _brings_its_weights(cls, model: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(model.get("name"), str):
            raise ValueError("must have the name of the network")
        # Loading a file must not read another one, nor download any.
        if model.get("weights") is not None or model.get("weights_skip"):
            raise ValueError("must not name initial weights (model.weights)")
        return model


class PackedHeader(Section):
    """The header of a packed network.

    Attributes:
        format, version: format of the file and its version.
        ternlab: version of the writer.
        rule: label of the rule in tables.
        layers: the quantized weights, in the network's order.
        full_precision: what stays in full precision; `None` in files of version 1.
        folded: names of each convolution and of the BatchNorm that is folded into it.
        architecture: `None` for networks that ternlab does not build; they are loaded with `model=`.
        preprocessing: preprocessing of the images, as in the run's record.
        run_id, metrics: of the run that trained it.
    """

    format: Literal["ternlab-packed"] = FORMAT
    version: Annotated[int, Field(ge=1, le=FORMAT_VERSION, strict=True)] = FORMAT_VERSION
    ternlab: str
    rule: str
    layers: tuple[LayerHeader, ...] = Field(min_length=1)
    full_precision: FullPrecisionHeader | None = None
    folded: tuple[tuple[str, str], ...] = ()
    architecture: Architecture | None = None
    preprocessing: dict[str, Any] | None = None
    run_id: str | None = None
    metrics: dict[str, float] = Field(default_factory=dict)


def checked_header(values: dict[str, Any], path: object) -> PackedHeader:
    """Return the header of a file.

    Raises:
        FileFormatError: it is of a later version, or does not say what a header says.
    """
    version = values.get("version")
    if values.get("format") != FORMAT or version is None:
        raise FileFormatError(
            f"{path}: its header is not that of a packed network of ternlab\n"
            "  instead: a file written by python src/export.py run=ID format=packed"
        )
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise FileFormatError(
            f"{path}: has format version {shown(version)}, but this ternlab reads versions up to {FORMAT_VERSION}\n"
            "  instead: a newer version of ternlab"
        )
    try:
        return PackedHeader.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FileFormatError(
            f"{path}: its header is invalid at {shown(where)} ({first['msg']})\n  instead: export the network again"
        ) from None
