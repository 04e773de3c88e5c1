"""The plan of a search: its first trials, and the state that it needs to propose more."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ternlab.core.errors import SettingsError
from ternlab.settings.root import Settings
from ternlab.sweeps.interval import Interval
from ternlab.sweeps.plan import Plan
from ternlab.sweeps.planner import Compose, Composed, Planner, name_of
from ternlab.sweeps.points import corners, drawn, with_seeds
from ternlab.sweeps.settings import FIRST, SearchSettings
from ternlab.sweeps.space import Axis, Point, Space

_log = logging.getLogger(__name__)
# Settings that may change when a search is resumed.
_NOT_OF_THE_NAME = {"trials", "parallel"}


@dataclass(frozen=True)
class SearchPlan:
    """The definition of a search; part of the plan on disk, so that it no longer depends on `conf/`.

    Attributes:
        settings: search settings; `trials` is at most the size of the space.
        space: the search space, with its seeds.
        options: Hydra options for the commands of trials.
        groups: the axes that are configuration groups.
        epochs: epochs of the longest run.
        composed: the configuration that Hydra composed for each combination of groups, by its overrides.
    """

    settings: SearchSettings
    space: Space
    options: tuple[str, ...]
    groups: frozenset[str]
    epochs: int
    composed: dict[tuple[str, ...], Composed]

    def as_json(self) -> dict[str, Any]:
        """Return plain values, equal to those that are read back."""
        plain: dict[str, Any] = json.loads(json.dumps(self._values()))
        return plain

    def _values(self) -> dict[str, Any]:
        return {
            "settings": self.settings.model_dump(mode="json"),
            "fixed": list(self.space.fixed),
            "axes": [asdict(axis) for axis in self.space.axes],
            "options": list(self.options),
            "groups": sorted(self.groups),
            "epochs": self.epochs,
            "composed": [{"words": list(words), **vars(one)} for words, one in self.composed.items()],
        }


def search_plan_of(plan: Plan) -> SearchPlan | None:
    """Return the search of a plan; `None` if its trials are complete."""
    found = plan.search
    if found is None:
        return None
    return SearchPlan(
        SearchSettings(**found["settings"]),
        Space(tuple(found["fixed"]), tuple(_axis(axis) for axis in found["axes"])),
        tuple(found["options"]),
        frozenset(found["groups"]),
        found["epochs"],
        {tuple(one["words"]): Composed(one["config"], one["linked"]) for one in found["composed"]},
    )


def make_search_plan(
    space: Space,
    search: SearchSettings,
    compose: Compose,
    is_group: Callable[[str], bool],
    command: str,
    options: Sequence[str] = (),
) -> Plan:
    """Return the plan of a search; nothing is written.

    `random` and `asha` have all their trials from the start, `optuna` only the trials that need no results.

    Args:
        space: the search space, with the seeds.
        search: search settings, not a grid.
        compose, is_group, options: see `ternlab.sweeps.planner.Planner`.
        command: the command that resumes the sweep when re-run.

    Raises:
        SettingsError: the space is empty, a corner of it cannot be trained, there are no validation images, or Optuna
            is not installed.
    """
    searched = _checked_space(space, search)
    settings = search.model_copy(update={"trials": _trials(searched, search)})
    longest = _Longest()
    planner = Planner(space, compose, is_group, options, check=longest)
    if search.name == "random" and not search.stops_early:
        _fill(planner, space, settings)
        return planner.plan(command)
    probe = Planner(space, compose, is_group, options, check=longest)
    for point in corners(searched):
        probe.add(next(with_seeds(space, point)))
    planner.composed = probe.composed
    _fill(planner, space, settings)
    groups = frozenset(axis.name for axis in space.axes if is_group(axis.name.lstrip("+")))
    parts = SearchPlan(settings, space, tuple(options), groups, longest.epochs, planner.composed)
    return planner.plan(command, _name(probe, parts), parts.as_json())


def _fill(planner: Planner, space: Space, search: SearchSettings) -> None:
    """Add the settings that do not depend on results."""
    wanted = search.trials or 0
    if search.name == "optuna":
        wanted = min(wanted, FIRST)
    count = 0
    for point in drawn(space.searched(), search.seed):
        if count == wanted:
            break
        # Settings that produce the runs of another setting do not count.
        count += add_setting(planner, space, point)


def add_setting(planner: Planner, space: Space, point: Point) -> bool:
    """Add the trials of all seeds of a point, and return whether any of them is new."""
    new = [planner.add(one) for one in with_seeds(space, point)]
    return any(new)


def _checked_space(space: Space, search: SearchSettings) -> Space:
    need_optuna(search)
    searched = space.searched()
    if not searched.axes:
        raise SettingsError(
            "search",
            value=search.name,
            rule="the search space is empty; seeds do not count, because they are repeats of a setting",
            instead="'optim.lr=tag(log,interval(1e-3,1e-1))' (or another axis)",
        )
    return searched


def need_optuna(search: SearchSettings) -> None:
    """Reject a search that needs Optuna if it is not installed."""
    if (search.name != "random" or search.stops_early) and importlib.util.find_spec("optuna") is None:
        what, value = ("search", search.name) if search.name != "random" else ("search.pruner", search.pruner)
        raise SettingsError(what, value=value, rule="needs Optuna", instead="pip install 'ternlab[sweeps]'")


def _trials(space: Space, search: SearchSettings) -> int:
    wanted = search.trials or 0
    if space.size is not None and wanted > space.size:
        _log.warning("search.trials=%d: the space has only %d points; all of them will be tried", wanted, space.size)
        return space.size
    return wanted


class _Longest:
    """Rejects settings that a search cannot compare, and tracks the largest number of epochs."""

    def __init__(self) -> None:
        self.epochs = 0

    def __call__(self, settings: Settings) -> None:
        self.epochs = max(self.epochs, settings.trainer.max_epochs)
        if settings.data.val_fraction == 0:
            raise SettingsError(
                "data.val_fraction",
                value=settings.data.val_fraction,
                rule="a search compares settings on validation images, but there are none",
                instead="data.val_fraction=0.1, or search=grid",
            )


def _name(probe: Planner, parts: SearchPlan) -> str:
    """Return the ID of a search: a hash of its space, its settings and the runs at the corners of the space.

    The IDs of these runs represent all settings that the trials share.
    """
    settings = parts.settings.model_dump(mode="json", exclude=_NOT_OF_THE_NAME, exclude_defaults=True)
    axes = [asdict(axis) for axis in parts.space.axes]
    return name_of([*sorted(probe.trials), json.dumps(settings, sort_keys=True), json.dumps(axes, sort_keys=True)])


def _axis(found: dict[str, Any]) -> Axis:
    between = None if found["interval"] is None else Interval(**found["interval"])
    return Axis(found["name"], tuple(found["values"]), tuple(found["typed"]), found["ordered"], between)
