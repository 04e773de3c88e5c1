"""Settings of the optimizer, its schedule and the loss."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ternlab.core.errors import Conflict
from ternlab.core.fields import Fraction, NonNegativeFloat, PositiveFloat, Section, changed_default


class ScheduleSettings(Section):
    """The learning rate schedule, a pure function of the step.

    Attributes:
        name: `constant`, `step` (multiplied by a factor at each milestone) or `cosine` (down to `final`).
        milestones: for `step`: epochs at which the rate is multiplied.
        factors: for `step`: one factor per milestone, or a single factor for all.
        warmup_epochs: epochs of linear warm-up from zero; may be fractional.
        final: for `cosine`: the final rate as a fraction of `lr`.
    """

    name: Literal["constant", "step", "cosine"] = changed_default("cosine", left_out_at="constant")
    milestones: tuple[NonNegativeFloat, ...] = ()
    factors: tuple[PositiveFloat, ...] = ()
    warmup_epochs: NonNegativeFloat = changed_default(1.0, left_out_at=0.0)
    final: NonNegativeFloat = 0.0

    @model_validator(mode="after")
    def _factor_for_each_milestone(self) -> ScheduleSettings:
        if self.name != "step":
            return self
        if not self.milestones or list(self.milestones) != sorted(set(self.milestones)):
            rule = f"milestones = {list(self.milestones)} must be increasing epochs"
            raise Conflict(rule, self._with_milestones(sorted(set(self.milestones)) or [80, 120, 160]))
        if len(self.factors) not in (1, len(self.milestones)):
            raise Conflict(
                f"factors = {list(self.factors)} must be one number, or one for each of the "
                f"{len(self.milestones)} milestones",
                {"factors": [0.1]},
                {"factors": [0.1] * len(self.milestones)},
            )
        return self

    def _with_milestones(self, milestones: list[float]) -> dict[str, object]:
        """Return `milestones`, with factors that go with them."""
        fit = len(self.factors) in (1, len(milestones))
        return {"milestones": milestones} if fit else {"milestones": milestones, "factors": [0.1]}


class OptimSettings(Section):
    """The optimizer of the weights; thresholds have their own (see `quant.threshold`).

    An optimizer adds its own options in a subclass (`ternlab.optimizers.registry`).

    Attributes:
        name: a name registered in `ternlab.optimizers.registry`.
        lr: initial learning rate (after warm-up).
        weight_decay: weight decay of the weights; thresholds are never decayed.
        decay_bn, decay_bias: whether BatchNorm parameters and biases are also decayed.
        label_smoothing: fraction of the target that is spread over all classes.
        schedule: see `ScheduleSettings`.
    """

    name: str = "sgd"
    lr: PositiveFloat = 0.02
    weight_decay: NonNegativeFloat = changed_default(1e-4, left_out_at=0.0)
    decay_bn: bool = False
    decay_bias: bool = False
    label_smoothing: Fraction = 0.0
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings)
