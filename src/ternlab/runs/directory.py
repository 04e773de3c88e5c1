"""The run directory: its files, and how to read a run's state from outside."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ternlab.core.errors import SettingsError, StorageError, did_you_mean, one_of
from ternlab.core.files import write_json, write_text
from ternlab.core.lock import RunLock
from ternlab.runs.record import Record, read_record
from ternlab.settings.load import config_of, of_any_version, settings_from_config
from ternlab.settings.root import Settings

# In the names of directories that are no longer runs: moved aside by `force=true`, or being removed.
ASIDE = ".aside-"


@dataclass(frozen=True)
class RunDirectory:
    """Paths of one run.

    Attributes:
        path: the run directory; its name is the run ID.
    """

    path: Path

    @property
    def run_id(self) -> str:
        """The ID of the run."""
        return self.path.name

    @property
    def config_file(self) -> Path:
        """The resolved settings, as they could be given on the command line."""
        return self.path / "config.yaml"

    @property
    def inputs_file(self) -> Path:
        """The input files of a training in several processes (such as initial weights), by name."""
        return self.path / "inputs.json"

    @property
    def record_file(self) -> Path:
        """State and results; see `ternlab.runs.record`."""
        return self.path / "record.json"

    @property
    def metrics_file(self) -> Path:
        """One row per epoch."""
        return self.path / "metrics.csv"

    @property
    def layers_file(self) -> Path:
        """One row per epoch and quantized layer."""
        return self.path / "layers.csv"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints, newest last."""
        return self.path / "checkpoints"

    @property
    def weights_file(self) -> Path:
        """The final weights of a finished training, in safetensors."""
        return self.path / "model.safetensors"

    @property
    def log_file(self) -> Path:
        """Everything that was printed, plus tracebacks, which are not printed."""
        return self.path / "log.txt"

    def lock(self) -> RunLock:
        """Return the lock that a process holds while it works in this directory."""
        return RunLock(self.path / "lock")

    def create(self) -> None:
        """Create the directory.

        Raises:
            SettingsError: it cannot be created or written.
        """
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise SettingsError(
                "paths.runs",
                value=str(self.path.parent),
                rule=f"the run directory cannot be written there ({error.strerror})",
                instead="paths.runs=FOLDER, with a folder that you can write to",
            ) from error

    def record(self) -> Record | None:
        """Return the record, or `None` if the run was never started."""
        return read_record(self.record_file)

    def write_inputs(self, inputs: Mapping[str, Path]) -> None:
        """Write the list of the training's input files next to the settings, for the training processes."""
        write_json(self.inputs_file, {name: str(path) for name, path in inputs.items()})

    def inputs(self) -> dict[str, Path]:
        """Read what `write_inputs` wrote.

        Raises:
            StorageError: it is not readable.
        """
        try:
            return {name: Path(path) for name, path in json.loads(self.inputs_file.read_text()).items()}
        except (OSError, ValueError, AttributeError) as error:
            raise StorageError(f"{self.inputs_file}: is not a readable list of files ({error}).") from error

    def write_settings(self, settings: Settings) -> None:
        """Write the resolved settings without `force`: a user who runs them again wants to resume."""
        kept = settings.model_copy(update={"force": False})
        write_text(self.config_file, yaml.safe_dump(config_of(kept), sort_keys=False))

    def command(self) -> str:
        """Return the command that trains the run from the frozen settings in this directory."""
        return shlex.join(["python", "src/train.py", "--config-path", str(self.path), "--config-name", "config"])

    def settings(self) -> Settings:
        """Read the settings.

        Raises:
            SettingsError: they are missing or not readable.
        """
        return settings_from_config(of_any_version(self.config()))

    def config(self) -> dict[str, Any]:
        """Read the resolved configuration."""
        try:
            config = yaml.safe_load(self.config_file.read_text())
            if not isinstance(config, dict):
                raise ValueError(f"it contains {type(config).__name__}, not settings")
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise SettingsError(
                "run",
                value=str(self.path),
                rule=f"has no readable config.yaml ({error})",
                instead="ternlab results (lists the runs that can be read)",
            ) from error
        return config

    def move_aside(self) -> Path | None:
        """Rename the directory so that the run starts over; return its new path, or `None` if there was no run."""
        if not self.record_file.exists():
            return None
        aside = self.path.with_name(f"{self.run_id}{ASIDE}{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
        self.path.rename(aside)
        return aside


def run_directory(runs: str | Path, run_id: str) -> RunDirectory:
    """Return the directory of `run_id` in `runs`, whether or not it exists."""
    return RunDirectory(Path(runs).resolve() / run_id)


def fitting_ids(name: str, ids: Iterable[str]) -> list[str]:
    """Return the ID equal to `name`, else those that start or end with it, else those that contain it."""
    known = list(ids)
    return (
        [one for one in known if one == name]
        or [one for one in known if one.startswith(name) or one.endswith(name)]
        or [one for one in known if name in one]
    )


def not_one(
    setting: str, name: str, kind: str, fitting: list[str], ids: list[str], none: str, first: str
) -> SettingsError:
    """Return the error for an ID that names no run (or sweep), or more than one.

    Args:
        setting: the setting it was given in.
        name: what the user typed.
        kind: what it names, for the message.
        fitting: the IDs that it fits; only these are proposed, if there are any.
        ids: all IDs.
        none: the rule that is violated if none fits.
        first: what to do if there is none at all.
    """
    if fitting:
        return SettingsError(setting, value=name, rule=f"{len(fitting)} {kind}s match", instead=one_of(fitting))
    return SettingsError(setting, value=name, rule=none, instead=did_you_mean(name, ids) if ids else first)


def existing_run(runs: str | Path, name: str, setting: str = "run") -> RunDirectory:
    """Find a run by its ID, by a unique part of it, or by the path of its directory.

    Args:
        runs: folder of the runs.
        name: what the user typed.
        setting: the setting it was given in, for messages.

    Raises:
        SettingsError: there is no such run, or more than one.
    """
    if (Path(name) / "record.json").is_file():
        return RunDirectory(Path(name).resolve())
    ids = sorted(path.parent.name for path in Path(runs).glob("*/record.json"))
    fitting = fitting_ids(name, ids)
    # The name of a run that `force` moved aside starts with the ID of the run that replaced it.
    fitting = [run for run in fitting if ASIDE not in run] or fitting
    if len(fitting) == 1:
        return run_directory(runs, fitting[0])
    raise not_one(setting, name, "run", fitting, ids, f"there is no such run in {runs}", "train one first")


def trained_run(runs: str | Path, name: str, instead: str) -> RunDirectory:
    """Find a run like `existing_run`, and require its final weights.

    Args:
        runs: folder of the runs.
        name: what the user typed.
        instead: what to do if the run has no final weights, for the message.

    Raises:
        SettingsError: there is no such run, more than one, or it has no final weights.
    """
    directory = existing_run(runs, name)
    if not directory.weights_file.exists():
        status = (directory.record() or {}).get("status")
        rule = f"has no final weights (its status is {status})"
        raise SettingsError("run", value=directory.run_id, rule=rule, instead=instead)
    return directory
