"""Settings of the torch optimizers."""

from __future__ import annotations

from pydantic import model_validator

from ternlab.core.errors import Conflict
from ternlab.core.fields import Fraction, NonNegativeFloat, PositiveFloat, changed_default
from ternlab.optimizers.settings import OptimSettings


class TorchOptimSettings(OptimSettings):
    """Settings of `sgd`, `adam` (L2 decay in the gradient) and `adamw` (decoupled decay).

    All three have the same options; even those that only another optimizer uses are part of the run IDs.

    Attributes:
        momentum, nesterov: options of SGD.
        betas, eps: options of Adam.
    """

    momentum: Fraction = 0.9
    nesterov: bool = True
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> TorchOptimSettings:
        if self.name == "sgd" and self.nesterov and self.momentum == 0:
            raise Conflict("nesterov=true needs momentum > 0", {"nesterov": False}, {"momentum": 0.9})
        return self


class AdamSettings(TorchOptimSettings):
    """Settings of `adam`, with its own learning rate and no decay."""

    lr: PositiveFloat = changed_default(1e-3, left_out_at=0.02)
    weight_decay: NonNegativeFloat = 0.0


class AdamWSettings(TorchOptimSettings):
    """Settings of `adamw`, with its own learning rate and decay."""

    lr: PositiveFloat = changed_default(1e-3, left_out_at=0.02)
    weight_decay: NonNegativeFloat = changed_default(0.01, left_out_at=0.0)
