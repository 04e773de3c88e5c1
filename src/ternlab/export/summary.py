"""A layer-by-layer summary of a network: parameters, bits, zeros, entropy, and operations for one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ternlab.core.text import aligned
from ternlab.export.accounting import FLOAT_BITS, LayerSize, Sizes, counted_weights, sizes
from ternlab.export.operations import Use, uses
from ternlab.quantizers.full_precision import FullPrecision, FullWeight, full_precision


@dataclass(frozen=True)
class LayerSummary(LayerSize):
    """Sizes of one layer, and its operations for one image.

    Attributes:
        use: calls and outputs for one image; `None` when no input shape was given.
    """

    use: Use | None = None

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of the full-precision layer: every output times the weights that it sums over.

        Over all calls; the zeros that pad an image count like pixels, biases do not count. In a transposed convolution,
        every input times the weights that it is multiplied by. `None` if unknown.
        """
        return None if self.use is None else self.use.macs

    @property
    def additions(self) -> int | None:
        """Additions and subtractions left when codes are -1, 0 and 1: codes that are not 0 times output positions.

        `None` for layers in full precision, for codes of more bits, which still multiply, and if unknown.
        """
        if self.use is None or self.use.positions is None or self.codes is None or self.codes.multiplying:
            return None
        return self.codes.nonzeros * self.use.positions

    @property
    def multiplications(self) -> int | None:
        """Multiplications left: of full precision and of codes of more bits as many as MACs, and those by scales.

        A scale multiplies every output of its plane once, twice when negative codes have a scale of their own. It
        is counted although it can often be merged with a BatchNorm that follows.
        """
        if self.macs is None or self.use is None:
            return None
        if self.codes is None:
            return self.macs
        return self.codes.multiplying * self.macs + self.codes.scalings * self.use.outputs

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        found = self.codes
        return {
            "name": self.name,
            "kind": self.kind,
            "rule": self.rule,
            "shape": list(self.shape),
            "parameters": self.parameters,
            "shared": self.shared,
            "planes": found.planes if found else None,
            "bits": found.bits if found else FLOAT_BITS,
            "sparsity": found.zeros / found.weights if found else None,
            "entropy": found.entropy if found else None,
            "scales": found.scales if found else None,
            "whole_bits": self.whole_bits,
            "packed_bits": self.packed_bits,
            "entropy_bits": self.entropy_bits,
            "calls": self.use.calls if self.use else None,
            "macs": self.macs,
            "additions": self.additions,
            "multiplications": self.multiplications,
        }


