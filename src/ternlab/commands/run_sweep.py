"""Carrying out a sweep from the command line: its folder, its lock, what is printed, its exit code."""

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
    """Carry out a plan, or go on with it, and print what came of it.

    Returns:
        0 when all trials are finished, 3 when some have failed, 4 when what carries them out does not answer any
        more, 5 when it was asked to stop.

    Raises:
        SettingsError: the code is not that of the plan.
        RunHeldError: another process carries out this sweep.
    """
    folder = sweeps / plan.sweep_id
    # Refuses what cannot run there before anything is written.
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
        print(f"error: {error}\n  To go on:\n  {plan.command}", file=sys.stderr)
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
    """Send the summary run of a sweep to W&B when its runs are mirrored there."""
    # Deferred: it reads tables of runs, which a sweep that is not mirrored to W&B does not need.
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
            rule=f"trials of cluster={launcher.name} end with the command that started them",
            instead="wait=true, or cluster=slurm",
        )
    if plan.search is not None:
        raise SettingsError(
            "wait", value=False, rule="a search needs the results before it can go on", instead="wait=true"
        )


def _submit(plan: Plan, file: Path, runs: Path, launcher: Launcher) -> int:
    """Hand everything over to the queue and return."""
    progress = submit(plan, file, runs, launcher, look=lambda _: None)
    print(f"{len(progress.running)} runs wait or run in the queue, {len(progress.done)} are finished")
    print(*(f"  ternlab sweep {action} {plan.sweep_id}" for action in ("status", "wait", "cancel")), sep="\n")
    if progress.waiting:
        print(f"the queue has no room for {len(progress.waiting)} more; later:\n  {plan.command}")
    return ExitCode.DONE


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            "paths.sweeps",
            value=str(folder.parent),
            rule=f"the sweep's folder cannot be written there ({error.strerror})",
            instead="paths.sweeps=FOLDER, with a folder that you may write",
        ) from error


def _agreed(plan: Plan, folder: Path, runs: Path, wanted: SweepSettings) -> Plan:
    """Return the plan that is carried out: the one that was written when the sweep was begun, or now this one."""
    path = plan_file(folder)
    if not path.exists():
        write_plan(replace(plan, any_code=wanted.allow_other_code), folder)
        return read_plan(path)
    begun, now = read_plan(path), provenance.git_state()
    whole = merged(begun, plan)
    if begun.code != now:
        if all(one.state == State.WAITING for one in look(begun, runs)):
            # Nothing of it was begun: what is begun now is of this code.
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
        what = "jobs stay in the queue" if queues else "all running trials are saved"
        print(f"stopped by {stop.signal}; {what}. To go on:\n  {plan.command}")
        return ExitCode.INTERRUPTED
    print("", *result_lines(plan, runs), sep="\n")
    if progress.failed:
        print(
            "",
            *failure_lines(plan, runs, folder, progress.failed),
            "",
            f"To try them again:\n  {plan.command}",
            sep="\n",
        )
        return SOME_FAILED
    return ExitCode.DONE


def _held(folder: Path) -> RunLock:
    lock = RunLock(folder / "lock")
    if lock.held():
        raise RunHeldError(
            f"The sweep in {folder} is being carried out by another process.\n"
            f"  instead: ternlab sweep status {folder.name}, or ternlab sweep cancel {folder.name}"
        )
    return lock


def _cost(plan: Plan, found: list[Standing]) -> str:
    """Return what is left to train, and how long that takes by what finished runs of the plan took."""
    left = [one for one in found if one.state not in (State.FINISHED, State.DIVERGED, State.PRUNED)]
    epochs = sum(plan.settings(one.run_id).trainer.max_epochs - one.epoch for one in left)
    done = [one.record for one in found if one.state == State.FINISHED and one.record and one.epochs]
    words = f"cost: {len(left)} runs, {epochs} epochs"
    if not done:
        return words
    seconds = sum(record["seconds"] for record in done) / sum(record["epochs"] for record in done)
    return f"{words}, about {duration(seconds * epochs)} of training by the {len(done)} runs that are finished"


def _print_plan(plan: Plan, runs: Path, launcher: Launcher, file: Path) -> None:
    found = look(plan, runs)
    print(summary_line(plan, found), "", *status_lines(plan, found), "", sep="\n")
    left = [one.run_id for one in found if one.state not in (State.FINISHED, State.DIVERGED)]
    after = {run: tuple(need for need in plan.needs.get(run, ()) if need in left) for run in left}
    print(_cost(plan, found), "", sep="\n")
    print(*launcher.describe([Task(run, file, after[run]) for run in left]), "", sep="\n")
    for trial in plan.trials:
        print(trial.command)
