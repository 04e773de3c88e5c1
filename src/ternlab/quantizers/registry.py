"""Registry of the quantization rules: names, options and modules; does not import torch.

A rule is a torch module that is attached to a weight as a parametrization (see `ternlab.quantizers.base`).
Its options are a `RuleOptions` class, so that a wrong option is reported without importing torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ternlab.core.check import checked
from ternlab.core.dotted import nested
from ternlab.core.registry import Registry, checked_reference, imported
from ternlab.quantizers import rule_options as own
from ternlab.quantizers.options import RuleOptions


@dataclass(frozen=True)
class RuleEntry:
    """What the registry knows about a rule.

    Attributes:
        options: the class that validates the rule's options.
        module: `"package.module:Class"` of the parametrization.
    """

    options: type[RuleOptions]
    module: str

    def __str__(self) -> str:
        return self.module


_RULES = {
    "tga": RuleEntry(own.TGAOptions, "ternlab.quantizers.tga:TGA"),
    "sws": RuleEntry(own.SWSOptions, "ternlab.quantizers.sws:SWS"),
    "twn": RuleEntry(own.TWNOptions, "ternlab.quantizers.twn:TWN"),
    "ttq": RuleEntry(own.TTQOptions, "ternlab.quantizers.ttq:TTQ"),
    "given": RuleEntry(own.GivenOptions, "ternlab.quantizers.given:Given"),
    "bwn": RuleEntry(own.BWNOptions, "ternlab.quantizers.bwn:BWN"),
    "absmean": RuleEntry(own.AbsmeanOptions, "ternlab.quantizers.absmean:Absmean"),
    "lsq": RuleEntry(own.LSQOptions, "ternlab.quantizers.lsq:LSQ"),
    "seq": RuleEntry(own.SEQOptions, "ternlab.quantizers.seq:SEQ"),
    "uniform": RuleEntry(own.UniformOptions, "ternlab.quantizers.uniform:Uniform"),
}
RULES: Registry[RuleEntry] = Registry("rule", "quant", _RULES)


def register_rule(name: str, *, options: type[RuleOptions], module: str) -> None:
    """Add a quantization rule under `name`.

    Raises:
        ValueError: the name is taken by another rule, or is `none`, or `module` has no colon.
    """
    if name == "none":
        raise ValueError("The rule name 'none' is reserved for full precision.")
    RULES.register(name, RuleEntry(options, checked_reference("module", module)))


def rule_entry(name: str, setting: str = "quant") -> RuleEntry:
    """Return the entry of the rule `name`.

    Args:
        name: name of the rule.
        setting: the setting it was given in, for messages.

    Raises:
        SettingsError: there is no such rule; near matches are listed.
    """
    return RULES.entry(name, setting)


def rule_options(name: str, options: Mapping[str, Any], prefix: str = "quant") -> RuleOptions:
    """Validate `options` of the rule `name`; a dotted key (`threshold.init`) names a nested option.

    Args:
        name: name of the rule.
        options: plain values.
        prefix: dotted name of the group they were given in, for messages.

    Raises:
        SettingsError: unknown rule, unknown option, or a value outside its range.
    """
    return checked(rule_entry(name).options, nested(options), prefix=prefix)


def rule_class(name: str) -> type[Any]:
    """Import and return the parametrization class of the rule `name`."""
    rule: type[Any] = imported(rule_entry(name).module)
    return rule


def rule_name(cls: type[Any]) -> str:
    """Return the name under which the parametrization class `cls` is registered, else the name of the class."""
    module = f"{cls.__module__}:{cls.__qualname__}"
    return next((name for name, entry in RULES.items() if entry.module == module), cls.__name__)
