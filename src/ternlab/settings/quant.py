"""Settings of the quantization: which layers, which rule, and where the weights start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, SerializeAsAny, field_validator

from ternlab.core.check import checked
from ternlab.core.fields import Section
from ternlab.errors import SettingsError, did_you_mean
from ternlab.quantizers.options import RuleOptions
from ternlab.quantizers.registry import RULES, rule_entry, rule_options


class LayerChoice(Section):
    """Which convolutions and linear layers are quantized.

    Attributes:
        first_last: `ternary` quantizes the first and the last layer too, `full` leaves them as they are.
        include: name patterns (`layer1.*`); a layer must match one of them. Default: every layer.
        exclude: name patterns of layers left in full precision.
    """

    first_last: Literal["ternary", "full"] = "ternary"
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()

    @field_validator("include", "exclude", mode="before")
    @classmethod
    def _one_pattern(cls, patterns: Any) -> Any:
        """Take a single pattern for a list of one."""
        return (patterns,) if isinstance(patterns, str) else patterns


class QuantSettings(LayerChoice):
    """The rule and its options, the layers, and the start of the weights.

    Attributes:
        name: a rule registered in `ternlab.quantizers.registry`, or `none` for full precision.
        init: `baseline` starts from the trained full-precision twin, `scratch` from the model's own
            initialization, `file` from `init_file`.
        init_file: weights of the same network in full precision.
        rule: the rule's own options; in the configuration they stand beside the others.
    """

    name: str = "none"
    init: Literal["baseline", "scratch", "file"] = "baseline"
    init_file: str | None = None
    rule: SerializeAsAny[RuleOptions] = Field(default_factory=RuleOptions)

    @property
    def active(self) -> bool:
        """Whether the run quantizes anything."""
        return self.name != "none"

    @property
    def label(self) -> str:
        """What the rule is called in ids and tables: its name and what makes another rule of it (`sws-rel2`)."""
        return self.rule.label(self.name)


_COMMON = set(QuantSettings.model_fields) - {"rule"}


def quant_settings(values: Mapping[str, Any]) -> QuantSettings:
    """Check the flat `quant` group of the configuration.

    Args:
        values: the common settings and the rule's options side by side.

    Raises:
        SettingsError: unknown rule, unknown option, value outside its range, or an impossible pair.
    """
    name = str(values.get("name", "none"))
    common = {key: value for key, value in values.items() if key in _COMMON}
    options = {key: value for key, value in values.items() if key not in _COMMON}
    if name == "none":
        for key in options:
            raise SettingsError(
                f"quant.{key}",
                rule="full precision (quant=none) has no such option",
                instead=f"quant=RULE quant.{key}=..., with RULE one of: {', '.join(sorted(RULES))}",
            )
        return checked(QuantSettings, common, prefix="quant")
    known = {*rule_entry(name).options.model_fields, *_COMMON}
    for key in options:
        if key not in known:
            raise SettingsError(f"quant.{key}", rule=f"{name} has no such option", instead=did_you_mean(key, known))
    settings = checked(QuantSettings, common, prefix="quant").model_copy(update={"rule": rule_options(name, options)})
    return _start_checked(settings)


def _start_checked(settings: QuantSettings) -> QuantSettings:
    if settings.init == "file" and settings.init_file is None:
        raise SettingsError(
            "quant.init",
            value="file",
            rule="needs the file with the first weights",
            instead="quant.init=file quant.init_file=PATH",
        )
    if settings.init != "file" and settings.init_file is not None:
        raise SettingsError(
            "quant.init_file",
            value=settings.init_file,
            rule=f"goes with quant.init=file, but quant.init={settings.init}",
            instead="quant.init=file quant.init_file=PATH, or neither",
        )
    return settings
