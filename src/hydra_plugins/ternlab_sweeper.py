"""Hydra's door to sweeps: a sweeper sees all overrides of `-m` at once, and so the whole plan.

Hydra takes plugins from the package `hydra_plugins` alone and imports it at every command: nothing heavy stands here.
"""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class PlanSweeper(Sweeper):
    """Makes a plan of the overrides and carries it out (see `ternlab.commands.sweep`).

    Args:
        params: the space of an experiment, by name; what is typed comes beside it, or in its place.
        default: the space that is taken when there is no other.
        max_batch_size: taken from Hydra's own sweeper, whose configuration this one extends; not used.
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
        """Keep what Hydra gives; the task function is not called, trials are commands of their own."""
        self._config, self._context = config, hydra_context

    def sweep(self, arguments: list[str]) -> None:
        """Plan and carry out.

        Raises:
            SystemExit: with the exit code; Hydra drops what a sweeper returns.
        """
        from ternlab.commands.sweep import main

        assert self._context is not None
        raise SystemExit(int(main(self._context.config_loader, self._config, arguments, self._default, self._params)))
