"""The evaluation command: evaluate a run's network on its data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from ternlab.core.check import checked
from ternlab.core.errors import ExitCode, SettingsError
from ternlab.runs.directory import RunDirectory, trained_run
from ternlab.trained.evaluate_settings import EvaluateSettings


def main(config: dict[str, Any]) -> ExitCode:
    """Evaluate as the resolved configuration says, and print loss, top-1 and top-5."""
    settings = checked(EvaluateSettings, config)
    directory, checkpoint = _source(settings)
    # Deferred: importing torch takes seconds, which a typo must not pay.
    from ternlab.trained.evaluation import evaluate_run

    found = evaluate_run(directory, checkpoint, settings)
    if settings.json_output:
        print(json.dumps({"run_id": directory.run_id, "split": settings.split, **found}))
        return ExitCode.DONE
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{checkpoint or directory.weights_file}")
    for name, value in found.items():
        console.print(f"{name:12} {value:.4f}")
    return ExitCode.DONE


def _source(settings: EvaluateSettings) -> tuple[RunDirectory, Path | None]:
    """Return the run, and the checkpoint if one was named; a checkpoint belongs to the run directory it is in."""
    if settings.run is not None:
        instead = "re-run the command in its record to finish it, or use ckpt_path=FILE"
        return trained_run(settings.paths.runs, settings.run, instead), None
    path = Path(str(settings.ckpt_path)).resolve()
    directory = RunDirectory(path.parent.parent)
    if not path.is_file():
        raise SettingsError("ckpt_path", value=str(path), rule="there is no such file", instead="run=ID")
    if not directory.config_file.exists():
        raise SettingsError(
            "ckpt_path",
            value=str(path),
            rule=f"is not in a run directory ({directory.config_file} is missing)",
            instead="ckpt_path=RUN/checkpoints/FILE, or run=ID",
        )
    return directory, path
