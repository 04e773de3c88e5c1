"""Settings of the optimizers of torch."""

from __future__ import annotations

from pydantic import model_validator

from ternlab.core.fields import Fraction, PositiveFloat
from ternlab.settings.optim import OptimSettings


class TorchOptimSettings(OptimSettings):
    """Settings of `sgd`, `adam` (L2 decay in the gradient) and `adamw` (decoupled decay).

    The three share one class: an option of one that another ignores is part of the ids of runs.

    Attributes:
        momentum, nesterov: of SGD.
        betas, eps: of Adam.
    """

    momentum: Fraction = 0.9
    nesterov: bool = True
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> TorchOptimSettings:
        if self.name == "sgd" and self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=true needs momentum > 0: give optim.nesterov=false or optim.momentum=0.9")
        return self
