"""Points that are drawn, and the corners of a space."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from ternlab.sweeps.points import corners, drawn, with_seeds
from ternlab.sweeps.space import space_of

MIXED = space_of(
    ["quant=tga,twn", "optim.lr=tag(log,interval(1e-4,1e-1))", "n=int(interval(1,3))", "seed=0,1"], intervals=True
)


@given(seed=st.integers(0, 1000), count=st.integers(1, 30))
@settings(max_examples=20)
def test_more_points_begin_with_the_same_ones_and_none_comes_twice(seed: int, count: int) -> None:
    space = MIXED.searched()
    many = list(itertools.islice(drawn(space, seed), 40))
    assert list(itertools.islice(drawn(space, seed), count)) == many[:count]
    assert len({repr(point) for point in many}) == 40
    for point in many:
        values = dict(point)
        assert values["quant"] in ("tga", "twn")
        assert 1e-4 <= values["optim.lr"] <= 1e-1
        assert values["n"] in (1, 2, 3)


def test_all_points_of_a_finite_space_are_drawn_once() -> None:
    space = space_of(["a=1,2,3", "b=int(interval(0,9))", "c=range(0,4)"], intervals=True)
    assert space.size == 120
    points = list(drawn(space, 3))
    assert len(points) == len({repr(point) for point in points}) == 120


def test_other_seeds_draw_other_points() -> None:
    first, second = (next(drawn(MIXED.searched(), seed)) for seed in (0, 1))
    assert first != second


def test_corners_have_every_choice_with_both_ends_of_every_interval() -> None:
    assert len(list(corners(MIXED.searched()))) == 2 * 2 * 2
    assert {dict(point)["optim.lr"] for point in corners(MIXED.searched())} == {1e-4, 1e-1}
    assert MIXED.searched().size is None


def test_of_a_large_space_every_value_is_a_corner_once() -> None:
    space = space_of([f"{name}=range(0,100)" for name in "abc"], intervals=True)
    found = list(corners(space))
    assert len(found) == 1 + 3 * 99
    for name in "abc":
        assert {dict(point)[name] for point in found} == set(range(100))


def test_a_point_is_trained_with_every_seed_and_keeps_the_order_of_the_axes() -> None:
    point = next(drawn(MIXED.searched(), 0))
    found = list(with_seeds(MIXED, point))
    assert [dict(one)["seed"] for one in found] == [0, 1]
    assert all([name for name, _ in one] == ["quant", "optim.lr", "n", "seed"] for one in found)
    alone = space_of(["optim.lr=interval(0,1)"], intervals=True)
    assert list(with_seeds(alone, (("optim.lr", 0.5),))) == [(("optim.lr", 0.5),)]
