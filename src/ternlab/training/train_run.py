"""Trains one run to completion, with all runs that it needs; torch is imported only if there is something to train."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ternlab.algorithms.registry import check_with_torch
from ternlab.core.errors import SettingsError, TernlabError
from ternlab.core.signals import StopRequest
from ternlab.runs.directory import RunDirectory, run_directory
from ternlab.runs.identity import run_id
from ternlab.runs.lifecycle import complete
from ternlab.runs.needs import Inputs, needs, ordered
from ternlab.runs.record import Status
from ternlab.settings.root import Settings
from ternlab.slurm.allocation import Allocation, allocation, check_tasks
from ternlab.training.inputs import check_inputs
from ternlab.training.rendezvous import Follower, Leader

Metrics = dict[str, float]
Facts = dict[str, Any]

_log = logging.getLogger(__name__)


def train_run(settings: Settings, command: str) -> tuple[RunDirectory, bool]:
    """Train a run, after all runs that it needs; return its directory and whether anything was trained.

    With `trainer.nodes` > 1 this is called on each node: the first node leads, and the others take part until it has
    ended, successfully or not.

    Args:
        settings: settings of the run.
        command: the command that resumes the run; stored in the record.

    Raises:
        SettingsError: the SLURM job does not match the run.
        TernlabError: any error that ends the run; see `ternlab.runs.lifecycle.complete`.
    """
    check_tasks(settings.trainer.nodes)
    check_inputs(settings)
    here = followed(settings)
    with StopRequest() as stop:
        if here is not None:
            _follow(Follower(Path(settings.paths.runs), here), stop)
            return run_directory(settings.paths.runs, run_id(settings)), True
        return _lead(settings, command, stop)


def followed(settings: Settings) -> Allocation | None:
    """Return this process's allocation if another process leads the run; `None` for the leader."""
    here = allocation() if settings.trainer.nodes > 1 else None
    return here if here is not None and here.process > 0 else None


def _lead(settings: Settings, command: str, stop: StopRequest) -> tuple[RunDirectory, bool]:
    trained: list[str] = []
    here = allocation() if settings.trainer.nodes > 1 else None

    def train(one: Settings, directory: RunDirectory, inputs: Inputs) -> tuple[Metrics, Facts]:
        trained.append(directory.run_id)
        _log.info("run %s", directory.run_id)
        return _train(one, directory, inputs, stop, leader, later_epochs(settings, trained))

    with Leader(Path(settings.paths.runs), here) if here else contextlib.nullcontext() as leader:
        directory = complete(settings, command, train, stop, _check_network)
    return directory, bool(trained)


def later_epochs(settings: Settings, begun: Collection[str]) -> int:
    """Return the epochs of the trainings of a command that have not begun.

    Args:
        settings: settings of the run that the command trains.
        begun: the runs whose training has begun, by ID.
    """
    own = run_id(settings)
    left = {need.directory: need.settings for need, _ in ordered(needs(settings), own) if not need.existing}
    left[run_directory(settings.paths.runs, own)] = settings
    return sum(
        one.trainer.max_epochs
        for directory, one in left.items()
        if directory.run_id not in begun and (directory.record() or {}).get("status") != Status.FINISHED
    )


def _follow(follower: Follower, stop: StopRequest) -> None:
    # Deferred, as below.
    from ternlab.training.launch import join

    try:
        for call in follower.calls():
            try:
                join(call, follower, stop)
            except TernlabError as error:
                # The leader reports how the run ended, with its exit code.
                follower.report(call, error)
    finally:
        follower.leave()


def _check_network(settings: Settings) -> None:
    # Deferred, as below.
    from ternlab.training.network import check_layers

    check_layers(settings)
    check_with_torch(settings)


def _train(
    settings: Settings,
    directory: RunDirectory,
    inputs: Inputs,
    stop: StopRequest,
    leader: Leader | None,
    later_epochs: int,
) -> tuple[Metrics, Facts]:
    # Deferred: importing torch and Lightning takes seconds, which a finished run or a typo should not cost.
    from ternlab.core.logs import quiet_libraries
    from ternlab.training.fit import train_here
    from ternlab.training.launch import train_in_processes
    from ternlab.training.processes import Place

    quiet_libraries()
    nodes = settings.trainer.nodes
    _check_nodes(nodes, leader)
    if settings.trainer.devices > 1 or nodes > 1:
        result = train_in_processes(settings, directory, inputs, stop, leader if nodes > 1 else None)
        metrics, facts = result["metrics"], result["facts"]
    else:
        outcome = train_here(settings, directory, inputs, Place(), stop, later_epochs)
        metrics, facts = outcome.metrics, outcome.facts
    _check_world(facts["world_size"], settings)
    return metrics, {**facts, "nodes": nodes}


def _check_nodes(nodes: int, leader: Leader | None) -> None:
    """Reject a needed run that asks for a different number of nodes than the job has."""
    there = leader.nodes if leader else 1
    if nodes not in (1, there):
        raise SettingsError(
            "trainer.nodes", value=nodes, rule=f"the run that needs this one has {there}", instead=f"{there} or 1"
        )


def _check_world(size: int, settings: Settings) -> None:
    """Make sure that all processes trained together, and not each its own copy of the run."""
    wanted = settings.trainer.nodes * settings.trainer.devices
    if size != wanted:
        raise TernlabError(
            f"The run was trained by {size} processes, not by the {wanted} of trainer.nodes={settings.trainer.nodes} "
            f"and trainer.devices={settings.trainer.devices}; it counts as failed."
        )
