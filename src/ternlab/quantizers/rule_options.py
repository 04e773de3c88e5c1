"""The options of each built-in rule; the rule's own file explains what they do."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from ternlab.core.errors import Conflict
from ternlab.core.fields import PositiveFloat, changed_default
from ternlab.quantizers.options import RuleOptions, SurrogateOptions, TernaryOptions, TrainedThresholdOptions

Granularity = Literal["layer", "filter"]


class TGAOptions(TrainedThresholdOptions):
    """Options of the truncated Gaussian approximation (see `ternlab.quantizers.tga`).

    Attributes:
        scale: `tga` adds the mean of the weights to the scale, as published; `centered` does not, which gives the
            L2-optimal common scale for a Gaussian.
        stats_grad: whether the gradient also reaches the weights through their mean and standard deviation.
        gradient_correction: divide the straight-through gradient of the codes by the scale.
    """

    scale: Literal["tga", "centered"] = "tga"
    stats_grad: bool = True
    gradient_correction: bool = True


class SWSOptions(TernaryOptions):
    """Options of statistical weight scaling (see `ternlab.quantizers.sws`).

    Attributes:
        factor: threshold as a fraction of the largest |w|.
        granularity: one threshold and scale per layer or per filter.
    """

    factor: PositiveFloat = 0.05
    granularity: Granularity = "layer"
    surrogate: SurrogateOptions = SurrogateOptions(kind="clipped", bound=1.0)


class TWNOptions(TernaryOptions):
    """Options of ternary weight networks (see `ternlab.quantizers.twn`).

    Attributes:
        factor: threshold as a fraction of the mean |w|: 0.7 as published, 0.75 in the authors' later code.
        granularity: one threshold and scale per layer or per filter.
    """

    factor: PositiveFloat = 0.7
    granularity: Granularity = "layer"


class TTQOptions(TernaryOptions):
    """Options of trained ternary quantization (see `ternlab.quantizers.ttq`).

    Attributes:
        factor: threshold as a fraction of the largest |w|.
        first_scale: `relative` trains both scales as multiples of the mean |w| beyond the threshold on their side,
            starting from 1; `one` starts from 1 itself, as in the authors' code, whatever the size of the weights;
            `mean` starts from that mean |w|, which makes the gradient of the latent weights small.
    """

    factor: PositiveFloat = 0.05
    first_scale: Literal["relative", "one", "mean"] = changed_default("relative", left_out_at="one")


class GivenOptions(RuleOptions):
    """Options of weights that are ternary already (see `ternlab.quantizers.given`).

    Attributes:
        granularity: three values per layer or per filter.
    """

    reads_weights: ClassVar[bool] = True

    granularity: Granularity = "layer"


class BWNOptions(RuleOptions):
    """Options of binary weight networks (see `ternlab.quantizers.bwn`).

    Attributes:
        granularity: one scale per layer or per filter.
    """

    granularity: Granularity = "filter"
    surrogate: SurrogateOptions = SurrogateOptions(kind="clipped", bound=1.0)


class AbsmeanOptions(TernaryOptions):
    """Options of BitNet b1.58's weight rule (see `ternlab.quantizers.absmean`).

    Attributes:
        factor: threshold as a fraction of the mean |w|; 0.5 is the published rounding.
        granularity: one scale per layer or per filter.
    """

    factor: PositiveFloat = 0.5
    granularity: Granularity = "layer"


class LSQOptions(TernaryOptions):
    """Options of learned step size quantization (see `ternlab.quantizers.lsq`).

    Attributes:
        bits: `ternary` has the codes -1, 0, 1; b bits have -2^(b-1) .. 2^(b-1) - 1.
        factor: initial step size as a multiple of its published initialization.
        granularity: one step size per layer or per filter.
    """

    has_range: ClassVar[bool] = True

    bits: Literal["ternary", 2, 3, 4, 8] = "ternary"
    factor: PositiveFloat = 1.0
    granularity: Granularity = "layer"
    surrogate: SurrogateOptions = SurrogateOptions(kind="clipped")

    def label(self, name: str) -> str:
        """Return the name with the bits (`lsq4`); for ternary, only the name."""
        return super().label(name if self.bits == "ternary" else f"{name}{self.bits}")

    @model_validator(mode="after")
    def _expands_ternary(self) -> LSQOptions:
        if self.rel.factors and self.bits != "ternary":
            raise Conflict(
                "residual expansion (rel.factors) needs ternary weights", {"bits": "ternary"}, {"rel.factors": []}
            )
        return self


class SEQOptions(TernaryOptions):
    """Options of stretched elastic quantization, ternary (see `ternlab.quantizers.seq`).

    Attributes:
        factor: initial range as a multiple of the largest |w|.
        granularity: one range per layer or per filter.
    """

    has_range: ClassVar[bool] = True

    factor: PositiveFloat = 1.0
    granularity: Granularity = "filter"
    surrogate: SurrogateOptions = SurrogateOptions(kind="clipped")


class UniformOptions(RuleOptions):
    """Options of uniform symmetric quantization (see `ternlab.quantizers.uniform`).

    Attributes:
        bits: b bits have the codes -(2^(b-1) - 1) .. 2^(b-1) - 1.
        granularity: one step size per layer or per filter.
    """

    bits: Literal[2, 3, 4, 5, 6, 7, 8] = 8
    granularity: Granularity = "layer"

    def label(self, name: str) -> str:
        """Return the name with the bits (`uniform8`)."""
        return f"{name}{self.bits}"
