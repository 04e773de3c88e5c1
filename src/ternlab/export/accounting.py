"""Sizes of a network: the size of its parameters in full precision and with quantized weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ternlab.export.coding import bits_for, entropy_bits, packed_bytes
from ternlab.quantizers.base import Codes, Plane, Quantizer
from ternlab.quantizers.filters import FiltersFirst
from ternlab.quantizers.registry import RULES
from ternlab.quantizers.residual import Residual
from ternlab.quantizers.weights import LayerWeight, quantizable_parameters, quantized_parameters, weight_name

FLOAT_BITS = 32
_MOST_BINS = 2**20


@dataclass(frozen=True)
class CodeSize:
    """The size of the codes of one quantized weight, and the cost of computing with them.

    Attributes:
        weights: number of weights.
        planes: summands of the weight; more than one for residual expansion.
        bits: whole bits of one weight's codes, over all planes: 2 for ternary codes, 1 for binary ones.
        packed_bits: size of all weights, in whole bytes per plane: five trits a byte for ternary planes, whole bits a
            code for other alphabets.
        entropy: bits of one weight, from the frequencies of the joint codes of all planes. No code that treats
            weights one by one is shorter; its table is not counted.
        zeros: weights whose code is 0 in every plane.
        nonzeros: codes that are not 0, over all planes.
        scales: numbers stored in addition to the codes.
        scalings: multiplications by a scale for one output: one a plane, two where negative codes have their own.
        multiplying: planes with codes beyond -1, 0 and 1, which take multiplications.
    """

    weights: int
    planes: int
    bits: int
    packed_bits: int
    entropy: float
    zeros: int
    nonzeros: int
    scales: int
    scalings: int
    multiplying: int


@dataclass(frozen=True)
class LayerSize:
    """Sizes of one weight that can be quantized, and of its layer: a convolution, linear layer or attention.

    What layers share (one parameter in two layers) is counted in the first of them and is 0 in the others. Of an
    attention layer with several weights, the first counts the biases.

    Attributes:
        name: see `ternlab.quantizers.weights.LayerWeight`: the layer's, or `attn.in_proj_weight`.
        kind: the layer's class.
        rule: how the weight is quantized (`tga`, `sws-rel2`, `lsq4`), `None` in full precision.
        shape: shape of the weight.
        parameters: elements of weight, bias and so on, without thresholds and trained scales.
        kept: those of them that are stored at 32 bits.
        codes: codes of the quantized weight, `None` in full precision.
        shared: the codes are those of an earlier layer and take no bits of their own.
    """

    name: str
    kind: str
    rule: str | None
    shape: tuple[int, ...]
    parameters: int
    kept: int
    codes: CodeSize | None
    shared: bool

    @property
    def stored(self) -> CodeSize | None:
        """The codes, where this layer is the one that they are counted in."""
        return None if self.shared else self.codes

    @property
    def whole_bits(self) -> int:
        """Bits of the layer at whole bits a code, scales and what stays in full precision included."""
        return self._others + (self.stored.bits * self.stored.weights if self.stored else 0)

    @property
    def packed_bits(self) -> int:
        """Bits of the layer with five trits a byte."""
        return self._others + (self.stored.packed_bits if self.stored else 0)

    @property
    def entropy_bits(self) -> float:
        """Bits of the layer with an ideal code for each layer."""
        return self._others + (self.stored.entropy * self.stored.weights if self.stored else 0.0)

    @property
    def _others(self) -> int:
        return FLOAT_BITS * (self.kept + (self.stored.scales if self.stored else 0))


@dataclass(frozen=True)
class Sizes:
    """Sizes of a network's parameters in bytes, and the sparsity of its quantized weights.

    Counted as in published tables: all parameters at 32 bits, against quantized weights at the bits of their codes (2
    for ternary codes, in each plane) with 32-bit scales and everything else at 32 bits. BatchNorm's running statistics
    and the parameters of the rules (thresholds, trained scales) are excluded from both: inference needs no thresholds,
    and scales are counted with the codes. Shared parameters are counted once.

    Attributes:
        layers: one for each weight of convolutions, linear layers and attention, in the network's order.
        other_parameters: of everything else, BatchNorm for one; stored at 32 bits.
    """

    layers: tuple[LayerSize, ...]
    other_parameters: int

    @property
    def parameters(self) -> int:
        """Number of parameters of the full-precision network."""
        return self.other_parameters + sum(layer.parameters for layer in self.layers)

    @property
    def quantized_weights(self) -> int:
        """Number of weights that are stored as codes."""
        return sum(found.weights for found in self._stored())

    @property
    def float_bytes(self) -> int:
        """Bytes of the full-precision network."""
        return self.parameters * FLOAT_BITS // 8

    @property
    def quantized_bytes(self) -> int:
        """Bytes at whole bits per code; `float_bytes` if nothing is quantized."""
        return self._bytes(layer.whole_bits for layer in self.layers)

    @property
    def packed_bytes(self) -> int:
        """Bytes with five ternary codes per byte (1.6 bits per weight)."""
        return self._bytes(layer.packed_bits for layer in self.layers)

    @property
    def entropy_bytes(self) -> int:
        """Bytes with an ideal code for each layer: the bound for coders that treat weights one by one."""
        return self._bytes(layer.entropy_bits for layer in self.layers)

    @property
    def ratio(self) -> float:
        """How many times smaller the quantized network is, at whole bits; 1 for a network without parameters."""
        return self.ratio_of(self.quantized_bytes)

    @property
    def sparsity(self) -> float:
        """Share of zero codes among the quantized weights, 0 when there are none."""
        return sum(found.zeros for found in self._stored()) / max(1, self.quantized_weights)

    @property
    def entropy(self) -> float:
        """Mean entropy of the quantized weights in bits, 0 when there are none."""
        return sum(found.entropy * found.weights for found in self._stored()) / max(1, self.quantized_weights)

    def ratio_of(self, size: int) -> float:
        """Return how many times smaller than the full-precision network `size` bytes are."""
        return self.float_bytes / size if size else 1.0

    def _stored(self) -> Iterator[CodeSize]:
        return (layer.stored for layer in self.layers if layer.stored)

    def _bytes(self, bits: Iterable[float]) -> int:
        return math.ceil((sum(bits) + FLOAT_BITS * self.other_parameters) / 8)


def scales_of(plane: Plane) -> int:
    """Return the number of the plane's scales."""
    return plane.scale.numel() * (1 if plane.negative_scale is None else 2)


