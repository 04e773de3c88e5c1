"""What of a network stays in full precision, by name, and its share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from ternlab.quantizers.base import Quantizer
from ternlab.quantizers.weights import quantizable_parameters, weight_name

# More than this share of unsupported weights is worth a warning.
LARGEST_UNSUPPORTED = 0.1
_SHOWN = 5


@dataclass(frozen=True)
class FullWeight:
    """A parameter of two or more dimensions that stays in full precision.

    Attributes:
        name: as in plans: the layer's name for a parameter called `weight`, else the parameter's name in the network.
        kind: class of its module.
        shape: shape of the parameter.
        elements: their number.
        supported: whether `ternlab.quantize` can quantize it; it was left out by a choice of layers.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    elements: int
    supported: bool


@dataclass(frozen=True)
class FullPrecision:
    """What of a network stays in full precision; `str()` is one line.

    Thresholds and trained scales of rules are not among the parameters.

    Attributes:
        weights: parameters of two or more dimensions, in network order.
        others: number of all other parameters in full precision: biases, normalization.
        quantized: number of quantized weights.
    """

    weights: tuple[FullWeight, ...] = ()
    others: int = 0
    quantized: int = 0

    @property
    def elements(self) -> int:
        """Number of parameters in full precision."""
        return self.others + sum(weight.elements for weight in self.weights)

    @property
    def parameters(self) -> int:
        """Number of parameters of the network, without those of rules."""
        return self.elements + self.quantized

    @property
    def share(self) -> float:
        """Share of the parameters that stays in full precision; 0 for a network without parameters."""
        return self.elements / max(1, self.parameters)

    @property
    def unsupported(self) -> tuple[FullWeight, ...]:
        """The weights that cannot be quantized, because of what they belong to (recurrent layers, embeddings)."""
        return tuple(weight for weight in self.weights if not weight.supported)

    @property
    def warning(self) -> str | None:
        """A warning if more than a tenth of the weights cannot be quantized, else `None`."""
        weights = self.quantized + sum(weight.elements for weight in self.weights)
        left = sum(weight.elements for weight in self.unsupported)
        if left <= LARGEST_UNSUPPORTED * weights:
            return None
        return (
            f"{100 * left / weights:.1f} % of the weights stay in full precision, because layers of their kind "
            f"cannot be quantized: {_listed(self.unsupported)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: `parameters` in full precision, their `share`, and `weights` by name."""
        weights = {weight.name: weight.elements for weight in self.weights}
        return {"parameters": self.elements, "share": self.share, "weights": weights, "others": self.others}

    @property
    def named(self) -> str:
        """Names and sizes of what stays in full precision, the largest first."""
        parts = [_listed(self.weights)] if self.weights else []
        parts += [f"{self.others:,} in biases, normalization and others"] if self.others else []
        return "; ".join(parts) or "none"

    def __str__(self) -> str:
        return f"{self.elements:,} of {self.parameters:,} parameters ({100 * self.share:.1f} %): {self.named}"


def full_precision(model: nn.Module) -> FullPrecision:
    """Return what of `model` stays in full precision, by name, and its share. Shared parameters are counted once.

    Example:
        >>> print(ternlab.full_precision(ternlab.quantize(model, "twn", first_last="full")))
    """
    rules = [module for module in model.modules() if isinstance(module, Quantizer)]
    seen = {id(parameter) for rule in rules for parameter in rule.parameters()}
    found: list[FullWeight] = []
    others = 0
    for name, module, parameter, value in _in_full(model):
        if id(value) in seen or is_lazy(value):
            continue
        seen.add(id(value))
        if value.ndim < 2:
            others += value.numel()
            continue
        kind = type(module).__name__.removeprefix("Parametrized")
        supported = parameter in quantizable_parameters(module)
        found.append(FullWeight(weight_name(name, parameter), kind, tuple(value.shape), value.numel(), supported))
    # A quantized weight that another layer uses in full precision was counted above.
    quantized = {id(part.original): part.original.numel() for part in _lists(model) if id(part.original) not in seen}
    return FullPrecision(tuple(found), others, sum(quantized.values()))


def _in_full(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    """Yield name, module, parameter and value of every parameter that is not the latent weight of a rule."""
    latent = set(_lists(model))
    for name, module in model.named_modules():
        if module not in latent:
            for parameter, value in module.named_parameters(recurse=False):
                yield name, module, parameter, value


def _lists(model: nn.Module) -> list[Any]:
    """Return the parametrizations of the quantized weights."""
    return [
        module
        for module in model.modules()
        if isinstance(module, parametrize.ParametrizationList) and isinstance(module[0], Quantizer)
    ]


def _listed(weights: tuple[FullWeight, ...]) -> str:
    """Return names, kinds and sizes of weights, the largest first."""
    ordered = sorted(weights, key=lambda weight: -weight.elements)
    shown = [f"{weight.name or weight.kind} ({weight.kind}, {weight.elements:,})" for weight in ordered[:_SHOWN]]
    rest = ordered[_SHOWN:]
    if rest:
        shown.append(f"{len(rest)} more ({sum(weight.elements for weight in rest):,})")
    return ", ".join(shown)
