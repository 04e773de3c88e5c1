"""Settings common to all exports."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from ternlab.core.fields import Section
from ternlab.settings.root import PathSettings


class ExportSettings(Section):
    """Which run to export, and to which file.

    A target adds its own options in a subclass (`ternlab.export.targets`); in the configuration all are on one level.

    Attributes:
        run: run ID, a unique prefix or suffix of it, or the run directory; its final weights are exported.
        format: a name registered in `ternlab.export.targets`.
        out: the file (`None`: in the run directory).
        plugins: modules to import first; they register targets.
        default_file: name of the file in the run directory.
    """

    default_file: ClassVar[str] = ""

    run: str = Field(min_length=1, examples=["RUN"])
    format: str = "packed"
    out: str | None = None
    plugins: tuple[str, ...] = ()
    paths: PathSettings = Field(default_factory=PathSettings)

    @property
    def file_name(self) -> str:
        """Name of the file in the run directory, with these options."""
        return self.default_file
