"""The registry of export formats, with their settings; free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ternlab.core.by_name import checked_by_name
from ternlab.core.registry import Registry, checked_reference
from ternlab.export.settings import ExportSettings
from ternlab.export.target_settings import OnnxSettings, PackedSettings, StateDictSettings


@dataclass(frozen=True)
class TargetEntry:
    """A registry entry for an export target.

    Attributes:
        writer: `"package.module:function"` of `write(directory, trained, settings, path) -> dict[str, float]`: writes
            the file and returns its metrics, each with a name that begins with `export/`.
        settings: the class that checks the options of the export; it names the file.
        packages: packages that must be installed.
    """

    writer: str
    settings: type[ExportSettings]
    packages: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.writer


_WRITERS = "ternlab.trained.exporting"
TARGETS: Registry[TargetEntry] = Registry(
    "export format",
    "format",
    {
        "packed": TargetEntry(f"{_WRITERS}:write_packed", PackedSettings),
        "onnx": TargetEntry(f"{_WRITERS}:write_onnx_file", OnnxSettings, ("onnx", "onnxscript", "onnxruntime")),
        "state_dict": TargetEntry(f"{_WRITERS}:write_state_dict", StateDictSettings),
    },
)


def register_target(name: str, writer: str, *, settings: type[ExportSettings], packages: tuple[str, ...] = ()) -> None:
    """Register an export target under `name`; see `TargetEntry` for the arguments.

    Raises:
        ValueError: the name is used by another target, or `writer` has no colon.
    """
    TARGETS.register(name, TargetEntry(checked_reference("writer", writer), settings, packages))


def export_settings(values: Mapping[str, Any]) -> ExportSettings:
    """Check the settings of an export with the class that the target registered (see `checked_by_name`).

    Raises:
        SettingsError: the format is unknown, does not have an option, or a value is out of range.
    """
    return checked_by_name(TARGETS, ExportSettings, values, "", by="format")
