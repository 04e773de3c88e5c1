"""The search space of a sweep, parsed from overrides in Hydra's grammar."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, QuotedString, RangeSweep, Transformer
from hydra.errors import HydraException

from ternlab.core.errors import SettingsError
from ternlab.sweeps.interval import Interval
from ternlab.sweeps.plan import is_seed

Point = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Axis:
    """One setting of the space.

    Attributes:
        name: as typed (`optim.lr`, or a group: `quant`).
        values: plain values in the order in which they were typed.
        typed: each value as an override that can be pasted (`optim.lr=0.1`).
        ordered: whether the values are a numeric sequence (`range`) rather than choices.
        interval: an interval instead of values.
    """

    name: str
    values: tuple[Any, ...]
    typed: tuple[str, ...]
    ordered: bool = False
    interval: Interval | None = None

    @property
    def size(self) -> int | None:
        """Number of values; `None` for an interval of real numbers."""
        return len(self.values) if self.interval is None else self.interval.size

    def word(self, value: Any) -> str:
        """Return a value as an override that can be pasted and parses to exactly this value."""
        return self.typed[self.place(value)] if self.interval is None else f"{self.name}={value!r}"

    def place(self, value: Any) -> int:
        """Return the index of a value."""
        return self._places[repr(value)]

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        # Keyed by representation, since 1 and True are equal and lists are not hashable.
        return {repr(value): place for place, value in enumerate(self.values)}


@dataclass(frozen=True)
class Space:
    """The search space of a sweep.

    Attributes:
        fixed: overrides that all trials share, as typed.
        axes: the settings that vary.
    """

    fixed: tuple[str, ...]
    axes: tuple[Axis, ...]

    @property
    def size(self) -> int | None:
        """Number of points; `None` with an interval of real numbers."""
        count = 1
        for axis in self.axes:
            if axis.size is None:
                return None
            count *= axis.size
        return count

    @property
    def seeds(self) -> tuple[Any, ...]:
        """Values of the axis `seed`; empty if all trials share one seed."""
        return next((axis.values for axis in self.axes if is_seed(axis.name)), ())

    def searched(self) -> Space:
        """Return the space without the seed axis."""
        return Space(self.fixed, tuple(axis for axis in self.axes if not is_seed(axis.name)))

    def points(self) -> Iterator[Point]:
        """Yield every combination as (name, value) pairs; the last axis changes fastest."""
        names = [axis.name for axis in self.axes]
        for values in itertools.product(*(axis.values for axis in self.axes)):
            yield tuple(zip(names, values, strict=True))


def space_of(
    typed: Sequence[str],
    default: Sequence[str] = (),
    params: Sequence[str] = (),
    loader: ConfigLoader | None = None,
    *,
    intervals: bool = False,
) -> Space:
    """Return the space of overrides in Hydra's grammar: lists with commas, `choice`, `range`, `glob`, `interval`.

    Args:
        typed: the overrides of the command line.
        default: the space to use if neither the command line nor `params` has an axis.
        params: the space of an experiment (`hydra.sweeper.params`); typed overrides extend or replace it.
        loader: Hydra's configuration loader, which knows the choices of a group for `glob`.
        intervals: whether intervals are allowed; a grid cannot enumerate one.

    Raises:
        SettingsError: an override is not in Hydra's grammar, an axis has no values, or an interval is empty or in a
            grid.
    """
    overrides = _parsed(typed, loader)
    names = {override.key_or_group for override in overrides}
    overrides = [*(one for one in _parsed(params, loader) if one.key_or_group not in names), *overrides]
    # A search treats seeds as repeats, so seeds alone are not a search space.
    searched = [one for one in overrides if one.is_sweep_override() and not (intervals and is_seed(one.key_or_group))]
    if not searched:
        overrides += [override for override in _parsed(default, loader) if override.key_or_group not in names]
    fixed = tuple(str(override.input_line) for override in overrides if not override.is_sweep_override())
    axes = tuple(_axis(override, intervals) for override in overrides if override.is_sweep_override())
    given = Counter(override.key_or_group for override in overrides)
    for axis in axes:
        if given[axis.name.lstrip("+")] > 1:
            raise SettingsError(axis.name, rule="is given twice", instead=f"{axis.name}=a,b,c (one list of all values)")
    return Space(fixed, axes)


def _parsed(lines: Sequence[str], loader: ConfigLoader | None) -> list[Override]:
    try:
        return list(OverridesParser.create(loader).parse_overrides(list(lines)))
    except (HydraException, ValueError) as error:
        raise SettingsError(
            "command line", rule=" ".join(str(error).split()), instead="name=value, or name=a,b"
        ) from None


def _axis(override: Override, intervals: bool) -> Axis:
    name = override.get_key_element()
    if override.is_interval_sweep():
        return _interval_axis(name, override, intervals)
    try:
        # Iterated only once: `shuffle` gives another order each time.
        values = list(override.sweep_iterator(transformer=Transformer.identity))
    except (HydraException, ValueError) as error:
        raise SettingsError(
            name, value=str(override.input_line).partition("=")[2], rule=str(error), instead=f"{name}=a,b,c"
        ) from None
    sweep: Any = override.value()
    if isinstance(sweep, Glob):
        # Partial files (`_*.yaml`) are not choices.
        values = [value for value in values if not str(value).startswith("_")]
    # Keyed by the typed text, so that a value given twice counts once.
    texts = {str(Transformer.encode(value)): value for value in values}
    if not texts:
        raise SettingsError(
            name,
            value=str(override.input_line).partition("=")[2],
            rule="has no values, so the sweep would have no trials",
            instead=f"{name}=a,b,c",
        )
    ordered = isinstance(sweep, RangeSweep) and not sweep.shuffle
    plain = tuple(_plain(value) for value in texts.values())
    return Axis(name, plain, tuple(f"{name}={text}" for text in texts), ordered)


def _interval_axis(name: str, override: Override, intervals: bool) -> Axis:
    value = str(override.input_line).partition("=")[2]
    if not intervals:
        raise SettingsError(
            name,
            value=value,
            rule="is an interval, which a grid cannot enumerate",
            instead=f"{name}=a,b,c, or '{name}=range(start,stop,step)', or search=random",
        )
    if is_seed(name):
        raise SettingsError(
            name,
            value=value,
            rule="holds repeats, which are not searched",
            instead=f"{name}=0,1,2, or {name}=range(0,5)",
        )
    sweep: Any = override.value()
    assert isinstance(sweep, IntervalSweep)
    # Hydra converts both ends to floats; `int(interval(...))` converts them to integers.
    whole = type(sweep.start) is int
    interval = Interval(float(sweep.start or 0), float(sweep.end or 0), "log" in sweep.tags, whole)
    wrong = interval.wrong()
    if wrong:
        raise SettingsError(
            name,
            value=value,
            rule=wrong,
            instead=f"'{name}=interval(0.1,0.2)', or 'tag(log,interval(...))' with a start above 0",
        )
    return Axis(name, (), (), interval=interval)


def _plain(value: Any) -> Any:
    """Return a value of Hydra's parser as YAML would parse it."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(inner) for key, inner in value.items()}
    return value
