"""Turns points of a space into the trials of a plan, with frozen settings and the runs that they need."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ternlab.core.dotted import replaced
from ternlab.core.errors import SettingsError
from ternlab.core.roles import BASELINE
from ternlab.runs import provenance
from ternlab.runs.identity import run_id
from ternlab.runs.needs import Need, needs, ordered
from ternlab.settings.load import config_of, settings_from_config
from ternlab.settings.root import Settings
from ternlab.sweeps.plan import Config, Plan, Trial
from ternlab.sweeps.space import Axis, Point, Space

_HASH_LETTERS = 10
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Composed:
    """The configuration that Hydra composes from overrides.

    Attributes:
        config: the resolved training configuration.
        linked: whether a value in it interpolates another one (`${optim.lr}`).
    """

    config: Config
    linked: bool = False


Compose = Callable[[list[str]], Composed]


class Planner:
    """Collects the trials of a plan, point by point.

    Args:
        space: the space whose points are added.
        compose: Hydra's composition. It is called once per combination of group choices; other values are set in its
            result, since composing takes tens of milliseconds and a plan may have ten thousand trials.
        is_group: whether a name is a configuration group.
        options: Hydra options that a trial's own command needs too (`--config-dir FOLDER`).
        check: rejects settings that the sweep cannot use.

    Attributes:
        trials: by run.
        needed: runs that trials depend on, directly or indirectly, including those that are trials.
        needs: for each run that needs others of the plan, these runs and their roles.
        configs: the configurations of all these runs.
        composed: the configurations that Hydra has composed, by their overrides.
    """

    def __init__(
        self,
        space: Space,
        compose: Compose,
        is_group: Callable[[str], bool],
        options: Sequence[str] = (),
        check: Callable[[Settings], None] | None = None,
    ) -> None:
        self._space, self._compose, self._options, self._check = space, compose, options, check
        self._axes = {axis.name: axis for axis in space.axes}
        self._asked_of_hydra = {axis.name for axis in space.axes if not _is_plain(axis, is_group)}
        self.trials: dict[str, Trial] = {}
        self.needed: dict[str, None] = {}
        self.needs: dict[str, dict[str, str]] = {}
        self.configs: dict[str, Config] = {}
        self.composed: dict[tuple[str, ...], Composed] = {}

    def add(self, point: Point) -> bool:
        """Add the trial of a point and the runs that it needs, and return whether it is new.

        Raises:
            SettingsError: it cannot be trained; the message names the point.
        """
        words = [self._axes[name].word(value) for name, value in point]
        config = self._config(point, words)
        with _naming(point):
            settings = self._checked(config)
            run = run_id(settings)
            direct = needs(settings)
            self._add_needed(direct, run)
        self.configs[run] = config
        if run in self.trials:
            return False
        self._add_needs(run, direct)
        baseline = next((need.directory.run_id for need in direct if need.role == BASELINE), None)
        self.trials[run] = Trial(run, dict(point), _command(self._options, self._space.fixed, words), baseline)
        return True

    def plan(self, command: str, sweep_id: str | None = None, search: dict[str, Any] | None = None) -> Plan:
        """Return the plan of the added trials.

        Args:
            command: the command that resumes the sweep when re-run.
            sweep_id: default: a hash of the trials.
            search: see `Plan`.
        """
        needed = tuple(run for run in self.needed if run not in self.trials)
        name = sweep_id or name_of(sorted(self.trials))
        trials = tuple(self.trials.values())
        return Plan(name, trials, needed, self.configs, provenance.git_state(), command, search, needs=self.needs)

    def _config(self, point: Point, words: list[str]) -> Config:
        key = tuple(word for word, (name, _) in zip(words, point, strict=True) if name in self._asked_of_hydra)
        if key not in self.composed:
            # Pass the values too, so that Hydra checks every name.
            self.composed[key] = self._compose([*self._space.fixed, *words])
        if self.composed[key].linked:
            return self._compose([*self._space.fixed, *words]).config
        config = self.composed[key].config
        for name, value in point:
            if name not in self._asked_of_hydra:
                config = replaced(config, name.lstrip("+"), value)
        return config

    def _checked(self, config: Config) -> Settings:
        settings = settings_from_config(config)
        if settings.force:
            raise SettingsError(
                "force",
                value=True,
                rule="would discard the runs that a sweep resumes from",
                instead="leave it out; to retrain a single run, use python src/train.py ... force=true",
            )
        if self._check is not None:
            self._check(settings)
        return settings

    def _add_needs(self, run: str, needed: Iterable[Need]) -> None:
        """Record which runs of the plan a run needs, without finished runs that the user named."""
        roles = {need.directory.run_id: need.role for need in needed if not need.existing}
        if roles:
            self.needs[run] = roles

    def _add_needed(self, direct: Iterable[Need], run: str) -> None:
        """Add the runs that a run depends on, directly or indirectly."""
        for need, own in ordered(direct, run):
            name = need.directory.run_id
            if need.existing or name in self.needed:
                continue
            self.configs.setdefault(name, config_of(need.settings))
            self.needed[name] = None
            self._add_needs(name, own)


def make_plan(
    space: Space, compose: Compose, is_group: Callable[[str], bool], command: str, options: Sequence[str] = ()
) -> Plan:
    """Return the plan of all points of a space; nothing is written.

    Args:
        space: the space to try.
        compose, is_group, options: see `Planner`.
        command: the command that resumes the sweep when re-run.

    Raises:
        SettingsError: a point cannot be trained; the message names it.
    """
    planner = Planner(space, compose, is_group, options)
    for point in space.points():
        planner.add(point)
    return planner.plan(command)


def name_of(parts: Iterable[str]) -> str:
    """Return the ID of a sweep: a hash of its contents."""
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return f"sweep-{digest[:_HASH_LETTERS]}"


@contextlib.contextmanager
def _naming(point: Point) -> Iterator[None]:
    """Add the trial that an error message is about."""
    try:
        yield
    except SettingsError as error:
        if point:
            error.args = (f"{error}\n  at: {' '.join(f'{name}={value}' for name, value in point)}",)
        raise


def _is_plain(axis: Axis, is_group: Callable[[str], bool]) -> bool:
    """Return whether the values of an axis can be set directly in a configuration, without Hydra."""
    name = axis.name.lstrip("+")
    return (
        _NAME.fullmatch(name) is not None
        and not is_group(name)
        and not any(isinstance(value, dict) or "${" in str(value) for value in axis.values)
    )


def _command(options: Iterable[str], fixed: Iterable[str], words: Iterable[str]) -> str:
    return shlex.join(["python", "src/train.py", *options, *fixed, *words])
