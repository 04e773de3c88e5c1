"""Runs a sweep from the command line: its folder, lock, printed output and exit code."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from ternlab.core.errors import ExitCode, InfrastructureError, RunHeldError, SettingsError
from ternlab.core.lock import RunLock
from ternlab.core.signals import StopRequest
from ternlab.runs import provenance
from ternlab.sweeps.launcher import Launcher, Task
from ternlab.sweeps.launchers import build_launcher, keep_name
from ternlab.sweeps.plan import Plan, merged, plan_file, read_plan, write_plan
from ternlab.sweeps.planner import Compose
from ternlab.sweeps.progress import Progress
from ternlab.sweeps.progress_display import duration, watcher
from ternlab.sweeps.schedule import carry_out, submit
from ternlab.sweeps.search_source import source_of
from ternlab.sweeps.settings import SweepSettings
from ternlab.sweeps.states import INFRASTRUCTURE, SOME_FAILED, Standing, State
from ternlab.sweeps.table import count_words, failure_lines, look, result_lines, status_lines, summary_line
from ternlab.sweeps.trial import check_code


def run_sweep(plan: Plan, wanted: SweepSettings, runs: Path, sweeps: Path, compose: Compose | None = None) -> int:
    """Run or resume a plan, and print the results.

    Returns:
        0 if all trials are finished, 3 if some have failed, 4 if SLURM or Ray no longer responds, 5 if the sweep was
        asked to stop.

    Raises:
        SettingsError: the code differs from the plan's code.
        RunHeldError: another process runs this sweep.
    """
    folder = sweeps / plan.sweep_id
    # Rejects plans that cannot run there before anything is written.
    launcher = build_launcher(folder, plan, wanted.cluster)
    try:
        _check_wait(wanted, launcher, plan)
        if wanted.dry_run:
            _print_plan(plan, runs, launcher, plan_file(folder).resolve())
            return ExitCode.DONE
        _make(folder)
        with _held(folder), StopRequest() as stop:
            plan = _agreed(plan, folder, runs, wanted)
            keep_name(folder, wanted.cluster)
            print(f"{plan.sweep_id}: {count_words(plan)}\n{folder}", flush=True)
            if not wanted.wait:
                return _submit(plan, plan_file(folder).resolve(), runs, launcher)
            progress = _carry_out(plan, folder, runs, launcher, wanted, compose, stop)
    except InfrastructureError as error:
        print(f"error: {error}\n  To resume:\n  {plan.command}", file=sys.stderr)
        return INFRASTRUCTURE
    finally:
        launcher.close()
    summarize(read_plan(plan_file(folder)), runs, folder)
    return _close(folder, runs, launcher.queues, progress, stop)


def _carry_out(
    plan: Plan,
    folder: Path,
    runs: Path,
    launcher: Launcher,
    wanted: SweepSettings,
    compose: Compose | None,
    stop: StopRequest,
) -> Progress:
    file = plan_file(folder).resolve()
    with watcher(plan, runs) as look:
        progress = carry_out(
            plan,
            file,
            runs,
            launcher,
            retries=wanted.retries,
            asked_to_stop=lambda: stop.signal is not None,
            look=look,
            source=source_of(plan, file, runs, compose),
        )
    launcher.tidy(progress.done | progress.pruned)
    return progress


def summarize(plan: Plan, runs: Path, folder: Path) -> None:
    """Send the summary run of a sweep to W&B if its runs are mirrored there."""
    # Deferred: it reads tables of runs, which only sweeps mirrored to W&B need.
    if any(config.get("logger", {}).get("name") == "wandb" for config in plan.configs.values()):
        from ternlab.loggers.wandb.sweep_summary import summarize_sweep

        summarize_sweep(plan, runs, folder)


def _check_wait(wanted: SweepSettings, launcher: Launcher, plan: Plan) -> None:
    if wanted.wait:
        return
    if not launcher.queues:
        raise SettingsError(
            "wait",
            value=False,
            rule=f"with cluster={launcher.name}, trials end when the command that started them ends",
            instead="wait=true, or cluster=slurm",
        )
    if plan.search is not None:
        raise SettingsError(
            "wait", value=False, rule="a search needs results to propose further trials", instead="wait=true"
        )


def _submit(plan: Plan, file: Path, runs: Path, launcher: Launcher) -> int:
    """Submit everything to the queue and return."""
    progress = submit(plan, file, runs, launcher, look=lambda _: None)
    print(f"{len(progress.running)} runs queued or running, {len(progress.done)} finished")
    print(*(f"  ternlab sweep {action} {plan.sweep_id}" for action in ("status", "wait", "cancel")), sep="\n")
    if progress.waiting:
        print(f"the queue is full; to submit the remaining {len(progress.waiting)} runs later:\n  {plan.command}")
    return ExitCode.DONE


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            "paths.sweeps",
            value=str(folder.parent),
            rule=f"the sweep's folder cannot be created there ({error.strerror})",
            instead="paths.sweeps=FOLDER, with a writable folder",
        ) from error


def _agreed(plan: Plan, folder: Path, runs: Path, wanted: SweepSettings) -> Plan:
    """Return the plan to run: the one written when the sweep was started, or this one if there is none."""
    path = plan_file(folder)
    if not path.exists():
        write_plan(replace(plan, any_code=wanted.allow_other_code), folder)
        return read_plan(path)
    begun, now = read_plan(path), provenance.git_state()
    whole = merged(begun, plan)
    if begun.code != now:
        if all(one.state == State.WAITING for one in look(begun, runs)):
            # No run has started, so all runs will use this code.
            whole = replace(whole, code=now)
        elif not wanted.allow_other_code:
            check_code(begun.code, now)
    whole = replace(whole, any_code=begun.any_code or wanted.allow_other_code)
    if whole != begun:
        write_plan(whole, folder)
    return read_plan(path)


def _close(folder: Path, runs: Path, queues: bool, progress: Progress, stop: StopRequest) -> int:
    plan = read_plan(plan_file(folder))
    if stop.signal is not None:
        print(summary_line(plan, look(plan, runs)))
        what = "jobs remain in the queue" if queues else "all running trials were saved"
        print(f"stopped by {stop.signal}; {what}. To resume:\n  {plan.command}")
        return ExitCode.INTERRUPTED
    print("", *result_lines(plan, runs), sep="\n")
    if progress.failed:
        print(
            "",
            *failure_lines(plan, runs, folder, progress.failed),
            "",
            f"To retry:\n  {plan.command}",
            sep="\n",
        )
        return SOME_FAILED
    return ExitCode.DONE


def _held(folder: Path) -> RunLock:
    lock = RunLock(folder / "lock")
    if lock.held():
        raise RunHeldError(
            f"The sweep in {folder} is held by another process.\n"
            f"  instead: ternlab sweep status {folder.name}, or ternlab sweep cancel {folder.name}"
        )
    return lock


def _cost(plan: Plan, found: list[Standing]) -> str:
    """Return what is left to train, and the estimated time based on the plan's finished runs."""
    left = [one for one in found if one.state not in (State.FINISHED, State.DIVERGED, State.PRUNED)]
    epochs = sum(plan.settings(one.run_id).trainer.max_epochs - one.epoch for one in left)
    done = [one.record for one in found if one.state == State.FINISHED and one.record and one.epochs]
    words = f"remaining: {len(left)} runs, {epochs} epochs"
    if not done:
        return words
    seconds = sum(record["seconds"] for record in done) / sum(record["epochs"] for record in done)
    return f"{words}, about {duration(seconds * epochs)} of training (estimated from {len(done)} finished runs)"


def _print_plan(plan: Plan, runs: Path, launcher: Launcher, file: Path) -> None:
    found = look(plan, runs)
    print(summary_line(plan, found), "", *status_lines(plan, found), "", sep="\n")
    left = [one.run_id for one in found if one.state not in (State.FINISHED, State.DIVERGED)]
    after = {run: tuple(need for need in plan.needs.get(run, ()) if need in left) for run in left}
    print(_cost(plan, found), "", sep="\n")
    print(*launcher.describe([Task(run, file, after[run]) for run in left]), "", sep="\n")
    for trial in plan.trials:
        print(trial.command)