@dataclass(frozen=True)
class Summary(Sizes):
    """Sizes and operations of a network; `str()` is a table, `to_dict()` is for JSON.

    Operations are those of convolutions, linear layers and attention's projections for one image. Not counted: biases,
    BatchNorm, activations, pooling, sums of branches, products of activations (attention), and layers of other kinds
    (recurrent layers); `uncounted` names these.

    Attributes:
        in_full: what stays in full precision.
        input_shape: of one image without the batch; `None` when operations were not counted.
    """

    layers: tuple[LayerSummary, ...]
    in_full: FullPrecision = field(default_factory=FullPrecision)
    input_shape: tuple[int, ...] | None = None

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Names of the weights whose operations are unknown and not in the totals."""
        unknown = [layer.name for layer in self.layers if layer.use is not None and layer.macs is None]
        return *unknown, *(weight.name for weight in self.in_full.unsupported)

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of the full-precision network."""
        return self._total(layer.macs for layer in self.layers)

    @property
    def additions(self) -> int | None:
        """Additions left in the layers whose codes are -1, 0 and 1; those inside remaining MACs are not among them."""
        return self._total(layer.additions for layer in self.layers)

    @property
    def multiplications(self) -> int | None:
        """Multiplications left in all layers; see `LayerSummary.multiplications`."""
        return self._total(layer.multiplications for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: totals by name, and `layers`, a list with one entry a layer."""
        totals = {name: getattr(self, name) for name in _TOTALS}
        shape = None if self.input_shape is None else list(self.input_shape)
        return {
            "input_shape": shape,
            **totals,
            "full_precision": self.in_full.to_dict(),
            "layers": [layer.to_dict() for layer in self.layers],
        }

    def __str__(self) -> str:
        return "\n".join([*aligned(_layer_rows(self)), "", *aligned(_total_rows(self))])

    def _total(self, numbers: Any) -> int | None:
        return None if self.input_shape is None else sum(number for number in numbers if number is not None)


_TOTALS = (
    "parameters",
    "other_parameters",
    "quantized_weights",
    "sparsity",
    "entropy",
    "float_bytes",
    "quantized_bytes",
    "packed_bytes",
    "entropy_bytes",
    "ratio",
    "macs",
    "additions",
    "multiplications",
)


def summary(model: nn.Module, input_shape: Sequence[int] | None = None) -> Summary:
    """Return parameters, bits, zeros and entropy of every layer of `model`, and its operations for one image.

    The network is left as it is: its training mode, its buffers and the random generators too.

    Args:
        model: any network, quantized or not.
        input_shape: of one image without the batch, `(channels, height, width)`. Default: operations are not
            counted and are `None`.

    Raises:
        SettingsError: `input_shape` is not made of positive whole numbers, or the network cannot take it.

    Example:
        >>> print(ternlab.summary(model, (3, 224, 224)))
    """
    counted = sizes(model)
    found = {} if input_shape is None else uses(model, counted_weights(model), input_shape)
    layers = tuple(LayerSummary(**vars(layer), use=found.get(layer.name)) for layer in counted.layers)
    shape = None if input_shape is None else tuple(map(int, input_shape))
    return Summary(layers, counted.other_parameters, full_precision(model), shape)


def _layer_rows(found: Summary) -> list[tuple[str, ...]]:
    head = ("layer", "rule", "weight", "parameters", "bits", "zeros", "entropy", "MACs", "additions left")
    return [head, *map(_layer_row, found.layers), *map(_unsupported_row, found.in_full.unsupported)]


def _layer_row(layer: LayerSummary) -> tuple[str, ...]:
    codes = layer.codes
    return (
        layer.name or f"({layer.kind})",
        layer.rule or "-",
        "x".join(map(str, layer.shape)),
        f"{layer.parameters:,}",
        str(codes.bits if codes else FLOAT_BITS),
        f"{100 * codes.zeros / codes.weights:.1f} %" if codes else "-",
        f"{codes.entropy:.3f}" if codes else "-",
        _count(layer.macs),
        _count(layer.additions),
    )


def _unsupported_row(weight: FullWeight) -> tuple[str, ...]:
    shape = "x".join(map(str, weight.shape))
    return (weight.name or f"({weight.kind})", "-", shape, f"{weight.elements:,}", str(FLOAT_BITS), *("-",) * 4)


def _total_rows(found: Summary) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("parameters", f"{found.parameters:,}", f"of which {found.other_parameters:,} outside of these layers"),
        ("size, full precision", f"{found.float_bytes:,}", "bytes"),
    ]
    if found.quantized_weights:
        rows[1:1] = [
            ("quantized weights", f"{found.quantized_weights:,}", ""),
            ("zeros", f"{100 * found.sparsity:.1f} %", "of the quantized weights"),
            ("entropy", f"{found.entropy:.3f}", "bits per quantized weight"),
        ]
        rows.insert(1, ("full precision", f"{found.in_full.elements:,}", _shares(found.in_full)))
        rows += [
            _size_row(found, "size, whole bits", found.quantized_bytes),
            _size_row(found, "size, 5 trits per byte", found.packed_bytes),
            _size_row(found, "size, entropy bound", found.entropy_bytes),
        ]
    if found.input_shape is not None:
        image = "x".join(map(str, found.input_shape))
        rows += [
            ("MACs", _count(found.macs), f"for one {image} image in full precision{_without(found.uncounted)}"),
            ("additions left", _count(found.additions), "in layers with codes -1, 0, 1"),
            ("multiplications left", _count(found.multiplications), "by scales and in the other layers"),
        ]
    return rows


def _shares(found: FullPrecision) -> str:
    return f"{100 * found.share:.1f} % of the parameters: {found.named}"


def _without(names: tuple[str, ...]) -> str:
    return f", not counting {', '.join(names)}" if names else ""


def _size_row(found: Summary, title: str, size: int) -> tuple[str, ...]:
    return (title, f"{size:,}", f"bytes, {found.ratio_of(size):.2f}x smaller")


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"
