"""`--where`: what it means, and what it says of what it cannot read."""

from __future__ import annotations

import contextlib
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ternlab.core.errors import SettingsError
from ternlab.reports.conditions import Comparison, Joined, parse_condition

FRAME = pl.DataFrame(
    {
        "run_id": ["a", "b", "c", "d"],
        "quant": ["tga", "sws", "none", "sws-rel2"],
        "optim.lr": [0.05, 0.1, None, 0.02],
        "seed": [0, 1, 2, 2**62 + 1],
        "dirty": [True, False, None, False],
        "trainer.precision": ["32", "auto", None, "16"],
        "optim.eps": ["1e-08", "1e-8", "0.1", "auto"],
        "error": [None, "No Space left (disk)", "= 'quoted'", ""],
        "test/top1": [90.0, 91.0, None, 93.5],
        "nothing": [None, None, None, None],
        "started": ["2026-01-01T00:00:00", "2026-02-01T00:00:00", "2026-03-01T00:00:00", None],
    }
)


def kept(text: str) -> str:
    return "".join(parse_condition(text).keep(FRAME)["run_id"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quant=tga", "a"),
        ("quant = tga", "a"),
        ("quant==tga", "a"),
        ("quant!=tga", "bcd"),
        ("quant~SWS", "bd"),
        ("not quant~sws", "ac"),
        ("optim.lr<=0.05", "ad"),
        ("optim.lr<0.05", "d"),
        ("optim.lr>=5e-2", "ab"),
        ("optim.lr=0.10", "b"),
        ("optim.lr!=0.1", "acd"),
        ("not optim.lr<1", "c"),
        ("optim.lr=null", "c"),
        ("optim.lr!=null", "abd"),
        ("error='null'", ""),
        ("seed=0", "a"),
        ("seed=2.0", "c"),
        ("seed=4611686018427387905", "d"),
        ("seed=4611686018427387904", ""),
        ("dirty=true", "a"),
        ("dirty=False", "bd"),
        ("trainer.precision=32", "a"),
        ("trainer.precision=auto", "b"),
        ("trainer.precision>20", "a"),
        ("optim.eps=0.00000001", "ab"),
        ('error~"no space"', "b"),
        ("error~'left (disk)'", "b"),
        ("error=\"= 'quoted'\"", "c"),
        ("error=''", "d"),
        ("nothing=1", ""),
        ("nothing!=1", "abcd"),
        ("nothing=null", "abcd"),
        ("started>2026-01-15", "bc"),
        ("started<2026", ""),
        ("started>2026", "abc"),
        ("quant=tga or quant=sws and seed=0", "a"),
        ("(quant=tga or quant=sws) and seed=1", "b"),
        ("quant=tga OR NOT (seed=0 OR seed=1)", "acd"),
        ("not not quant=tga", "a"),
        ("quant=tga and test/top1>89 and optim.lr<1", "a"),
    ],
)
def test_what_is_kept(text: str, expected: str) -> None:
    assert kept(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a column name"),
        ("quant", "after quant, found the end"),
        ("quant=", "a value after quant="),
        ("quant=tga and", "a column name, found the end"),
        ("quant=tga seed=1", "'and', 'or' or the end, found 'seed' (character 11)"),
        ("(quant=tga", "')'"),
        ("quant=tga)", "found ')' (character 10)"),
        ("quant='tga", "quote at character 7"),
        ("quant!tga", "!"),
        ("=tga", "a column name"),
        ("quant=tga=sws", "found '=' (character 10)"),
        ("and quant=tga", "a column name, found 'and'"),
        ("(" * 80 + "a=1" + ")" * 80, "nested parentheses"),
        ("not " * 80 + "a=1", "nested parentheses"),
        ("optim.lr<much", "'much' is not"),
        ("optim.lr=nan", "'nan' is not"),
        ("optim.lr~5", "is a number"),
        ("optim.lr<null", "cannot be ordered"),
        ("dirty=maybe", "true or false"),
        ("dirty<true", "true or false"),
    ],
)
def test_what_cannot_be_read(text: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        kept(text)
    assert said in str(error.value)
    assert str(error.value).startswith("--where") and "instead:" in str(error.value)


def test_names() -> None:
    assert parse_condition("a=1 and (b.c<2 or not a~x) and d/e=null").names() == ("a", "b.c", "d/e")


def test_nothing_is_evaluated() -> None:
    assert kept("quant='__import__(\"os\").abort()'") == ""


NAMES = st.sampled_from(["quant", "optim.lr", "test/top1"])
LEAVES = st.builds(
    Comparison,
    NAMES,
    st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
    st.sampled_from(["1", "91", "x y"]),
    st.just(True),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        lambda word, parts: Joined(word, tuple(parts[:1] if word == "not" else parts)),
        st.sampled_from(["and", "or", "not"]),
        st.lists(inner, min_size=2, max_size=3),
    ),
    max_leaves=8,
)


def written(tree: Comparison | Joined) -> str:
    if isinstance(tree, Comparison):
        return f'{tree.name}{tree.operator}"{tree.value}"'
    if tree.word == "not":
        return f"not ({written(tree.parts[0])})"
    return f" {tree.word} ".join(f"({written(part)})" for part in tree.parts)


@given(TREES)
def test_what_is_written_is_what_is_parsed(tree: Comparison | Joined) -> None:
    assert parse_condition(written(tree)).tree == tree


def holds(tree: Comparison | Joined, row: dict[str, Any]) -> bool:
    if isinstance(tree, Joined):
        parts = [holds(part, row) for part in tree.parts]
        return not parts[0] if tree.word == "not" else all(parts) if tree.word == "and" else any(parts)
    value = row[tree.name]
    if value is None:
        return tree.operator == "!="
    typed = float(tree.value) if isinstance(value, float) else tree.value
    return {
        "=": value == typed, "!=": value != typed, "<": value < typed,
        "<=": value <= typed, ">": value > typed, ">=": value >= typed,
    }[tree.operator]  # fmt: skip


def numeric(tree: Comparison | Joined) -> bool:
    if isinstance(tree, Joined):
        return all(map(numeric, tree.parts))
    return tree.name == "quant" or tree.value != "x y"


@given(TREES.filter(numeric))
def test_rows_are_kept_as_python_would(tree: Comparison | Joined) -> None:
    expected = "".join(row["run_id"] for row in FRAME.to_dicts() if holds(tree, row))
    assert kept(written(tree)) == expected


@given(st.text(alphabet="quant=<>!~()'\" andort0.5/", max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(SettingsError):
        assert parse_condition(text).names()
