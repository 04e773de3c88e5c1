"""The kinds of files that a run is exported to, by name, with their settings; free of torch."""

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
    """What the registry knows of an export target.

    Attributes:
        writer: `"package.module:function"` of `write(directory, trained, settings, path) -> dict[str, float]`: writes
            the file and returns its metrics, each with a name that begins with `export/`.
        settings: the class that checks the options of the export; it names the file.
        packages: that must be installed.
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
    """Add an export target under `name`; the arguments are those of `TargetEntry`.

    Raises:
        ValueError: the name is taken by another target, or `writer` has no colon.
    """
    TARGETS.register(name, TargetEntry(checked_reference("writer", writer), settings, packages))


def export_settings(values: Mapping[str, Any]) -> ExportSettings:
    """Check the settings of an export with the class that the target registered (see `checked_by_name`).

    Raises:
        SettingsError: no such format, an option that it does not have, or a value outside its range.
    """
    return checked_by_name(TARGETS, ExportSettings, values, "", by="format")