def code_size(found: Codes) -> CodeSize:
    """Return the sizes of a quantized weight; see `CodeSize`."""
    return CodeSize(
        weights=found.planes[0].codes.numel(),
        planes=len(found.planes),
        bits=sum(bits_for(len(plane.alphabet)) for plane in found.planes),
        packed_bits=8 * sum(packed_bytes(plane.codes.numel(), len(plane.alphabet)) for plane in found.planes),
        entropy=entropy(found),
        zeros=found.zeros(),
        nonzeros=sum(int(plane.codes.count_nonzero()) for plane in found.planes),
        scales=sum(scales_of(plane) for plane in found.planes),
        scalings=sum(1 if plane.negative_scale is None else 2 for plane in found.planes),
        multiplying=sum(max(abs(code) for code in plane.alphabet) > 1 for plane in found.planes),
    )


def entropy(found: Codes) -> float:
    """Return the entropy of one weight's codes in bits, from the frequencies of the joint codes of all planes."""
    counts = _joint_counts(found)
    return entropy_bits(counts[counts > 0].tolist()) / int(counts.sum())


def _joint_counts(found: Codes) -> Tensor:
    """Return how often each combination of the planes' codes occurs: int64, 1-d, in no particular order."""
    spans = [plane.alphabet[-1] - plane.alphabet[0] + 1 for plane in found.planes]
    if math.prod(spans) > _MOST_BINS:
        columns: Any = found.stacked().flatten(1)
        counts: Tensor = columns.unique(dim=1, return_counts=True)[1]
        return counts
    # Ten times faster than `unique`, which sorts.
    joint = torch.zeros(found.planes[0].codes.numel(), dtype=torch.int32, device=found.planes[0].codes.device)
    for plane, span in zip(found.planes, spans, strict=True):
        joint = joint * span + (plane.codes.flatten().int() - plane.alphabet[0])
    return joint.bincount()


def sizes(model: nn.Module) -> Sizes:
    """Return the sizes of `model`, which is left as it is.

    It reads every weight a few times: ResNet-101 takes about a second on one CPU core.
    """
    weights = list(counted_weights(model))
    ledger = _Ledger()
    others = ledger.keep(_parameters_outside(model, {weight.layer for weight in weights}))
    return Sizes(tuple(ledger.enter(weight, _own_parameters(weight, weights)) for weight in weights), others)


