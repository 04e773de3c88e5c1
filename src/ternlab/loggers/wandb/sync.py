"""Send runs that are missing or incomplete at W&B: always from the runs' own files, never from W&B's local files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ternlab.core.errors import SettingsError, StorageError
from ternlab.loggers.history import history_of, summary_of
from ternlab.loggers.wandb.run_payload import RunPayload, run_payload
from ternlab.loggers.wandb.server import Server
from ternlab.loggers.wandb.writer import RunWriter
from ternlab.runs.directory import RunDirectory, run_directory
from ternlab.runs.metrics import Row
from ternlab.runs.record import Record, Status


class Did(StrEnum):
    """The outcome for a run."""

    SENT = "sent"
    WOULD_SEND = "would be sent"
    WHOLE = "already complete"
    RUNNING = "still training"
    FAILED = "failed"


@dataclass(frozen=True)
class Synced:
    """The result for one run.

    Attributes:
        run_id: ID of the run.
        did: the outcome.
        rows: number of history rows that were missing.
        why: the error, in one line.
        wandb_id: ID of the W&B run; it differs from the run's ID if that is used by something else.
    """

    run_id: str
    did: Did
    rows: int = 0
    why: str = ""
    wandb_id: str = ""


def sync_run(server: Server, directory: RunDirectory, *, dry_run: bool = False, group: str | None = None) -> Synced:
    """Send the missing data of a run; does nothing if W&B has all.

    Args:
        server: W&B's server.
        directory: the run directory.
        dry_run: check without sending.
        group: as in `run_payload`.
    """
    try:
        return _sync(server, directory, dry_run, group)
    except Exception as error:  # noqa: BLE001 - whatever W&B raises, the other runs are sent
        return Synced(directory.run_id, Did.FAILED, why=" ".join(str(error).split()) or type(error).__name__)


def _sync(server: Server, directory: RunDirectory, dry_run: bool, group: str | None) -> Synced:
    if directory.lock().held():
        return Synced(directory.run_id, Did.RUNNING)
    record = directory.record() or {}
    payload = run_payload(directory.settings(), directory, group)
    history = history_of(directory)
    metrics = summary_of(record.get("metrics") or {})
    wandb_id, there = server.place(payload, history)
    missing = max(0, len(history) - (there.rows if there else 0))
    if there is not None and there.is_whole(history, metrics):
        return Synced(directory.run_id, Did.WHOLE, wandb_id=wandb_id)
    if dry_run:
        return Synced(directory.run_id, Did.WOULD_SEND, missing, wandb_id=wandb_id)
    _send(payload, wandb_id, history, record)
    there = server.look(payload, wandb_id)
    if there is None or not there.is_whole(history, metrics):
        return Synced(
            directory.run_id, Did.FAILED, why="W&B accepted the data but does not have all of it", wandb_id=wandb_id
        )
    return Synced(directory.run_id, Did.SENT, missing, wandb_id=wandb_id)


def _send(payload: RunPayload, wandb_id: str, history: list[Row], record: Record) -> None:
    # W&B's local files are not needed afterwards.
    with tempfile.TemporaryDirectory(prefix="ternlab-wandb-") as folder:
        writer = RunWriter(payload, "online", Path(folder), wandb_id)
        writer.send(history[writer.sent :])
        writer.finish(record.get("metrics") or {}, failed=record.get("status") != Status.FINISHED)


def mirrored_runs(runs: Path) -> tuple[list[RunDirectory], int]:
    """Return the runs in a folder that were trained with `logger=wandb`, and the number of the others.

    Raises:
        SettingsError: there is no such folder.
    """
    if not runs.is_dir():
        raise SettingsError("--runs", value=str(runs), rule="is not a folder", instead="--runs FOLDER")
    found = [run_directory(runs, path.parent.name) for path in sorted(runs.glob("*/record.json"))]
    chosen = list(_mirrored(found))
    return chosen, len(found) - len(chosen)


def _mirrored(found: Iterable[RunDirectory]) -> Iterable[RunDirectory]:
    for directory in found:
        try:
            record, config = directory.record() or {}, directory.config()
        except (SettingsError, StorageError):
            continue
        # A run that was moved aside by `force=true` has the ID of the run that replaced it.
        if record.get("run_id") == directory.run_id and (config.get("logger") or {}).get("name") == "wandb":
            yield directory
