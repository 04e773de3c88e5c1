"""Assigns rules to the layers of a network; does not import torch.

A plan is given as the network's rule, a choice of layers, and entries `{match: PATTERN, name: RULE, ...}` for layers
that differ. For each layer, the first matching entry counts. A layer that no entry matches has the network's rule if
the choice includes it, and stays in full precision otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import SerializeAsAny, field_validator

from ternlab.core.errors import SettingsError, did_you_mean
from ternlab.core.fields import Section
from ternlab.quantizers.options import RuleOptions

FULL_PRECISION = "none"
EVERY_LAYER = "*"


class LayerRule(Section):
    """A rule with its options.

    Attributes:
        name: a registered rule, or `none` for full precision.
        options: the rule's validated options.
    """

    name: str = FULL_PRECISION
    options: SerializeAsAny[RuleOptions] = RuleOptions()

    @property
    def active(self) -> bool:
        """Whether the rule quantizes."""
        return self.name != FULL_PRECISION

    @property
    def label(self) -> str:
        """The rule's label in ids and tables: its name, plus what makes it a different rule (`sws-rel2`)."""
        return self.options.label(self.name)


class LayerEntry(LayerRule):
    """The rule of the layers that a pattern matches.

    Attributes:
        match: a layer name, or a name pattern (`layer4.*`).
    """

    match: str

    @property
    def rule(self) -> LayerRule:
        """The rule without the pattern."""
        return LayerRule(name=self.name, options=self.options)

    def typed(self) -> dict[str, Any]:
        """Return the entry as typed by a user, as plain values: pattern, rule, and options not at their defaults."""
        return self._plain(for_identity=False)

    def identity(self) -> dict[str, Any]:
        """Return the entry as it counts for a run's id: options at the defaults that they had at first are left out."""
        return self._plain(for_identity=True)

    def _plain(self, *, for_identity: bool) -> dict[str, Any]:
        options = self.options.changed(for_identity=for_identity) if self.active else {}
        return {"match": self.match, "name": self.name, **options}


class LayerChoice(Section):
    """Which convolutions and linear layers are quantized, and which of them have their own rule.

    Attributes:
        first_last: `ternary` also quantizes the first and the last layer; `full` leaves them in full precision. The
            order is that of execution where it can be observed, else that of definition.
        include: name patterns (`layer1.*`); a layer must match one of them. Default: every layer.
        exclude: name patterns of layers that stay in full precision.
        layers: rules of layers that differ from the network's; the first match counts and overrides the other choices.
    """

    first_last: Literal["ternary", "full"] = "ternary"
    include: tuple[str, ...] = (EVERY_LAYER,)
    exclude: tuple[str, ...] = ()
    layers: tuple[LayerEntry, ...] = ()

    @field_validator("include", "exclude", mode="before")
    @classmethod
    def _one_pattern(cls, patterns: Any) -> Any:
        """Accept a single pattern as a list of one."""
        return (patterns,) if isinstance(patterns, str) else patterns

    def restrictions(self) -> dict[str, Any]:
        """Return the choices other than `layers` that exclude layers: `first_last`, `include`, `exclude`."""
        names = ("first_last", "include", "exclude")
        return {name: getattr(self, name) for name in names if getattr(self, name) != _default(name)}


# The rule of every layer that can be quantized, in network order; `None` is full precision.
QuantPlan = dict[str, LayerRule | None]


def matches(layer: str, pattern: str) -> bool:
    """Return whether `pattern` equals or matches the layer's name."""
    return layer == pattern or fnmatchcase(layer, pattern)


