"""Hydra's sweeper for ternlab: it receives all overrides of `-m` at once, and so can plan the whole sweep.

Hydra only loads plugins from the package `hydra_plugins` and imports it for every command, so heavy imports are
deferred.
"""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class PlanSweeper(Sweeper):
    """Makes a plan from the overrides and runs it (see `ternlab.commands.sweep`).

    Args:
        params: the search space of an experiment, by name; typed overrides extend or replace it.
        default: the search space to use if there is no other.
        max_batch_size: from Hydra's own sweeper, whose configuration this one extends; not used.
    """

    def __init__(
        self,
        params: dict[str, Any] | None = None,
        default: dict[str, Any] | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        self._params = [f"{name}={values}" for name, values in (params or {}).items()]
        self._default = [f"{name}={values}" for name, values in (default or {}).items()]
        self._config = DictConfig({})
        self._context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store Hydra's configuration; the task function is not called, since trials are separate commands."""
        self._config, self._context = config, hydra_context

    def sweep(self, arguments: list[str]) -> None:
        """Plan and run the sweep.

        Raises:
            SystemExit: with the exit code; Hydra drops what a sweeper returns.
        """
        from ternlab.commands.sweep import main

        assert self._context is not None
        raise SystemExit(int(main(self._context.config_loader, self._config, arguments, self._default, self._params)))
