"""Random points of a space, and points at its corners."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from random import Random
from typing import Any

from ternlab.sweeps.space import Axis, Point, Space

# With more corners than this, each axis is varied separately.
_MOST_CORNERS = 1000
# After this many consecutive draws without a new point, the space counts as exhausted.
_MOST_MISSES = 1000


def drawn(space: Space, seed: int) -> Iterator[Point]:
    """Yield distinct random points until the space is exhausted; the same seed yields the same points.

    Args:
        space: without the seed axis.
        seed: seed of the random generator.
    """
    random = Random(seed)  # noqa: S311 - not used for security
    seen, misses = set[str](), 0
    while len(seen) != space.size and misses < max(_MOST_MISSES, 100 * len(seen)):
        point = tuple((axis.name, _drawn(axis, random)) for axis in space.axes)
        if repr(point) in seen:
            misses += 1
            continue
        misses = 0
        seen.add(repr(point))
        yield point


def corners(space: Space) -> Iterator[Point]:
    """Yield points that together cover every value of every axis and both ends of every interval.

    Yields all combinations if there are few, which reveals every invalid combination of a group and a value.

    Args:
        space: without the seed axis.
    """
    names = [axis.name for axis in space.axes]
    values = [_ends(axis) for axis in space.axes]
    count = 1
    for one in values:
        count *= len(one)
    if count <= _MOST_CORNERS:
        for combination in itertools.product(*values):
            yield tuple(zip(names, combination, strict=True))
        return
    first = [one[0] for one in values]
    yield tuple(zip(names, first, strict=True))
    for place, one in enumerate(values):
        for value in one[1:]:
            yield tuple(zip(names, [*first[:place], value, *first[place + 1 :]], strict=True))


def with_seeds(space: Space, point: Point) -> Iterator[Point]:
    """Yield a point of the searched space once per seed, with the axes in the order of the whole space."""
    values = dict(point)
    for seed in space.seeds or (None,):
        yield tuple((axis.name, values.get(axis.name, seed)) for axis in space.axes)


def _drawn(axis: Axis, random: Random) -> Any:
    if axis.interval is not None:
        return axis.interval.draw(random)
    return axis.values[random.randrange(len(axis.values))]


def _ends(axis: Axis) -> tuple[Any, ...]:
    if axis.interval is None:
        return axis.values
    return axis.interval.rounded(axis.interval.start), axis.interval.rounded(axis.interval.stop)
