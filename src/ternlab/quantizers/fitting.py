"""Which layers a rule applies to, where that depends on their weights."""

from __future__ import annotations

import logging
from collections.abc import Collection

from torch import nn

from ternlab.core.errors import SettingsError
from ternlab.quantizers.base import Quantizer
from ternlab.quantizers.filters import as_seen_by_rule
from ternlab.quantizers.plan import LayerRule, QuantPlan
from ternlab.quantizers.registry import rule_class
from ternlab.quantizers.weights import LayerWeight, check_quantizable, latent_entry, layer_weights

_log = logging.getLogger(__name__)
_SHOWN = 5


def fitting(model: nn.Module, plan: QuantPlan) -> QuantPlan:
    """Return the plan with full precision for weights that their rule does not fit; say which do.

    Raises:
        SettingsError: a rule fits none of its layers.
    """
    found = dict(plan)
    rules = [rule for rule in plan.values() if rule is not None and rule.options.reads_weights]
    for name in dict.fromkeys(rule.name for rule in rules):
        planned = [weight for weight in layer_weights(model) if (rule := plan[weight.name]) and rule.name == name]
        others = [weight.name for weight in planned if not _fits(weight, plan[weight.name])]
        if len(others) == len(planned):
            raise SettingsError(
                "quant",
                value=name,
                rule=f"does not fit the weights of any layer ({_listed(others)})",
                instead="the weights of a ternary network (model.weights=FILE), or a rule that makes weights ternary: "
                "quant=ttq",
            )
        found |= dict.fromkeys(others)
        left = f"; in full precision: {_listed(others)}" if others else ""
        _log.info("%s fits the weights of %d of %d layers%s", name, len(planned) - len(others), len(planned), left)
    return found


def as_stored(model: nn.Module, plan: QuantPlan, entries: Collection[str]) -> QuantPlan:
    """Return the plan with full precision for weights that their rule did not fit when they were stored.

    Args:
        model: the network, not quantized.
        plan: its plan.
        entries: names in the state dict of the quantized network.
    """
    stored = {weight.name for weight in layer_weights(model) if latent_entry(weight) in entries}
    return {
        name: None if rule is not None and rule.options.reads_weights and name not in stored else rule
        for name, rule in plan.items()
    }


def _fits(weight: LayerWeight, rule: LayerRule | None) -> bool:
    assert rule is not None
    check_quantizable(weight)
    own: type[Quantizer] = rule_class(rule.name)
    return own.fits(as_seen_by_rule(weight.layer, weight.value.detach()), rule.options)


def _listed(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