def counted_weights(model: nn.Module) -> Iterator[LayerWeight]:
    """Yield the weights that can be quantized or are, in network order; a layer with two names under its first."""
    for name, layer in model.named_modules():
        for parameter in dict.fromkeys((*quantizable_parameters(layer), *quantized_parameters(layer))):
            yield LayerWeight(weight_name(name, parameter), layer, parameter)


class _Ledger:
    """Counts every parameter once, and every code once, whatever shares them.

    Layers can share a latent weight and still differ in their codes, if each has its own thresholds; then both codes
    must be stored. A weight that is also used in full precision (an embedding tied to the last layer) must be stored
    in full precision in addition to its codes.
    """

    def __init__(self) -> None:
        self._counted: set[int] = set()
        self._kept: set[int] = set()
        self._codes: dict[int, list[Codes]] = {}

    def keep(self, parameters: list[nn.Parameter]) -> int:
        """Enter parameters that stay in full precision; return the number of elements that are new."""
        _new(parameters, self._counted)
        return _new(parameters, self._kept)

    def enter(self, weight: LayerWeight, own: list[nn.Parameter]) -> LayerSize:
        """Enter a weight and the parameters `own` that are counted with it, and return their sizes."""
        quantized = weight.quantized
        value = weight.latent if quantized else weight.value
        found = weight.codes() if quantized else None
        return LayerSize(
            name=weight.name,
            kind=type(weight.layer).__name__.removeprefix("Parametrized"),
            rule=_label(weight.rule) if quantized else None,
            shape=tuple(value.shape),
            parameters=_new(own, self._counted),
            kept=_new([each for each in own if not quantized or each is not value], self._kept),
            codes=code_size(found) if found else None,
            shared=found is not None and self._stored_before(value, found),
        )

    def _stored_before(self, latent: Tensor, found: Codes) -> bool:
        before = self._codes.setdefault(id(latent), [])
        if any(_same(found, other) for other in before):
            return True
        before.append(found)
        return False


def _new(parameters: list[nn.Parameter], seen: set[int]) -> int:
    """Return the number of elements of the parameters that are not in `seen`, and add them."""
    fresh = {id(parameter): parameter.numel() for parameter in parameters if id(parameter) not in seen}
    seen.update(fresh)
    return sum(fresh.values())


def _own_parameters(weight: LayerWeight, weights: Iterable[LayerWeight]) -> list[nn.Parameter]:
    """Return the parameters that are counted with a weight, those of rules left out.

    The first weight of a layer brings all of the layer's parameters except the other weights.
    """
    layer = weight.layer
    of_layer = [each for each in weights if each.layer is layer]
    others = {id(_latent(each)) for each in of_layer if each is not weight}
    if of_layer[0] is not weight:
        return [_latent(weight)]
    own = list(layer.parameters(recurse=False))
    if parametrize.is_parametrized(layer):
        lists: Any = layer.parametrizations
        others |= {id(each) for rule in lists.modules() if isinstance(rule, Quantizer) for each in rule.parameters()}
        own += lists.parameters()
    return [parameter for parameter in own if id(parameter) not in others]


def _latent(weight: LayerWeight) -> Any:
    return weight.latent if weight.quantized else weight.layer._parameters.get(weight.parameter)


def _parameters_outside(model: nn.Module, layers: Iterable[nn.Module]) -> list[nn.Parameter]:
    """Return the parameters of the modules that are neither layers nor parts of a layer's parametrization."""
    inside = set()
    for layer in layers:
        lists: Any = layer.parametrizations if parametrize.is_parametrized(layer) else nn.ModuleDict()
        inside |= {layer, *lists.modules()}
    return [
        parameter
        for module in model.modules()
        if module not in inside
        for parameter in module.parameters(recurse=False)
    ]


def _label(rule: Quantizer) -> str:
    """Return what the rule is called in tables: its registered name and what makes another rule of it."""
    plain: Any = rule.rule if isinstance(rule, FiltersFirst) else rule
    plain = plain.summands[0] if isinstance(plain, Residual) else plain
    home = f"{type(plain).__module__}:{type(plain).__qualname__}"
    name = next((name for name, entry in RULES.items() if entry.module == home), type(plain).__name__)
    return rule.options.label(name)


def _same(first: Codes, second: Codes) -> bool:
    """Return whether two quantized weights are the same numbers."""
    return len(first.planes) == len(second.planes) and all(
        torch.equal(one.codes, other.codes) and torch.equal(one.effective(), other.effective())
        for one, other in zip(first.planes, second.planes, strict=True)
    )
