"""Attaches rules to the layers of a network, and reads the codes back."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from ternlab.core.check import checked
from ternlab.core.dotted import nested
from ternlab.core.errors import SettingsError
from ternlab.quantizers.base import Codes, Quantizer
from ternlab.quantizers.entries import entries_of_mapping, layer_entries
from ternlab.quantizers.filters import TRANSPOSED, FiltersFirst, as_seen_by_rule
from ternlab.quantizers.fitting import fitting
from ternlab.quantizers.full_precision import full_precision
from ternlab.quantizers.guard import guard
from ternlab.quantizers.options import RuleOptions, TernaryOptions
from ternlab.quantizers.order import Ends, first_and_last
from ternlab.quantizers.plan import FULL_PRECISION, LayerChoice, LayerRule, QuantPlan, layer_plan, simplified
from ternlab.quantizers.registry import rule_class, rule_options
from ternlab.quantizers.residual import Residual
from ternlab.quantizers.weights import (
    LayerWeight,
    check_quantizable,
    layer_weights,
    quantized_parameters,
    quantized_weights,
    weight_name,
)

_log = logging.getLogger(__name__)


def quantize(
    model: nn.Module,
    rule: str | Mapping[str, Any] = "tga",
    *,
    input_shape: Sequence[int] | None = None,
    **options: Any,
) -> nn.Module:
    """Quantize the convolutions, linear layers and attention projections of `model` in place.

    Any loop may train it: the gradients of thresholds are clamped before an optimizer steps, and a layer that cannot
    learn is reported by a warning (see `ternlab.quantizers.guard`). `ternlab.param_groups` returns the groups for an
    optimizer.

    Args:
        model: any network; its other modules are not changed (`ternlab.full_precision` names them). Thresholds are
            initialized from its current weights.
        rule: a registered rule, or a mapping from layer names or patterns to rules; the first match counts, and all
            other layers stay in full precision: `{"fc": {"name": "uniform", "bits": 4}, "layer1.*": "twn"}`.
        input_shape: of one image without the batch. `first_last="full"` goes by the order of execution; where torch.fx
            cannot trace it, it is observed with an image of this shape. Without it, the order of definition counts
            then, and a warning says so.
        options: `first_last` ("ternary" or "full"), `include` and `exclude` (name patterns), `layers` (entries such as
            `{"match": "fc", "name": "uniform", "bits": 4}` for layers with a different rule; the first match counts,
            and `"name": "none"` is full precision), and the rule's own options, nested (`threshold={"init": 0.1}`) or
            dotted (`**{"threshold.init": 0.1}`).

    Returns:
        `model`. What stays in full precision is named by `ternlab.full_precision(model)`; a warning is logged if that
        is more than a tenth of the weights because of the kinds of their layers.

    Raises:
        SettingsError: unknown rule or option, a pattern or choice that leaves no layer to quantize, or a layer whose
            weight is already quantized or parametrized, is not a parameter of its own, or is empty. The network is
            unchanged then.
    """
    network_rule, choice = _requested(rule, nested(options))
    ends = first_and_last(model, input_shape) if choice.first_last == "full" else None
    attach(model, fitting(model, plan_of(model, network_rule, choice, ends)))
    for weight in quantized_weights(model):
        guard(weight.name or type(weight.layer).__name__.removeprefix("Parametrized"), weight.rule)
    if ends is not None:
        _log.log(logging.INFO if ends.observed else logging.WARNING, "%s", ends)
    warning = full_precision(model).warning
    if warning is not None:
        _log.warning("%s", warning)
    return model


def _requested(rule: str | Mapping[str, Any], values: dict[str, Any]) -> tuple[LayerRule, LayerChoice]:
    """Return the network's rule and the choice of layers that the arguments of `quantize` ask for."""
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
    return network_rule, choice.model_copy(update={"layers": entries})


def plan_of(model: nn.Module, rule: LayerRule, choice: LayerChoice, ends: Ends | None = None) -> QuantPlan:
    """Return the rule of each weight of `model` that can be quantized, by name in network order.

    Args:
        model: the network, not quantized.
        rule: the network's rule.
        choice: the choice of layers.
        ends: the first and the last layer; only needed for `first_last=full`.

    Raises:
        SettingsError: see `ternlab.quantizers.plan.layer_plan`.
    """
    return layer_plan([weight.name for weight in layer_weights(model)], rule, choice, ends.names if ends else None)


def attach(model: nn.Module, plan: QuantPlan) -> nn.Module:
    """Quantize the layers of `model` in place as `plan` says; see `quantize`."""
    planned = [(weight, plan.get(weight.name)) for weight in layer_weights(model)]
    chosen = [(weight, rule) for weight, rule in planned if rule is not None]
    # Check and build everything before changing any layer: on an error the network is unchanged.
    for weight, _ in chosen:
        check_quantizable(weight)
    quantizers = [_quantizer_for(weight, rule) for weight, rule in chosen]
    for (weight, _), quantizer in zip(chosen, quantizers, strict=True):
        parametrize.register_parametrization(weight.layer, weight.parameter, quantizer)
    return model


def _quantizer_for(weight: LayerWeight, rule: LayerRule) -> Quantizer:
    """Return the parametrization of a layer's weight; rules see the filters in the first dimension."""
    value = weight.value.detach()
    quantizer = build_quantizer(rule.name, as_seen_by_rule(weight.layer, value), rule.options)
    if isinstance(weight.layer, TRANSPOSED):
        return FiltersFirst(value, quantizer, weight.layer.groups)
    return quantizer


def build_quantizer(rule: str, weight: Tensor, options: RuleOptions) -> Quantizer:
    """Return the parametrization of one weight: the rule, or its residual expansion."""
    cls: type[Quantizer] = rule_class(rule)
    if isinstance(options, TernaryOptions) and options.rel.factors:
        return Residual(weight, options, cls)
    return cls(weight, options)


def quantized_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (name, layer) for every quantized layer, in network order.

    `ternlab.quantized_weights` yields each weight instead, for layers that have several (attention).
    """
    for name, layer in model.named_modules():
        if quantized_parameters(layer):
            yield name, layer


def quantizer_of(layer: nn.Module, parameter: str | None = None) -> Quantizer:
    """Return the rule attached to `layer`; see `codes`."""
    return _weight_of(layer, parameter).rule


def latent_weight(layer: nn.Module, parameter: str | None = None) -> Tensor:
    """Return the latent (trained, full-precision) weight of a quantized layer; see `codes`."""
    return _weight_of(layer, parameter).latent


def codes(layer: nn.Module, parameter: str | None = None) -> Codes:
    """Return the planes of a quantized layer: integer codes, scales and thresholds.

    Args:
        layer: a quantized layer.
        parameter: name of the weight (`q_proj_weight`), for a layer that has several quantized ones.

    Raises:
        ValueError: the layer is not quantized, or has several quantized weights and `parameter` is not given.
    """
    return _weight_of(layer, parameter).codes()


def _weight_of(layer: nn.Module, parameter: str | None) -> LayerWeight:
    found = quantized_parameters(layer)
    kind = type(layer).__name__
    if not found:
        raise ValueError(f"The value of `layer` is {kind}, but must be a quantized layer.")
    if parameter is None and len(found) > 1:
        raise ValueError(f"{kind} has several quantized weights: pass parameter='{found[0]}' or one of {found[1:]}.")
    if parameter is not None and parameter not in found:
        raise ValueError(f"{kind} has no quantized weight {parameter!r}; it has {found}.")
    chosen = found[0] if parameter is None else parameter
    return LayerWeight(weight_name("", chosen), layer, chosen)
