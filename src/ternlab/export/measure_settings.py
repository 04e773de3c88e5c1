"""Settings of a measurement."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ternlab.core.fields import PositiveInt, Section
from ternlab.settings.root import PathSettings


class MeasureSettings(Section):
    """What to measure, on which images, and how often.

    Attributes:
        model: a packed file.
        data: settings of the data (`None`: those of the run that the file names, in `paths.runs`).
        against: a full-precision run of the same network, whose int8 file is measured for comparison (`None`: none).
        batches: batch sizes at which latency is measured.
        rounds: how often each runtime is timed; runtimes are interleaved, so changes in machine speed affect all.
        threads: threads of every runtime (`None`: the runtime's default).
        images: number of training images for int8 calibration.
        calibration: how the ranges of the activations are determined.
        limit_test: use only the first N test images for accuracy (`None`: all).
        plugins: modules to import first; they register networks.
        json_output: print one JSON object instead of the table (`json` in the configuration).
    """

    model: str = Field(min_length=1, examples=["FILE"])
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
