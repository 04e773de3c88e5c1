"""Settings that every export has."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from ternlab.core.fields import Section
from ternlab.settings.root import PathSettings


class ExportSettings(Section):
    """Which run becomes which file.

    A target adds its own options in a subclass (`ternlab.export.targets`); in the configuration all stand side by side.

    Attributes:
        run: id of a run, a unique beginning or ending of it, or its folder; its final weights are exported.
        format: a name registered in `ternlab.export.targets`.
        out: the file (`None`: in the run's folder).
        plugins: modules to import first; they register targets.
        default_file: name of the file in the run's folder.
    """

    default_file: ClassVar[str] = ""

    run: str = Field(min_length=1)
    format: str = "packed"
    out: str | None = None
    plugins: tuple[str, ...] = ()
    paths: PathSettings = Field(default_factory=PathSettings)

    @property
    def file_name(self) -> str:
        """Name of the file in the run's folder, with these options."""
        return self.default_file
