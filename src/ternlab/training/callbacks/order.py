"""The order in which callbacks run: what counts before what reads, and what saves after both."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from pytorch_lightning.callbacks import Callback


class Stage(IntEnum):
    """When a callback runs among the others; a class says so in its attribute `stage`.

    Attributes:
        COUNTING: makes the metrics of the epoch.
        READING: passes them on. Every callback that does not say otherwise.
        SAVING: writes checkpoints, which must hold what all others have counted of the batch.
    """

    COUNTING = 0
    READING = 1
    SAVING = 2


def in_order(callbacks: Iterable[Callback]) -> list[Callback]:
    """Return callbacks in the order of their stages; within a stage they stay as they are given."""
    return sorted(callbacks, key=stage_of)


def stage_of(callback: Callback) -> Stage:
    """Return the stage of a callback."""
    stage: Stage = getattr(callback, "stage", Stage.READING)
    return stage
