"""What is said about a layer that cannot learn, in a loop of your own and in a run."""

from __future__ import annotations

import re

from ternlab.quantizers.base import Fault, Quantizer
from ternlab.quantizers.filters import FiltersFirst
from ternlab.quantizers.registry import rule_name
from ternlab.quantizers.residual import Residual


def fault_message(layer: str, rule: Quantizer, fault: Fault, *, in_run: bool) -> str:
    """Return the warning about a layer: its name, its rule, what is wrong, and what to do instead.

    Args:
        layer: name of the layer.
        rule: the rule attached to it.
        fault: what `rule.fault` returned.
        in_run: whether options are settings (`quant.threshold.lr`) or arguments of `ternlab.quantize`.
    """
    instead = re.sub(r"\{(.*?)\}", r"quant.\1" if in_run else r"\1", fault.instead)
    if not in_run and "{threshold.lr}" in fault.instead:
        instead += " (ternlab.param_groups gives it to an optimizer)"
    return f"Layer {layer} ({_label(rule)}): {fault.what}.\n  instead: {instead}"


def _label(rule: Quantizer) -> str:
    if isinstance(rule, FiltersFirst):
        return _label(rule.rule)
    return rule.options.label(rule_name(type(rule.summands[0]) if isinstance(rule, Residual) else type(rule)))
