"""Options that quantization rules share; does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from ternlab.core.dotted import find, put
from ternlab.core.errors import Conflict
from ternlab.core.fields import NonNegativeFloat, PositiveFloat, Section, changed_defaults


class SurrogateOptions(Section):
    """The gradient of the latent weight (see `ternlab.quantizers.surrogates`).

    Attributes:
        kind: `straight`, `clipped` or `stable`.
        bound: for `clipped`: no gradient where |w| >= bound (`None`: outside the rule's own range).
        amplitude: for `stable`; 0 is the plain rule. At 1 / (sqrt(2) pi) and above the factor would become negative.
    """

    kind: Literal["straight", "clipped", "stable"] = "straight"
    bound: PositiveFloat | None = None
    amplitude: float = Field(0.21, ge=0, lt=0.225)


class RuleOptions(Section):
    """Base class of every rule's options.

    Attributes:
        surrogate: the gradient of the latent weight; by default, the rule's published one.
        has_range: whether the rule clips weights to its own range.
        reads_weights: whether the rule fits some weights only, which it must be given.
    """

    has_range: ClassVar[bool] = False
    reads_weights: ClassVar[bool] = False

    surrogate: SurrogateOptions = SurrogateOptions()

    def label(self, name: str) -> str:
        """Return the rule's label in tables and ids: its name, plus what makes it a different rule."""
        return name

    def changed(self, *, for_identity: bool = False) -> dict[str, Any]:
        """Return the options that are not at their defaults, as plain values that validate to these options.

        Args:
            for_identity: an option whose default has changed is left out at its original default, not at the current
                one. Otherwise it is always included: without it, the options are those of an earlier version.
        """
        plain = self.model_dump(mode="json")
        found = _changed(self, plain)
        for name, original in changed_defaults(type(self)).items():
            if for_identity and getattr(self, name) == original:
                found.pop(name, None)
            else:
                found[name] = plain[name]
        own = type(self).model_fields["surrogate"].get_default()
        if "surrogate" in found:
            # The missing values are filled in from the rule's own surrogate, not from the defaults of its class.
            found["surrogate"] = {
                name: value for name, value in plain["surrogate"].items() if value != getattr(own, name)
            }
        return found

    @model_validator(mode="before")
    @classmethod
    def _rest_of_the_surrogate(cls, values: Any) -> Any:
        """Fill in the rule's own surrogate options if only some are given."""
        given = values.get("surrogate") if isinstance(values, Mapping) else None
        if not isinstance(given, Mapping):
            return values
        own: SurrogateOptions = cls.model_fields["surrogate"].get_default()
        return {**values, "surrogate": {**own.model_dump(), **given}}

    @model_validator(mode="after")
    def _bound_known(self) -> RuleOptions:
        if self.surrogate.kind == "clipped" and self.surrogate.bound is None and not self.has_range:
            raise Conflict(
                "surrogate.kind=clipped needs a bound, because this rule has no range of its own",
                {"surrogate.bound": 1.0},
                {"surrogate.kind": "straight"},
            )
        return self


def _changed(section: Section, plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `plain`, a dump of `section`, that differ from the section's defaults."""
    found: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if value != field.get_default(call_default_factory=True, validated_data={}):
            found[name] = _changed(value, plain[name]) if isinstance(value, Section) else plain[name]
    return found


class RelOptions(Section):
    """Residual expansion (He, Gong & Fan, WACV 2019): a sum of several ternary weights of one latent weight.

    Attributes:
        factors: one summand per factor, which replaces the rule's own threshold factor. Empty: the plain rule.
    """

    factors: tuple[PositiveFloat, ...] = ()


class TernaryOptions(RuleOptions):
    """Base class of the options of rules with codes -1, 0, +1.

    Attributes:
        rel: residual expansion.
        expanded_option: dotted name of the option that the factors of the expansion replace.
    """

    expanded_option: ClassVar[str] = "factor"

    rel: RelOptions = RelOptions()

    @model_validator(mode="after")
    def _expansion_replaces_its_option(self) -> TernaryOptions:
        """Reject an option that would be ignored: two runs would differ in their ids but not in their results."""
        if self.rel.factors and self._expanded() != type(self)()._expanded():
            plain = {self.expanded_option: type(self)()._expanded()}
            raise Conflict(
                f"rel.factors replaces {self.expanded_option}, which must be at its default", plain, {"rel.factors": []}
            )
        return self

    def _expanded(self) -> Any:
        return find(self.model_dump(), self.expanded_option)

    def label(self, name: str) -> str:
        """Return the name, with the number of summands of a residual expansion (`sws-rel2`)."""
        return f"{name}-rel{len(self.rel.factors)}" if self.rel.factors else name

    def summand(self, factor: float) -> TernaryOptions:
        """Return the options of the summand for `factor`."""
        values = self.model_dump()
        put(values, self.expanded_option, factor)
        values["rel"] = {}
        return self.model_validate(values)


class ThresholdOptions(Section):
    """Trainable thresholds.

    Attributes:
        init: initial threshold of a layer, as a fraction of `unit`.
        unit: `max` is the largest |w| of the layer, `sigma` the standard deviation of its weights.
        lr: learning rate of the thresholds (`None`: that of the weights). The schedule is shared.
        clamp: bound of |dL/dthreshold| before the step (`None`: no bound).
    """

    init: NonNegativeFloat = 0.05
    unit: Literal["max", "sigma"] = "max"
    lr: PositiveFloat | None = None
    clamp: PositiveFloat | None = 1e-3


class TrainedThresholdOptions(TernaryOptions):
    """Base class of the options of rules whose thresholds are trained with their own optimizer.

    Attributes:
        update: `joint` updates weights and thresholds after one pass; `sequential` updates the thresholds first,
            then the weights after a second pass over the same batch.
        threshold: initialization and training of the thresholds.
    """

    expanded_option: ClassVar[str] = "threshold.init"

    update: Literal["joint", "sequential"] = "joint"
    threshold: ThresholdOptions = ThresholdOptions()
