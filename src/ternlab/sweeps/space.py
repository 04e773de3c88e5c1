"""The space of a sweep, from overrides in Hydra's own grammar."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, QuotedString, Transformer
from hydra.errors import HydraException

from ternlab.errors import SettingsError

Point = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Axis:
    """One setting of the space.

    Attributes:
        name: as it is typed (`optim.lr`, or a group: `quant`).
        values: plain values in the order in which they were typed.
        typed: each value as an override that can be pasted (`optim.lr=0.1`).
    """

    name: str
    values: tuple[Any, ...]
    typed: tuple[str, ...]


@dataclass(frozen=True)
class Space:
    """What a sweep tries.

    Attributes:
        fixed: overrides that all trials share, as they were typed.
        axes: the settings that differ.
    """

    fixed: tuple[str, ...]
    axes: tuple[Axis, ...]

    @property
    def size(self) -> int:
        """Number of points."""
        count = 1
        for axis in self.axes:
            count *= len(axis.values)
        return count

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
) -> Space:
    """Return the space of overrides in Hydra's grammar: lists with commas, `choice`, `range`, `glob`.

    Args:
        typed: the overrides of the command line.
        default: the space that is taken when neither an axis is typed nor `params` has one.
        params: the space of an experiment (`hydra.sweeper.params`); what is typed comes beside it, or in its place.
        loader: of Hydra; knows the choices of a group, for `glob`.

    Raises:
        SettingsError: not Hydra's grammar, an axis without values, or an interval, which only a search can sample.
    """
    overrides = _parsed(typed, loader)
    names = {override.key_or_group for override in overrides}
    overrides = [*(one for one in _parsed(params, loader) if one.key_or_group not in names), *overrides]
    if not any(override.is_sweep_override() for override in overrides):
        overrides += [override for override in _parsed(default, loader) if override.key_or_group not in names]
    fixed = tuple(str(override.input_line) for override in overrides if not override.is_sweep_override())
    axes = tuple(_axis(override) for override in overrides if override.is_sweep_override())
    given = Counter(override.key_or_group for override in overrides)
    for axis in axes:
        if given[axis.name.lstrip("+")] > 1:
            raise SettingsError(axis.name, rule="is given twice", instead=f"{axis.name}=a,b,c with all its values")
    return Space(fixed, axes)


def _parsed(lines: Sequence[str], loader: ConfigLoader | None) -> list[Override]:
    try:
        return list(OverridesParser.create(loader).parse_overrides(list(lines)))
    except (HydraException, ValueError) as error:
        raise SettingsError(
            "command line", rule=" ".join(str(error).split()), instead="name=value, or name=a,b"
        ) from None


def _axis(override: Override) -> Axis:
    name = override.get_key_element()
    if override.is_interval_sweep():
        raise SettingsError(
            name,
            value=str(override.input_line).partition("=")[2],
            rule="is an interval, which a grid cannot go through",
            instead=f"{name}=a,b,c, or '{name}=range(start,stop,step)'",
        )
    try:
        # Gone through once: `shuffle` has another order each time.
        values = list(override.sweep_iterator(transformer=Transformer.identity))
    except (HydraException, ValueError) as error:
        raise SettingsError(
            name, value=str(override.input_line).partition("=")[2], rule=str(error), instead=f"{name}=a,b,c"
        ) from None
    if isinstance(override.value(), Glob):
        # Parts that choices are made of are no choices.
        values = [value for value in values if not str(value).startswith("_")]
    # By what is typed, so that a value that is given twice is one.
    texts = {str(Transformer.encode(value)): value for value in values}
    if not texts:
        raise SettingsError(
            name,
            value=str(override.input_line).partition("=")[2],
            rule="has no values, so there is no trial",
            instead=f"{name}=a,b,c",
        )
    return Axis(name, tuple(_plain(value) for value in texts.values()), tuple(f"{name}={text}" for text in texts))


def _plain(value: Any) -> Any:
    """Return a value of Hydra's parser as YAML would give it."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(inner) for key, inner in value.items()}
    return value
