"""Settings of the quantization: which layers, which rule, and the initial weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, SerializeAsAny

from ternlab.core.check import checked
from ternlab.core.errors import SettingsError, did_you_mean
from ternlab.quantizers.entries import layer_entries
from ternlab.quantizers.options import RuleOptions, TrainedThresholdOptions
from ternlab.quantizers.plan import FULL_PRECISION, LayerChoice, LayerEntry, LayerRule, simplified
from ternlab.quantizers.registry import RULES, rule_entry, rule_options


class QuantSettings(LayerChoice):
    """The rule and its options, the layers, and the initial weights.

    Attributes:
        name: a rule registered in `ternlab.quantizers.registry`, or `none` for full precision; `layers` gives the
            rules of layers that differ.
        init: `baseline` starts from the trained full-precision baseline, `scratch` from the model's own
            initialization, `file` from `init_file`.
        init_file: full-precision weights of the same network.
        rule: the rule's own options; in the configuration they are next to the others.
    """

    name: str = FULL_PRECISION
    init: Literal["baseline", "scratch", "file"] = "baseline"
    init_file: str | None = None
    rule: SerializeAsAny[RuleOptions] = Field(default_factory=RuleOptions)

    @property
    def network_rule(self) -> LayerRule:
        """The rule of the layers that no entry of `layers` matches."""
        return LayerRule(name=self.name, options=self.rule)

    @property
    def active(self) -> bool:
        """Whether the run quantizes anything."""
        return self.name != FULL_PRECISION or bool(self.layers)

    @property
    def differing(self) -> tuple[LayerEntry, ...]:
        """The entries of `layers`, without trailing ones that give the rule that applies to all other layers anyway."""
        entries = self.layers
        while entries and not self.restrictions() and entries[-1].rule == self.network_rule:
            entries = entries[:-1]
        return entries

    @property
    def label(self) -> str:
        """The rule's label in ids and tables: its name, plus what makes it a different rule (`sws-rel2`).

        If layers have rules with different labels: the network's label (else the first entry's) followed by `-mixed`.
        """
        labels = [rule.label for rule in (self.network_rule, *self.differing) if rule.active]
        if not labels:
            return FULL_PRECISION
        return labels[0] if len(set(labels)) == 1 else f"{labels[0]}-mixed"

    @property
    def reading(self) -> str | None:
        """The name of the first rule that reads codes from weights, `None` if there is none."""
        rules = (self.network_rule, *(entry.rule for entry in self.layers))
        return next((rule.name for rule in rules if rule.options.reads_weights), None)

    @property
    def sequential(self) -> bool:
        """Whether thresholds and weights are updated one after the other, each with its own pass over the batch."""
        return any(update == "sequential" for _, update in _updates(self))


_COMMON = set(QuantSettings.model_fields) - {"rule"}


def quant_settings(values: Any) -> QuantSettings:
    """Validate the flat `quant` group of the configuration.

    Args:
        values: the common settings and the rule's options, at the same level.

    Raises:
        SettingsError: unknown rule, unknown option, a value outside its range, or an invalid combination.
    """
    if not isinstance(values, Mapping):
        instead = f"quant={FULL_PRECISION}"
        raise SettingsError("quant", value=values, rule="is a group of settings", instead=instead)
    name = str(values.get("name", FULL_PRECISION))
    common = {key: value for key, value in values.items() if key in _COMMON and key != "layers"}
    options = {key: value for key, value in values.items() if key not in _COMMON}
    rule = _network_rule(name, options)
    entries = layer_entries(values.get("layers") or (), rule)
    settings = checked(QuantSettings, {**common, "layers": entries}, prefix="quant")
    rule, entries = simplified(rule, settings)
    settings = settings.model_copy(update={"name": rule.name, "rule": rule.options, "layers": entries})
    if settings.active:
        _check_start(settings)
    _check_updates(settings)
    return settings


def _network_rule(name: str, options: Mapping[str, Any]) -> LayerRule:
    if name == FULL_PRECISION:
        for key in options:
            rule = "full precision (quant=none) has no such option"
            raise SettingsError(f"quant.{key}", rule=rule, instead=_rules_with(key) or did_you_mean(key, _COMMON))
        return LayerRule()
    known = {*rule_entry(name).options.model_fields, *_COMMON}
    for key in options:
        if key not in known:
            raise SettingsError(f"quant.{key}", rule=f"{name} has no such option", instead=did_you_mean(key, known))
    return LayerRule(name=name, options=rule_options(name, options))


def _rules_with(key: str) -> str:
    """Return what to type to select a rule that has the option `key`; empty if there is none."""
    option, _, _ = key.partition(".")
    having = sorted(name for name, entry in RULES.items() if option in entry.options.model_fields)
    return f"quant=RULE quant.{key}=..., with RULE one of: {', '.join(having)}" if having else ""


def _updates(settings: QuantSettings) -> Iterator[tuple[str, str]]:
    """Yield the setting name and the value of `update` for each rule with trained thresholds."""
    rules = [("quant", settings.network_rule)]
    rules += [(f"quant.layers.{place}", entry.rule) for place, entry in enumerate(settings.layers)]
    for setting, rule in rules:
        if isinstance(rule.options, TrainedThresholdOptions):
            yield f"{setting}.update", rule.options.update


def _check_updates(settings: QuantSettings) -> None:
    first: tuple[str, str] | None = None
    for setting, update in _updates(settings):
        first = first or (setting, update)
        if update != first[1]:
            raise SettingsError(
                setting,
                value=update,
                rule=f"all layers share the passes over a batch, and {first[0]}={first[1]}",
                instead=f"update: {first[1]}",
            )


def _check_start(settings: QuantSettings) -> None:
    if settings.reading is not None and settings.init == "baseline":
        raise SettingsError(
            "quant.init",
            value="baseline",
            rule=f"{settings.reading} reads weights that are ternary already; a baseline is trained in full precision",
            instead="quant.init=scratch model.weights=FILE",
        )
    if settings.init == "file" and settings.init_file is None:
        raise SettingsError(
            "quant.init",
            value="file",
            rule="needs a file with the initial weights",
            instead="quant.init=file quant.init_file=PATH",
        )
    if settings.init != "file" and settings.init_file is not None:
        raise SettingsError(
            "quant.init_file",
            value=settings.init_file,
            rule=f"only applies to quant.init=file, but quant.init={settings.init}",
            instead="quant.init=file quant.init_file=PATH, or leave both out",
        )
