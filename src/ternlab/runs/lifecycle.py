"""Run lifecycle: a run is found finished, resumed, or trained from the start; its record is always up to date."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ternlab.core.clock import now
from ternlab.core.errors import (
    BaselineDivergedError,
    DivergedError,
    NeedDivergedError,
    RunHeldError,
    RunInterrupted,
    SettingsError,
    TernlabError,
)
from ternlab.core.logs import log_to_file, tracebacks
from ternlab.core.roles import BASELINE
from ternlab.core.signals import StopRequest
from ternlab.data.fingerprint import check_data
from ternlab.loggers.registry import check_logger
from ternlab.models.weights_file import check_weights, weights_kind, weights_path
from ternlab.runs import provenance
from ternlab.runs.attempts import Attempt, begin_training, new_attempt
from ternlab.runs.directory import RunDirectory, run_directory
from ternlab.runs.identity import file_digest, identity, run_id
from ternlab.runs.needs import Inputs, Need, inputs, needs, ordered
from ternlab.runs.pairing import paired_metrics
from ternlab.runs.record import Record, Status, write_record
from ternlab.settings.root import Settings

_log = logging.getLogger(__name__)
_WAIT_SECONDS = 2.0


# Trains a run: takes its settings, its directory and its input files; returns metrics and facts.
# Passed in as an argument, so that this module does not import torch.
Train = Callable[[Settings, RunDirectory, Inputs], tuple[dict[str, float], dict[str, Any]]]


def complete(
    settings: Settings,
    command: str,
    train: Train,
    stop: StopRequest | None = None,
    check: Callable[[Settings], None] | None = None,
) -> RunDirectory:
    """Complete the run of `settings`, after all runs that it needs, and return its directory.

    Args:
        settings: settings of the run.
        command: the command that the user types for this run; written to the record.
        train: trains a run.
        stop: polled while waiting for another process; default: no stop requests.
        check: checks of quantized runs that need torch; called before anything is trained.

    Raises:
        RunHeldError: another process is working on it.
        DivergedError: it diverges, or diverged earlier.
        RunInterrupted: a signal asked to stop.
        TernlabError: anything else that ends the run; the record says `failed`.
    """
    directory = run_directory(settings.paths.runs, run_id(settings))
    if settings.force:
        _set_aside(directory)
    if _is_final(directory):
        return directory
    _check_before_anything_is_spent(settings)
    if check is not None:
        _check_quantized(settings, check)
    directory.create()
    with directory.lock(), log_to_file(directory.log_file):
        # Another process may have finished it before this one got the lock.
        if _is_final(directory):
            return directory
        with _recording(directory, settings, command) as record:
            needed = needs(settings)
            for need in needed:
                _complete_need(need, train, stop)
                _note(need, record)
                write_record(directory.record_file, record)
            _train(settings, directory, needed, record, train)
    return directory


def _check_before_anything_is_spent(settings: Settings) -> None:
    """Raise SettingsError if something that the settings name does not exist; does not import torch."""
    check_logger(settings.logger)
    check_data(settings.data, Path(settings.paths.data))
    check_weights(settings.model)
    file_digest("ckpt_path", settings.ckpt_path)
    if settings.quant.init_file is not None:
        try:
            weights_kind(weights_path(settings.quant.init_file))
        except SettingsError as error:
            raise error.about("quant.init_file", instead_of="model.weights") from None
    ordered(needs(settings), run_id(settings))


def _check_quantized(settings: Settings, check: Callable[[Settings], None]) -> None:
    """Check the run and all runs that it needs, if they are quantized."""
    needed = [need.settings for need, _ in ordered(needs(settings), run_id(settings)) if not need.existing]
    for one in (settings, *needed):
        if one.quant.active:
            check(one)


def _train(settings: Settings, directory: RunDirectory, needed: tuple[Need, ...], record: Record, train: Train) -> None:
    begin_training(record["attempts"], directory)
    # Saved before the training, which may be killed.
    write_record(directory.record_file, record)
    started = time.monotonic()
    try:
        metrics, facts = train(settings, directory, inputs(settings, needed))
    finally:
        # Excludes the time of the needed runs, which is in their own records.
        record["attempts"][-1]["seconds"] = round(time.monotonic() - started, 3)
    baseline = next((need.directory for need in needed if need.role == BASELINE), None)
    if baseline is not None:
        of_baseline = baseline.record() or {}
        metrics = {**metrics, **paired_metrics(metrics, of_baseline)}
        _warn_of_other_arithmetic(of_baseline, facts)
    record.update(metrics=metrics, facts=facts)


def _note(need: Need, record: Record) -> None:
    """Record which run was needed; for the baseline, also its results."""
    record["needs"][need.role] = need.directory.run_id
    if need.role == BASELINE:
        record.update(baseline_run_id=need.directory.run_id, baseline=_about(need.directory))


def _about(baseline: RunDirectory) -> dict[str, Any]:
    """Return a copy of the baseline's results for the record; later changes to the baseline do not affect it."""
    record = baseline.record() or {}
    kept = ("run_id", "metrics", "seconds", "facts", "epochs")
    return {"path": str(baseline.path), **{key: record.get(key) for key in kept}}


