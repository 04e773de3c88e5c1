"""The weights of a network that can be quantized: which parameter of which layer, and what it is called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from ternlab.core.errors import SettingsError
from ternlab.quantizers.base import Codes, Quantizer
from ternlab.quantizers.filters import TRANSPOSED

QUANTIZABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED, nn.Linear, nn.MultiheadAttention)


@dataclass(frozen=True)
class LayerWeight:
    """A parameter of a layer that is quantized, or can be.

    Attributes:
        name: in plans, tables and files: the layer's name for a parameter called `weight` (`layer1.0.conv1`), else the
            parameter's name in the network (`attn.in_proj_weight`).
        layer: the module that it belongs to.
        parameter: its name in the layer.
    """

    name: str
    layer: nn.Module
    parameter: str = "weight"

    @property
    def value(self) -> Tensor:
        """The weight that the layer computes with: the effective weight if it is quantized."""
        value: Tensor = getattr(self.layer, self.parameter)
        return value

    @property
    def quantized(self) -> bool:
        """Whether a rule is attached."""
        return isinstance(parametrization_of(self.layer, self.parameter), Quantizer)

    @property
    def rule(self) -> Quantizer:
        """The attached rule.

        Raises:
            ValueError: the weight is not quantized.
        """
        rule = parametrization_of(self.layer, self.parameter)
        if not isinstance(rule, Quantizer):
            raise ValueError(f"The value of `layer` is {type(self.layer).__name__}, but must be a quantized layer.")
        return rule

    @property
    def latent(self) -> Tensor:
        """The latent (trained, full-precision) weight of a quantized layer."""
        lists: Any = self.layer.parametrizations
        latent: Tensor = lists[self.parameter].original
        return latent

    def codes(self) -> Codes:
        """Return the planes of a quantized weight.

        Raises:
            ValueError: the weight is not quantized.
        """
        return self.rule.codes(self.latent)


def layer_weights(model: nn.Module) -> Iterator[LayerWeight]:
    """Yield every weight that can be quantized, in network order (the order in which the layers were defined)."""
    for name, layer in model.named_modules():
        for parameter in quantizable_parameters(layer):
            yield LayerWeight(weight_name(name, parameter), layer, parameter)


def quantized_weights(model: nn.Module) -> Iterator[LayerWeight]:
    """Yield every quantized weight, in network order."""
    for name, layer in model.named_modules():
        for parameter in quantized_parameters(layer):
            yield LayerWeight(weight_name(name, parameter), layer, parameter)


def quantizable_parameters(layer: nn.Module) -> tuple[str, ...]:
    """Return the names of the layer's own parameters that can be quantized; empty for layers of other kinds."""
    if isinstance(layer, nn.MultiheadAttention):
        # The output projection is a linear layer of its own.
        separate = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        return ("in_proj_weight",) if layer._qkv_same_embed_dim else separate
    return ("weight",) if isinstance(layer, QUANTIZABLE) else ()


def quantized_parameters(layer: nn.Module) -> tuple[str, ...]:
    """Return the names of the layer's parameters that have a rule, in the order of `quantizable_parameters`."""
    if not parametrize.is_parametrized(layer):
        return ()
    lists: Any = layer.parametrizations
    return tuple(parameter for parameter in lists if isinstance(lists[parameter][0], Quantizer))


def parametrization_of(layer: nn.Module, parameter: str = "weight") -> nn.Module | None:
    """Return the first parametrization of a parameter, `None` if it has none."""
    if not parametrize.is_parametrized(layer, parameter):
        return None
    lists: Any = layer.parametrizations
    first: nn.Module = lists[parameter][0]
    return first


def weight_name(layer: str, parameter: str) -> str:
    """Return what a parameter of a layer is called; see `LayerWeight.name`."""
    return layer if parameter == "weight" else entry_of(layer, parameter)


def entry_of(layer: str, parameter: str) -> str:
    """Return the name of a layer's parameter in the network's state dict."""
    return f"{layer}.{parameter}" if layer else parameter


def latent_entry(weight: LayerWeight) -> str:
    """Return the name of the latent weight in the state dict of the network, quantized."""
    layer = (
        weight.name.removesuffix(weight.parameter).removesuffix(".") if weight.parameter != "weight" else weight.name
    )
    return entry_of(layer, f"parametrizations.{weight.parameter}.original")


def named_weight(modules: Mapping[str, nn.Module], name: str) -> tuple[str, str] | None:
    """Return layer and parameter of the weight called `name`; `None` if there is no such weight.

    No two weights have the same name, because a module has no parameter that is called as one of its children.

    Args:
        modules: those of the network by name.
        name: see `LayerWeight.name`.
    """
    outer, _, last = name.rpartition(".")
    for layer, parameter in ((name, "weight"), (outer, last)):
        if weight_name(layer, parameter) == name and layer in modules and _has(modules[layer], parameter):
            return layer, parameter
    return None


def _has(layer: nn.Module, parameter: str) -> bool:
    return layer._parameters.get(parameter) is not None or parametrize.is_parametrized(layer, parameter)


def check_quantizable(weight: LayerWeight) -> None:
    """Refuse a weight that is not a parameter of its own, or has no values yet.

    Raises:
        SettingsError: as said.
    """
    name, parameter = weight.name, weight.parameter
    first = parametrization_of(weight.layer, parameter)
    if isinstance(first, Quantizer):
        raise SettingsError(
            name, rule="this layer's weight is already quantized", instead="quantize a fresh copy of the network"
        )
    if first is not None:
        raise SettingsError(
            name,
            rule=f"this layer's weight already has the parametrization {type(first).__name__}",
            instead=f"torch.nn.utils.parametrize.remove_parametrizations(layer, '{parameter}'), or exclude=['{name}']",
        )
    value = weight.layer._parameters.get(parameter)
    if value is None:
        others = [other for other in weight.layer._parameters if other.startswith(f"{parameter}_")]
        raise SettingsError(
            name,
            rule=f"this layer's weight is computed from {', '.join(others) or 'other tensors'} (old weight_norm or "
            "spectral_norm, or pruning)",
            instead="torch.nn.utils.remove_weight_norm(layer), remove_spectral_norm(layer) or "
            f"prune.remove(layer, '{parameter}'), or exclude=['{name}']",
        )
    if is_lazy(value):
        raise SettingsError(
            name, rule="this layer's weight has no shape yet", instead="a forward pass through the network first"
        )
    if value.numel() == 0:
        raise SettingsError(name, rule="this layer has no weights", instead=f"exclude=['{name}']")
