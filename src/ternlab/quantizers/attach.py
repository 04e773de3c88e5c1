"""Attaching a rule to the layers of a network, and reading the codes back."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from ternlab.core.check import checked
from ternlab.errors import SettingsError, did_you_mean
from ternlab.quantizers.base import Codes, Quantizer
from ternlab.quantizers.options import RuleOptions, TernaryOptions
from ternlab.quantizers.registry import nested, rule_class, rule_options
from ternlab.quantizers.residual import Residual
from ternlab.settings.quant import LayerChoice

QUANTIZABLE = (nn.Conv2d, nn.Linear)


def quantize(model: nn.Module, rule: str = "tga", **options: Any) -> nn.Module:
    """Quantize the convolutions and linear layers of `model` in place.

    Args:
        model: any network; its other modules are left alone. Thresholds start from its present weights.
        rule: a registered rule.
        options: `first_last` ("ternary" or "full"), `include` and `exclude` (name patterns), and the rule's
            own, nested (`threshold={"init": 0.1}`) or dotted (`**{"threshold.init": 0.1}`).

    Returns:
        `model`.

    Raises:
        SettingsError: unknown rule or option, a pattern or choice that leaves no layer, or a layer that
            is quantized already.
    """
    values = nested(options)
    chosen = {key: values.pop(key) for key in LayerChoice.model_fields if key in values}
    return attach(model, rule, rule_options(rule, values), checked(LayerChoice, chosen, prefix="quant"))


def attach(model: nn.Module, rule: str, options: RuleOptions, choice: LayerChoice) -> nn.Module:
    """Quantize the chosen layers of `model` in place with checked options; see `quantize`."""
    layers = chosen_layers(model, choice)
    # All are looked at before any is changed: a refusal leaves the network as it was.
    for name, layer in layers:
        if parametrize.is_parametrized(layer, "weight"):
            raise SettingsError(
                name, rule="this layer's weight is quantized already", instead="quantize a fresh copy of the network"
            )
    for _, layer in layers:
        weight: Any = layer.weight
        parametrize.register_parametrization(layer, "weight", build_quantizer(rule, weight.detach(), options))
    return model


def build_quantizer(rule: str, weight: Tensor, options: RuleOptions) -> Quantizer:
    """Return the parametrization of one weight: the rule, or its residual expansion."""
    cls: type[Quantizer] = rule_class(rule)
    if isinstance(options, TernaryOptions) and options.rel.factors:
        return Residual(weight, options, cls)
    return cls(weight, options)


def chosen_layers(model: nn.Module, choice: LayerChoice) -> list[tuple[str, nn.Module]]:
    """Return (name, layer) of the layers that `choice` quantizes, in the network's order."""
    layers: list[tuple[str, nn.Module]] = [
        (name, layer) for name, layer in model.named_modules() if isinstance(layer, QUANTIZABLE)
    ]
    names = [name for name, _ in layers]
    for pattern in (*choice.include, *choice.exclude):
        if names and not any(fnmatchcase(name, pattern) for name in names):
            raise SettingsError(
                "quant.include/exclude", value=pattern, rule="matches no layer", instead=did_you_mean(pattern, names)
            )
    ends = {names[0], names[-1]} if choice.first_last == "full" and names else set()
    chosen = [
        (name, layer)
        for name, layer in layers
        if name not in ends and _matches(name, choice.include) and not _matches(name, choice.exclude)
    ]
    if not chosen:
        raise SettingsError(
            "quant", rule="no convolution or linear layer is left to quantize", instead="fewer exclude patterns"
        )
    return chosen


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def quantized_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (name, layer) of every quantized layer, in the network's order."""
    for name, layer in model.named_modules():
        if parametrize.is_parametrized(layer, "weight") and isinstance(_first(layer), Quantizer):
            yield name, layer


def quantizer_of(layer: nn.Module) -> Quantizer:
    """Return the rule attached to `layer`.

    Raises:
        ValueError: the layer is not quantized.
    """
    rule = _first(layer) if parametrize.is_parametrized(layer, "weight") else None
    if not isinstance(rule, Quantizer):
        raise ValueError(f"The value of `layer` is {type(layer).__name__}, but must be a quantized layer.")
    return rule


def latent_weight(layer: nn.Module) -> Tensor:
    """Return the latent (trained, full-precision) weight of a quantized layer."""
    parametrizations: Any = layer.parametrizations
    weight: Tensor = parametrizations.weight.original
    return weight


def codes(layer: nn.Module) -> Codes:
    """Return the planes of a quantized layer: integer codes, scales and thresholds.

    Raises:
        ValueError: the layer is not quantized.
    """
    return quantizer_of(layer).codes(latent_weight(layer))


def _first(layer: nn.Module) -> nn.Module:
    parametrizations: Any = layer.parametrizations
    first: nn.Module = parametrizations.weight[0]
    return first
