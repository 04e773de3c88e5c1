"""The order of callbacks: those that count run before those that read, and saving comes last."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from pytorch_lightning.callbacks import Callback


class Stage(IntEnum):
    """When a callback runs relative to others; a class sets it as its attribute `stage`.

    Attributes:
        COUNTING: computes the metrics of the epoch.
        READING: reads them or passes them on; the default.
        SAVING: writes checkpoints, which must include what all other callbacks have counted for the batch.
    """

    COUNTING = 0
    READING = 1
    SAVING = 2


def in_order(callbacks: Iterable[Callback]) -> list[Callback]:
    """Return callbacks sorted by stage; within a stage they keep their order."""
    return sorted(callbacks, key=stage_of)


def stage_of(callback: Callback) -> Stage:
    """Return the stage of a callback."""
    stage: Stage = getattr(callback, "stage", Stage.READING)
    return stage
