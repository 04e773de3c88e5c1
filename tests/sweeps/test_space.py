"""From a command line to a space."""

from __future__ import annotations

import pytest

from ternlab.core.errors import SettingsError
from ternlab.sweeps.interval import Interval
from ternlab.sweeps.space import space_of


def test_the_last_axis_changes_fastest_and_fixed_settings_stay_as_typed() -> None:
    space = space_of(["quant=tga,sws", "optim.lr=0.1", "seed=0,1"])
    assert space.fixed == ("optim.lr=0.1",)
    assert space.size == 4
    assert list(space.points()) == [
        (("quant", "tga"), ("seed", 0)),
        (("quant", "tga"), ("seed", 1)),
        (("quant", "sws"), ("seed", 0)),
        (("quant", "sws"), ("seed", 1)),
    ]


@pytest.mark.parametrize(
    ("typed", "values", "words"),
    [
        ("seed=choice(3,4)", (3, 4), ("seed=3", "seed=4")),
        ("seed=range(0,3)", (0, 1, 2), ("seed=0", "seed=1", "seed=2")),
        ("lr=1e-4,0.5", (1e-4, 0.5), ("lr=0.0001", "lr=0.5")),
        ("name='a,b',c", ("a,b", "c"), ("name='a,b'", "name=c")),
        ("limit=null,5,true", (None, 5, True), ("limit=null", "limit=5", "limit=True")),
        ("tags=[a,'b c'],[]", (["a", "b c"], []), ("tags=[a,'b c']", "tags=[]")),
        ("seed=tag(x,choice(1,2))", (1, 2), ("seed=1", "seed=2")),
        ("seed=1,1,2", (1, 2), ("seed=1", "seed=2")),
    ],
)
def test_hydras_grammar(typed: str, values: tuple[object, ...], words: tuple[str, ...]) -> None:
    (axis,) = space_of([typed]).axes
    assert axis.values == values
    assert axis.typed == words


def test_a_shuffled_axis_keeps_each_value_with_its_own_words() -> None:
    (axis,) = space_of(["seed=shuffle(range(0,40))"]).axes
    assert sorted(axis.values) == list(range(40))
    assert axis.typed == tuple(f"seed={value}" for value in axis.values)


def test_a_glob_asks_for_the_choices_of_the_group_and_leaves_out_parts_of_choices() -> None:
    class Loader:
        def get_group_options(self, group: str, **_: object) -> list[str]:
            assert group == "quant"
            return ["_base", "sws", "tga", "twn"]

    loader: object = Loader()
    (axis,) = space_of(["quant=glob(*)"], loader=loader).axes  # type: ignore[arg-type]
    assert axis.values == ("sws", "tga", "twn")
    (axis,) = space_of(["quant=glob(t*,exclude=twn)"], loader=loader).axes  # type: ignore[arg-type]
    assert axis.values == ("tga",)


def test_the_default_space_is_taken_when_no_axis_is_typed() -> None:
    default = ["optim.lr=0.1,0.2", "seed=0,1"]
    assert [axis.name for axis in space_of(["model=x"], default).axes] == ["optim.lr", "seed"]
    space = space_of(["seed=7"], default)
    assert [axis.name for axis in space.axes] == ["optim.lr"]
    assert space.fixed == ("seed=7",)
    assert [axis.name for axis in space_of(["model=x,y"], default).axes] == ["model"]


def test_the_space_of_an_experiment_stays_beside_what_is_typed_and_replaces_the_default() -> None:
    default, params = ["optim.lr=0.1,0.2"], ["quant=tga,sws"]
    assert [axis.name for axis in space_of([], default, params).axes] == ["quant"]
    assert [axis.name for axis in space_of(["seed=0,1"], default, params).axes] == ["quant", "seed"]
    assert [axis.values for axis in space_of(["quant=twn,bwn"], default, params).axes] == [("twn", "bwn")]


def test_without_any_axis_there_is_one_point() -> None:
    space = space_of(["seed=3"])
    assert space.size == 1
    assert list(space.points()) == [()]


@pytest.mark.parametrize(
    ("typed", "between"),
    [
        ("lr=interval(0.1,2)", Interval(0.1, 2.0)),
        ("lr=interval(1,5)", Interval(1.0, 5.0)),
        ("lr=tag(log,interval(1e-4,1e-1))", Interval(1e-4, 1e-1, log=True)),
        ("n=int(interval(1,5))", Interval(1, 5, whole=True)),
        ("n=tag(log,int(interval(1,100)))", Interval(1, 100, log=True, whole=True)),
        ("n=int(tag(log,interval(1,100)))", Interval(1, 100, log=True, whole=True)),
    ],
)
def test_a_search_may_have_intervals(typed: str, between: Interval) -> None:
    space = space_of([typed, "seed=0,1"], intervals=True)
    assert space.axes[0].interval == between
    assert space.size == (None if between.size is None else 2 * between.size)
    assert [axis.name for axis in space.searched().axes] == [typed.partition("=")[0]]
    assert space.seeds == (0, 1)
    assert space.axes[0].word(3) == f"{typed.partition('=')[0]}=3"
    assert space.axes[0].word(1e-05).endswith("=1e-05")


def test_ranges_are_in_order_and_choices_are_not() -> None:
    space = space_of(["a=range(0,3)", "b=0,1,2", "c=shuffle(range(0,3))"])
    assert [axis.ordered for axis in space.axes] == [True, False, False]
    assert space_of(["seed=3"]).seeds == ()


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("lr=interval(1,1)", ["lr = interval(1,1)", "greater than its start"]),
        ("lr=interval(2,1)", ["greater than its start"]),
        ("lr=tag(log,interval(0,1))", ["lr = tag(log,interval(0,1))", "log scale"]),
        ("lr=tag(log,interval(-1,1))", ["log scale"]),
        ("lr=interval(0,inf)", ["not finite"]),
        ("seed=interval(0,9)", ["seed", "not searched", "seed=0,1,2"]),
        ("seed=int(interval(0,9))", ["seed", "not searched"]),
        ("lr=str(interval(0,1))", ["command line", "cast"]),
    ],
)
def test_an_interval_without_numbers_says_what_is_wrong(typed: str, says: list[str]) -> None:
    with pytest.raises(SettingsError) as error:
        space_of([typed], intervals=True)
    assert all(words in str(error.value) for words in says), str(error.value)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["seed=range(0,0)"], ["seed", "no values", "seed=a,b,c"]),
        (["seed=choice()"], ["empty choice"]),
        (["seed=range(0,3,0)"], ["must not be zero"]),
        (["seed=1,"], ["command line", "name=a,b"]),
        (["nonsense"], ["command line"]),
        (
            ["optim.lr=interval(0,1)"],
            ["optim.lr = interval(0,1)", "interval", "range(start,stop,step)", "search=random"],
        ),
        (["seed=0,1", "seed=2,3"], ["seed", "given twice"]),
        (["seed=0", "seed=1,2"], ["seed", "given twice"]),
        (["quant=glob(*)"], ["quant"]),
    ],
)
def test_what_cannot_be_a_space_says_what_to_type(typed: list[str], says: list[str]) -> None:
    with pytest.raises(SettingsError) as error:
        space_of(typed)
    assert all(words in str(error.value) for words in says), str(error.value)
