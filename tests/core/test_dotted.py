"""Dotted names: what is taken apart can be put back, and a name that is given twice is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ternlab.core.dotted import find, leaves, names, nested, put, replaced
from ternlab.core.errors import SettingsError

KEYS = st.text("abc", min_size=1, max_size=2)
TREES = st.recursive(st.integers(), lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=3), max_leaves=8)
MAPPINGS = st.dictionaries(KEYS, TREES, max_size=3)


@given(MAPPINGS)
def test_leaves_are_put_back_to_the_same_tree(tree: dict[str, Any]) -> None:
    assert nested(dict(leaves(tree))) == tree
    assert nested(tree) == tree
    again: dict[str, Any] = {}
    for name, value in leaves(tree):
        put(again, name, value)
        assert find(tree, name) == value
    assert again == tree


@given(MAPPINGS)
def test_names_are_those_of_leaves_and_of_what_holds_them(tree: dict[str, Any]) -> None:
    found = list(names(tree))
    assert len(found) == len(set(found))
    expected = {
        ".".join(name.split(".")[:depth]) for name, _ in leaves(tree) for depth in range(1, name.count(".") + 2)
    }
    assert set(found) == expected


@given(MAPPINGS.filter(bool))
def test_one_value_is_replaced_and_the_original_kept(tree: dict[str, Any]) -> None:
    before = dict(leaves(tree))
    for name in before:
        assert dict(leaves(replaced(tree, name, "new"))) == {**before, name: "new"}
    assert dict(leaves(tree)) == before


def test_dotted_and_nested_keys_meet() -> None:
    assert nested({"a.b": 1, "a": {"c.d": 2}, "e": {}}) == {"a": {"b": 1, "c": {"d": 2}}, "e": {}}
    assert nested({"a.b": 1, "a": {}}) == {"a": {"b": 1}}


@pytest.mark.parametrize(
    "twice",
    [{"a.b": 1, "a": {"b": 2}}, {"a": 1, "a.b": 2}, {"a.b": 2, "a": 1}, {"a.b": 1, "a.b.c": 2}, {"a": None, "a.b": 1}],
)
def test_a_name_given_twice_is_refused(twice: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="is given twice"):
        nested(twice)
