"""Options of the quantization rules: checked values, free of torch."""

from __future__ import annotations

from typing import Literal

from ternlab.settings.fields import NonNegativeFloat, PositiveFloat, Section


class RuleOptions(Section):
    """Base of every rule's options.

    Attributes:
        update: `joint` steps weights and quantizer parameters after one pass; `sequential` steps the
            quantizer parameters first, then the weights after a second pass on the same batch.
    """

    update: Literal["joint", "sequential"] = "joint"


class ThresholdOptions(Section):
    """Trainable thresholds.

    Attributes:
        init: the first threshold of a layer, as a fraction of `unit`.
        unit: `max` is the largest |w| of the layer, `sigma` the standard deviation of its weights.
        lr: learning rate of the thresholds (`None`: that of the weights). The schedule is shared.
        clamp: bound of |dL/dthreshold| before the step (`None`: no bound).
    """

    init: NonNegativeFloat = 0.05
    unit: Literal["max", "sigma"] = "max"
    lr: PositiveFloat | None = None
    clamp: PositiveFloat | None = 1e-3


class TGAOptions(RuleOptions):
    """Options of truncated Gaussian approximation (see `ternlab.quantizers.tga`).

    Attributes:
        threshold: initialization and training of the thresholds.
        scale: `tga` adds the mean of the weights to the scale, as published; `centered` leaves it out,
            which is the L2-optimal common scale under a Gaussian.
        stats_grad: let the gradient reach the weights through their mean and deviation as well.
        gradient_correction: divide the straight-through gradient of the codes by the scale.
    """

    threshold: ThresholdOptions = ThresholdOptions()
    scale: Literal["tga", "centered"] = "tga"
    stats_grad: bool = True
    gradient_correction: bool = True
