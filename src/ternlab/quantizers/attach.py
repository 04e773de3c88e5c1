"""Attaches rules to the layers of a network, and reads the codes back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from ternlab.core.check import checked
from ternlab.core.dotted import nested
from ternlab.core.errors import SettingsError
from ternlab.quantizers.base import Codes, Quantizer
from ternlab.quantizers.entries import entries_of_mapping, layer_entries
from ternlab.quantizers.guard import guard
from ternlab.quantizers.options import RuleOptions, TernaryOptions
from ternlab.quantizers.plan import FULL_PRECISION, LayerChoice, LayerRule, QuantPlan, layer_plan, simplified
from ternlab.quantizers.registry import rule_class, rule_options
from ternlab.quantizers.residual import Residual

QUANTIZABLE = (nn.Conv2d, nn.Linear)


def quantize(model: nn.Module, rule: str | Mapping[str, Any] = "tga", **options: Any) -> nn.Module:
    """Quantize the convolutions and linear layers of `model` in place.

    Any loop may train it: the gradients of thresholds are clamped before an optimizer steps, and a layer that cannot
    learn is reported by a warning (see `ternlab.quantizers.guard`). `ternlab.param_groups` returns the groups for an
    optimizer.

    Args:
        model: any network; its other modules are not changed. Thresholds are initialized from its current weights.
        rule: a registered rule, or a mapping from layer names or patterns to rules; the first match counts, and all
            other layers stay in full precision: `{"fc": {"name": "uniform", "bits": 4}, "layer1.*": "twn"}`.
        options: `first_last` ("ternary" or "full"), `include` and `exclude` (name patterns), `layers` (entries such as
            `{"match": "fc", "name": "uniform", "bits": 4}` for layers with a different rule; the first match counts,
            and `"name": "none"` is full precision), and the rule's own options, nested (`threshold={"init": 0.1}`) or
            dotted (`**{"threshold.init": 0.1}`).

    Returns:
        `model`.

    Raises:
        SettingsError: unknown rule or option, a pattern or choice that leaves no layer to quantize, or a layer whose
            weight is already quantized or parametrized, is not a parameter of its own, or is empty. The network is
            unchanged then.
    """
    values = nested(options)
    chosen = {key: values.pop(key) for key in LayerChoice.model_fields if key in values}
    network_rule, typed = LayerRule(), chosen.pop("layers", ())
    if isinstance(rule, Mapping):
        for key in (*values, *chosen, *(["layers"] if typed else [])):
            raise SettingsError(
                f"quant.{key}",
                rule="does not apply to a mapping from layers to rules",
                instead="set it in an entry of the mapping",
            )
        typed = entries_of_mapping(rule)
    elif rule != FULL_PRECISION or values or not typed:
        network_rule = LayerRule(name=rule, options=rule_options(rule, values))
    choice = checked(LayerChoice, {**chosen, "layers": layer_entries(typed, network_rule)}, prefix="quant")
    network_rule, entries = simplified(network_rule, choice)
    attach(model, plan_of(model, network_rule, choice.model_copy(update={"layers": entries})))
    for name, layer in quantized_layers(model):
        guard(name or type(layer).__name__.removeprefix("Parametrized"), quantizer_of(layer))
    return model


def plan_of(model: nn.Module, rule: LayerRule, choice: LayerChoice) -> QuantPlan:
    """Return the rule of each convolution and linear layer of `model`, by layer name in network order.

    Raises:
        SettingsError: see `ternlab.quantizers.plan.layer_plan`.
    """
    return layer_plan([name for name, _ in quantizable_layers(model)], rule, choice)


def attach(model: nn.Module, plan: QuantPlan) -> nn.Module:
    """Quantize the layers of `model` in place as `plan` says; see `quantize`."""
    layers = [(name, layer, plan.get(name)) for name, layer in quantizable_layers(model)]
    chosen = [(name, layer, rule) for name, layer, rule in layers if rule is not None]
    # Check and build everything before changing any layer: on an error the network is unchanged.
    for name, layer, _ in chosen:
        _check_weight(name, layer)
    quantizers = []
    for _, layer, rule in chosen:
        weight: Any = layer.weight
        quantizers.append(build_quantizer(rule.name, weight.detach(), rule.options))
    for (_, layer, _), quantizer in zip(chosen, quantizers, strict=True):
        parametrize.register_parametrization(layer, "weight", quantizer)
    return model


def _check_weight(name: str, layer: nn.Module) -> None:
    """Refuse a layer whose weight is not a parameter of its own, or has no values yet."""
    if parametrize.is_parametrized(layer, "weight"):
        first = _first(layer)
        if isinstance(first, Quantizer):
            raise SettingsError(
                name, rule="this layer's weight is already quantized", instead="quantize a fresh copy of the network"
            )
        raise SettingsError(
            name,
            rule=f"this layer's weight already has the parametrization {type(first).__name__}",
            instead=f"torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight'), or exclude=['{name}']",
        )
    weight = layer._parameters.get("weight")
    if weight is None:
        others = ", ".join(other for other in layer._parameters if other.startswith("weight_")) or "other tensors"
        raise SettingsError(
            name,
            rule=f"this layer's weight is computed from {others} (old weight_norm or spectral_norm, or pruning)",
            instead="torch.nn.utils.remove_weight_norm(layer), remove_spectral_norm(layer) or "
            f"prune.remove(layer, 'weight'), or exclude=['{name}']",
        )
    if is_lazy(weight):
        raise SettingsError(
            name, rule="this layer's weight has no shape yet", instead="a forward pass through the network first"
        )
    if weight.numel() == 0:
        raise SettingsError(name, rule="this layer has no weights", instead=f"exclude=['{name}']")


def build_quantizer(rule: str, weight: Tensor, options: RuleOptions) -> Quantizer:
    """Return the parametrization of one weight: the rule, or its residual expansion."""
    cls: type[Quantizer] = rule_class(rule)
    if isinstance(options, TernaryOptions) and options.rel.factors:
        return Residual(weight, options, cls)
    return cls(weight, options)


def quantizable_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (name, layer) for every layer that can be quantized, in network order."""
    for name, layer in model.named_modules():
        if isinstance(layer, QUANTIZABLE):
            yield name, layer


def quantized_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (name, layer) for every quantized layer, in network order."""
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
