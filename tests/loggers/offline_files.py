"""What W&B's own reader finds in its offline files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any


def records(folder: Path) -> list[list[dict[str, Any]]]:
    """Return the records of each offline run below `folder`, the oldest run first."""
    import wandb

    program = Path(wandb.__file__).parent / "bin" / "wandb-core"
    found = []
    for path in sorted((folder / "wandb").glob("offline-run-*")):
        (file,) = path.glob("run-*.wandb")
        command = [program, "leet", "inspect", "--no-observability", "--json", "--run-file", file, path]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found.append([json.loads(line) for line in out.splitlines()])
    return found


def history(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows that were logged, without W&B's own columns."""
    rows = [record["history"]["item"] for record in found if record["type"] == "history"]
    return [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows]


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the summary as it ends."""
    values: dict[str, Any] = {}
    for record in found:
        if record["type"] == "summary":
            values |= record["summary"]["update"]
    return values


def metrics(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what was defined of each metric, the last word counting."""
    defined = [record["metric"] for record in found if record["type"] == "metric"]
    return {one.get("name") or one["glob_name"]: one for one in defined}
