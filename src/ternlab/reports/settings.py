"""Settings of a report."""

from __future__ import annotations

from pydantic import Field

from ternlab.core.fields import NonNegativeInt, Section
from ternlab.settings.root import PathSettings


class ReportSettings(Section):
    """Which runs to show, and where to write the page and the figures.

    Attributes:
        sweep: sweep ID, a unique prefix or suffix of it, or its folder; only its runs are shown (`None`: all runs in
            `paths.runs`).
        where: a condition that runs must match, as for `ternlab results --where` (`None`: no condition).
        out: the HTML file.
        figures: folder for SVG and PNG files of the charts (`None`: no files).
        weights: number of best runs shown layer by layer, with histograms of their weights.
        curves: number of best runs shown with training curves.
    """

    sweep: str | None = None
    where: str | None = None
    out: str = Field("report.html", min_length=1)
    figures: str | None = None
    weights: NonNegativeInt = 4
    curves: NonNegativeInt = 40
    paths: PathSettings = Field(default_factory=PathSettings)
