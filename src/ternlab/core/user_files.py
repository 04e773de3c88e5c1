"""The user's own files, outside of the repository: where runs and data are, and more choices for groups of settings.

They are in `~/.config/ternlab` (`$XDG_CONFIG_HOME/ternlab`), or in the folders that `TERNLAB_CONFIG` lists.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from ternlab.core.errors import SettingsError, did_you_mean

_CONFIG = "TERNLAB_CONFIG"
_PATHS = "paths.yaml"
DEFAULT_PATHS = {"runs": "logs/runs", "data": "data", "sweeps": "logs/sweeps"}


def config_folders() -> list[Path]:
    """Return the folders of the user's own files that exist, the most important first.

    Raises:
        SettingsError: `TERNLAB_CONFIG` lists something that is not a folder.
    """
    listed = [Path(part).expanduser() for part in os.environ.get(_CONFIG, "").split(os.pathsep) if part]
    for folder in listed:
        if not folder.is_dir():
            raise SettingsError(_CONFIG, value=str(folder), rule="is not a folder", instead=f"{_CONFIG}=FOLDER:FOLDER")
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    default = Path(home).expanduser() / "ternlab"
    return [folder.resolve() for folder in listed or [default] if folder.is_dir()]


def default_path(name: str) -> str:
    """Return the folder of `paths.<name>` for commands that do not name it.

    That is the environment variable (`TERNLAB_RUNS`, `TERNLAB_DATA`, `TERNLAB_SWEEPS`), or else the entry of the user's
    `paths.yaml`, or else the default. Sweeps are by default beside the runs.

    Args:
        name: `runs`, `data` or `sweeps`.

    Raises:
        SettingsError: `paths.yaml` is not readable, or has an unknown entry.
    """
    typed = os.environ.get(f"TERNLAB_{name.upper()}") or _from_files().get(name)
    if typed:
        return str(Path(typed).expanduser())
    if name == "sweeps":
        return str(Path(default_path("runs")).parent / "sweeps")
    return DEFAULT_PATHS[name]


def _from_files() -> dict[str, str]:
    found: dict[str, str] = {}
    for folder in reversed(config_folders()):
        found |= _read(folder / _PATHS)
    return found


def _read(file: Path) -> dict[str, str]:
    try:
        values: Any = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(str(file), rule=f"is not readable ({error})", instead="runs: FOLDER") from error
    if not isinstance(values, dict):
        raise SettingsError(str(file), rule="must have lines such as runs: FOLDER", instead="runs: FOLDER")
    for name, value in values.items():
        if name not in DEFAULT_PATHS:
            rule = "there is no such entry; it has runs, data and sweeps"
            raise SettingsError(f"{name} in {file}", rule=rule, instead=did_you_mean(str(name), DEFAULT_PATHS))
        if not isinstance(value, str):
            raise SettingsError(f"{name} in {file}", value=value, rule="must be a folder", instead=f"{name}: FOLDER")
    return values
