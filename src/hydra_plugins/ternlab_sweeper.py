"""Connects Hydra to sweeps: a sweeper sees all overrides of `-m` at once, hence the whole plan.

Hydra takes plugins only from the package `hydra_plugins` and imports it in every command, so keep this module light.
"""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class PlanSweeper(Sweeper):
    """Builds a plan from the overrides and executes it (see `ternlab.commands.sweep`).

    Args:
        params: search space of an experiment, by setting name; overrides on the command line add to it or replace it.
        default: search space that is used when there is no other.
        max_batch_size: not used; the configuration of Hydra's own sweeper, which this one extends, has it.
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
        """Keep what Hydra passes in; the task function is not called, because each trial is its own command."""
        self._config, self._context = config, hydra_context

    def sweep(self, arguments: list[str]) -> None:
        """Build the plan and execute it.

        Raises:
            SystemExit: with the exit code; Hydra discards what a sweeper returns.
        """
        from ternlab.commands.sweep import main

        assert self._context is not None
        raise SystemExit(int(main(self._context.config_loader, self._config, arguments, self._default, self._params)))