def _complete_need(need: Need, train: Train, stop: StopRequest | None) -> None:
    """Find or train a run that another run needs; wait if another process is training it."""
    directory = need.directory
    command = directory.command()
    said = False
    while True:
        try:
            if not _is_final(directory):
                _log.info("%s %s", need.role, directory.run_id)
                complete(need.settings, command, train, stop)
            return
        except DivergedError as error:
            if need.role == BASELINE:
                raise BaselineDivergedError(directory.run_id, error, command) from error
            raise NeedDivergedError(need.role, directory.run_id, error, command) from error
        except RunHeldError as error:
            if not said:
                _log.info("waiting for the %s: %s", need.role, str(error).splitlines()[0])
            said = True
            if stop is not None:
                stop.leave_if_asked()
            time.sleep(_WAIT_SECONDS)
        except Exception as error:
            error.add_note(f"this happened in the {need.role} run {directory.run_id}")
            raise


def _is_final(directory: RunDirectory) -> bool:
    """Return whether the run is finished.

    Raises:
        DivergedError: it diverged; the same settings would diverge again.
    """
    record = directory.record() or {}
    if record.get("status") == Status.DIVERGED:
        raise DivergedError(
            f"Run {directory.run_id} has already diverged: {(record.get('error') or {}).get('message', '')}\n"
            "  or force=true to retry the same settings"
        )
    return record.get("status") == Status.FINISHED


def _set_aside(directory: RunDirectory) -> None:
    if not directory.record_file.exists():
        return
    with directory.lock():
        aside = directory.move_aside()
    _log.info("previous run moved to %s", aside)


@contextlib.contextmanager
def _recording(directory: RunDirectory, settings: Settings, command: str) -> Iterator[Record]:
    """Keep the record up to date: `running` while the block runs, then how it ended."""
    record = _begun(directory, settings, command)
    attempt: Attempt = record["attempts"][-1]
    directory.write_settings(settings)
    write_record(directory.record_file, record)
    ending: dict[str, Any] = {"status": Status.FAILED, "error": None}
    try:
        yield record
        ending = {"status": Status.FINISHED, "error": None}
    except BaseException as error:
        ending = {"status": _status_after(error), "error": _description(error)}
        if not isinstance(error, TernlabError):
            tracebacks.info("the run failed", exc_info=True)
            error.add_note(f"the traceback is in {directory.log_file}")
        raise
    finally:
        attempt.update(finished=now(), status=ending["status"])
        record.update(ending, finished=now(), seconds=round(sum(a.get("seconds", 0.0) for a in record["attempts"]), 3))
        write_record(directory.record_file, record)


def _begun(directory: RunDirectory, settings: Settings, command: str) -> Record:
    before = directory.record() or {}
    attempts: list[Attempt] = [*before.get("attempts", []), new_attempt()]
    return {
        "run_id": directory.run_id,
        "status": Status.RUNNING,
        "command": command,
        "seed": settings.seed,
        "model": settings.model.name,
        "data": settings.data.name,
        "quant": settings.quant.label,
        "tags": list(settings.tags),
        "epochs": settings.trainer.max_epochs,
        "starts_from": settings.quant.init if settings.quant.active else "scratch",
        "contents": identity(settings)["contents"],
        "metrics": {},
        "needs": {},
        "baseline_run_id": None,
        "baseline": None,
        "started": before.get("started", attempts[-1]["started"]),
        "finished": None,
        "seconds": before.get("seconds", 0.0),
        "attempts": attempts,
        "versions": provenance.versions(),
        "git": provenance.git_state(),
        "host": provenance.host(),
        "facts": {},
        "error": None,
    }


def _status_after(error: BaseException) -> Status:
    if isinstance(error, DivergedError):
        return Status.DIVERGED
    return Status.INTERRUPTED if isinstance(error, (RunInterrupted, KeyboardInterrupt)) else Status.FAILED


def _description(error: BaseException) -> dict[str, str]:
    message = "\n".join([str(error), *getattr(error, "__notes__", [])])
    return {"type": type(error).__name__, "message": message}


def _warn_of_other_arithmetic(baseline: Record, facts: dict[str, Any]) -> None:
    before = baseline.get("facts", {}).get("arithmetic", {}).get("precision")
    after = facts.get("arithmetic", {}).get("precision")
    if before != after:
        _log.warning("The baseline was trained in %s and this run in %s, so their recipes differ.", before, after)
