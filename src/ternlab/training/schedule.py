"""Learning rate schedules: pure functions of the step."""

from __future__ import annotations

import math

from ternlab.optimizers.settings import ScheduleSettings


def factor(schedule: ScheduleSettings, step: int, steps_per_epoch: int, max_epochs: int) -> float:
    """Return the factor of the learning rate at optimizer step `step` (the first is 0).

    Args:
        schedule: see `ScheduleSettings`.
        steps_per_epoch: optimizer steps per epoch.
        max_epochs: epochs of the training, where `cosine` ends.
    """
    epoch = step / steps_per_epoch
    if epoch < schedule.warmup_epochs:
        # step + 1, so that the first warm-up step already has a non-zero rate.
        return (step + 1) / (schedule.warmup_epochs * steps_per_epoch + 1)
    if schedule.name == "step":
        return _product(schedule, epoch)
    if schedule.name == "cosine":
        length = max(max_epochs - schedule.warmup_epochs, 1e-9)
        progress = min((epoch - schedule.warmup_epochs) / length, 1.0)
        return schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * progress))
    return 1.0


def _product(schedule: ScheduleSettings, epoch: float) -> float:
    factors = schedule.factors
    if len(factors) == 1:
        factors = factors * len(schedule.milestones)
    return math.prod(
        change for milestone, change in zip(schedule.milestones, factors, strict=True) if epoch >= milestone
    )