def simplified(rule: LayerRule, choice: LayerChoice) -> tuple[LayerRule, tuple[LayerEntry, ...]]:
    """Return the network's rule and the entries; an entry for every layer (`*`) becomes the network's rule.

    So each plan has one canonical form, and one rule for all layers gives the same run however it is typed.

    Raises:
        SettingsError: an entry or a choice would have no effect, or nothing is quantized.
    """
    entries = choice.layers
    place = next((place for place, entry in enumerate(entries) if entry.match == EVERY_LAYER), None)
    if place is not None:
        if place + 1 < len(entries):
            raise SettingsError(
                f"quant.layers.{place + 1}",
                value=entries[place + 1].match,
                rule=f"is never reached: quant.layers.{place} matches every layer",
                instead=f"put the entry with match: '{EVERY_LAYER}' last",
            )
        _refuse_restrictions(choice, f"quant.layers.{place} matches every layer")
        rule, entries = entries[place].rule, entries[:place]
    if not rule.active and (choice.layers or entries):
        _refuse_restrictions(choice, "without a rule for the network, only quant.layers says what is quantized")
        if not any(entry.active for entry in entries):
            raise SettingsError(
                "quant.layers", rule="leaves every layer in full precision", instead="quant=none without quant.layers"
            )
    return rule, entries


def layer_plan(
    names: Sequence[str], rule: LayerRule, choice: LayerChoice, ends: Collection[str] | None = None
) -> QuantPlan:
    """Return the plan of a network.

    Args:
        names: names of the weights that can be quantized, in network order.
        rule: the network's rule.
        choice: the choice of layers, with the entries of those that differ.
        ends: those of the first and the last layer; default: the first and the last of `names`.

    Raises:
        SettingsError: a pattern matches no layer or has no effect, or nothing is left to quantize.
    """
    if names:
        left = _after_entries(names, choice.layers)
        _check_patterns(names, left, choice)
    if ends is None:
        ends = {names[0], names[-1]} if names else set()
    plan: QuantPlan = {}
    for name in names:
        entry = next((entry for entry in choice.layers if matches(name, entry.match)), None)
        kept = choice.first_last == "full" and name in ends
        of_network = not kept and _chosen(name, choice)
        found = entry.rule if entry else rule if of_network else LayerRule()
        plan[name] = found if found.active else None
    if not any(plan.values()):
        raise SettingsError(
            "quant", rule="no convolution or linear layer is left to quantize", instead="use fewer exclude patterns"
        )
    if rule.active and rule not in plan.values():
        raise SettingsError(
            "quant",
            value=rule.name,
            rule="no layer is left for this rule: quant.layers gives the rules of all the others",
            instead="use quant=none with the same quant.layers",
        )
    return plan


def _after_entries(names: Sequence[str], entries: Sequence[LayerEntry]) -> list[str]:
    """Return the layers that no entry matches.

    Raises:
        SettingsError: an entry applies to no layer.
    """
    left = list(names)
    for place, entry in enumerate(entries):
        setting = f"quant.layers.{place}.match"
        if not any(matches(name, entry.match) for name in names):
            instead = did_you_mean(entry.match, names)
            raise SettingsError(setting, value=entry.match, rule="matches no layer", instead=instead)
        if not any(matches(name, entry.match) for name in left):
            raise SettingsError(
                setting,
                value=entry.match,
                rule="has no effect: the entries before it match all of its layers, and the first match counts",
                instead="move this entry before them, or leave it out",
            )
        left = [name for name in left if not matches(name, entry.match)]
    return left


def _check_patterns(names: Sequence[str], left: Sequence[str], choice: LayerChoice) -> None:
    for pattern in (*choice.include, *choice.exclude):
        if not any(matches(name, pattern) for name in names):
            instead = did_you_mean(pattern, names)
            raise SettingsError("quant.include/exclude", value=pattern, rule="matches no layer", instead=instead)
        if pattern != EVERY_LAYER and not any(matches(name, pattern) for name in left):
            raise SettingsError(
                "quant.include/exclude",
                value=pattern,
                rule="has no effect: quant.layers gives the rule of every layer that it matches",
                instead="leave one of the two out",
            )


def _refuse_restrictions(choice: LayerChoice, why: str) -> None:
    for name, value in choice.restrictions().items():
        shown = list(value) if isinstance(value, tuple) else value
        raise SettingsError(f"quant.{name}", value=shown, rule=f"has no effect: {why}", instead="leave it out")


def _chosen(name: str, choice: LayerChoice) -> bool:
    included = any(matches(name, pattern) for pattern in choice.include)
    return included and not any(matches(name, pattern) for pattern in choice.exclude)


def _default(name: str) -> Any:
    return LayerChoice.model_fields[name].get_default()
