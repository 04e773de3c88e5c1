"""Settings of a measurement."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ternlab.core.fields import PositiveInt, Section
from ternlab.settings.root import PathSettings


class MeasureSettings(Section):
    """What is measured, on which images, and how often.

    Attributes:
        model: a packed file.
        data: settings of the images (`None`: those of the run that the file names, below `paths.runs`).
        against: a full-precision run of the same network, whose int8 file is measured beside (`None`: nothing).
        batches: batch sizes of the latencies.
        rounds: how often each runtime is timed; they take turns, so that a change of the machine's speed meets all.
        threads: of every runtime (`None`: their own choice).
        images: number of training images that int8 is calibrated on.
        calibration: how the ranges of the activations are taken.
        limit_test: use only the first N test images for the accuracy (`None`: all).
        plugins: modules to import first; they register networks.
        json_output: print one JSON object in place of the table (`json` in the configuration).
    """

    model: str = Field(min_length=1)
    data: dict[str, Any] | None = None
    against: str | None = None
    batches: tuple[PositiveInt, ...] = Field((1, 32), min_length=1)
    rounds: PositiveInt = 9
    threads: PositiveInt | None = None
    images: PositiveInt = 256
    calibration: Literal["minmax", "percentile"] = "minmax"
    limit_test: PositiveInt | None = None
    plugins: tuple[str, ...] = ()
    json_output: bool = Field(default=False, alias="json")
    paths: PathSettings = Field(default_factory=PathSettings)
