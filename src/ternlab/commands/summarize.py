"""The summary command: size and operations of a network, built from settings or trained."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig

from ternlab.core.check import checked
from ternlab.core.errors import ExitCode, SettingsError
from ternlab.data.fingerprint import check_data, known_shape
from ternlab.data.registry import DATA_SETS
from ternlab.models.weights_file import check_weights
from ternlab.runs.directory import RunDirectory, trained_run
from ternlab.runs.identity import file_digest
from ternlab.settings.load import settings_from_config
from ternlab.settings.root import Settings
from ternlab.trained.summarize_settings import SummarizeSettings

if TYPE_CHECKING:
    from ternlab.export.summary import Summary

# A run has all settings of its own except these.
_BESIDE_RUN = ("run", "json", "paths")


def main(config: dict[str, Any]) -> ExitCode:
    """Summarize as configured, and print a table or JSON."""
    own: dict[str, Any] = {name: config[name] for name in ("run", "json") if name in config}
    wanted = checked(SummarizeSettings, own)
    rest = {name: value for name, value in config.items() if name not in own}
    if wanted.run is None:
        settings = _settings(rest)
        # Deferred: importing torch takes seconds; a typo should fail at once.
        from ternlab.trained.summarizing import summarize_settings

        _show(summarize_settings(settings), settings, None, as_json=wanted.json_output)
        return ExitCode.DONE
    _refuse_ignored(HydraConfig.get().overrides.task if HydraConfig.initialized() else ())
    paths = checked(Settings, {"paths": rest.get("paths") or {}}).paths
    directory = trained_run(paths.runs, wanted.run, instead="re-run the command in its record to finish it")
    settings = directory.settings()
    from ternlab.trained.summarizing import summarize_run

    _show(summarize_run(directory, paths.data), settings, directory, as_json=wanted.json_output)
    return ExitCode.DONE


def _settings(config: dict[str, Any]) -> Settings:
    """Check training settings, and that the files that a summary reads exist."""
    data = config.get("data") or {}
    entry = DATA_SETS.get(str(data.get("name")))
    # Training requires the folder of the images; a summary does not if their shape is known.
    missing = entry is not None and entry.shape is not None and data.get("root") is None
    settings = settings_from_config({**config, "data": {**data, "root": "not read"}} if missing else config)
    if missing:
        settings = settings.model_copy(update={"data": settings.data.model_copy(update={"root": None})})
    if known_shape(settings.data) is None:
        check_data(settings.data, Path(settings.paths.data))
    check_weights(settings.model)
    file_digest("ckpt_path", settings.ckpt_path)
    return settings


def _refuse_ignored(typed: Iterable[str]) -> None:
    """Raise SettingsError if training settings are typed with `run`, which would ignore them."""
    for assignment in typed:
        name = assignment.lstrip("+~").partition("=")[0]
        if name.partition(".")[0] not in _BESIDE_RUN:
            raise SettingsError(
                name,
                rule="would be ignored, because a run has its own settings",
                instead="only run=ID, or the settings without run",
            )


def _show(found: Summary, settings: Settings, directory: RunDirectory | None, *, as_json: bool) -> None:
    about = {
        "run_id": directory.run_id if directory else None,
        "model": settings.model.name,
        "data": settings.data.name,
        "quant": settings.quant.label if settings.quant.active else "none",
    }
    if as_json:
        print(json.dumps({**about, **found.to_dict()}))
        return
    weights = directory.weights_file if directory else _first_weights(settings)
    print(f"{about['model']} on {about['data']}, {about['quant']}, {weights}\n")
    print(found)


def _first_weights(settings: Settings) -> str:
    given = settings.ckpt_path or settings.quant.init_file or settings.model.weights
    return given or "freshly initialized: zeros and entropy are before training"
