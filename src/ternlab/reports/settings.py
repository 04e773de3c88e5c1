"""Settings of a report."""

from __future__ import annotations

from pydantic import Field

from ternlab.core.fields import NonNegativeInt, Section
from ternlab.settings.root import PathSettings


class ReportSettings(Section):
    """Which runs are shown, and where the page and the figures go.

    Attributes:
        sweep: id of a sweep, a unique beginning or ending of it, or its folder; its runs alone are shown (`None`: all
            runs below `paths.runs`).
        where: conditions that runs must fulfil, as `ternlab results --where` takes them (`None`: none).
        out: the HTML file.
        figures: folder for SVG and PNG files of the charts (`None`: none are written).
        weights: how many runs, the best ones, are shown layer by layer and with histograms of their weights.
        curves: how many runs, the best ones, are shown with their training curves.
    """

    sweep: str | None = None
    where: str | None = None
    out: str = Field("report.html", min_length=1)
    figures: str | None = None
    weights: NonNegativeInt = 4
    curves: NonNegativeInt = 40
    paths: PathSettings = Field(default_factory=PathSettings)
