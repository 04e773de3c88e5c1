"""Conditions such as `quant=tga and optim.lr<=0.05`: a small grammar; no code is evaluated.

condition:  term {or term}
term:       factor {and factor}
factor:     not factor | ( condition ) | NAME OPERATOR VALUE
OPERATOR:   = != < <= > >= ~            (~: contains, case-insensitive)
VALUE:      a word, 'text' or "text", or null (there is none)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

import polars as pl

from ternlab.core.errors import SettingsError
from ternlab.reports.comparing import compared

EXAMPLE = "'quant=tga and data=digits and optim.lr<=0.05'"

_TOKEN = re.compile(
    r"""\s*(?:(?P<bracket>[()])|(?P<operator>!=|<=|>=|==|=|<|>|~)|(?P<quoted>'[^']*'|"[^"]*")|(?P<word>[^\s()=<>!~'"]+))"""
)
_JOINING = ("and", "or", "not")
_DEEPEST = 50


@dataclass(frozen=True)
class Comparison:
    """One comparison of a column with a value.

    Attributes:
        name: name of the column.
        operator: one of `= != < <= > >= ~`.
        value: as it was typed, without its quotes.
        quoted: whether it was in quotes.
    """

    name: str
    operator: str
    value: str
    quoted: bool


@dataclass(frozen=True)
class Joined:
    """Conditions under `and`, `or`, or a single one under `not`."""

    word: str
    parts: tuple[Comparison | Joined, ...]


@dataclass(frozen=True)
class Condition:
    """A parsed condition.

    Attributes:
        text: as it was typed.
        option: where it was typed, for messages.
        tree: the parsed condition.
    """

    text: str
    option: str
    tree: Comparison | Joined

    def names(self) -> tuple[str, ...]:
        """Return the columns that it names, each once."""
        return tuple(dict.fromkeys(comparison.name for comparison in _comparisons(self.tree)))

    def keep(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that fulfil it; the frame has all its columns.

        A comparison with a value that is missing does not hold; `!=` holds.

        Raises:
            SettingsError: a value that the column cannot have, such as a word for a number.
        """
        return frame.filter(_expression(self.tree, frame, self.option))


def parse_condition(text: str, option: str = "--where") -> Condition:
    """Parse a condition.

    Args:
        text: the condition as typed.
        option: where it was typed, for messages.

    Raises:
        SettingsError: it does not follow the grammar; the place is named.
    """
    return Condition(text, option, _Parser(text, option).parse())


def _comparisons(tree: Comparison | Joined) -> Iterator[Comparison]:
    if isinstance(tree, Comparison):
        yield tree
        return
    for part in tree.parts:
        yield from _comparisons(part)


def _expression(tree: Comparison | Joined, frame: pl.DataFrame, option: str) -> pl.Expr:
    if isinstance(tree, Comparison):
        return compared(frame.schema[tree.name], tree.name, tree.operator, tree.value, tree.quoted, option)
    parts = [_expression(part, frame, option) for part in tree.parts]
    if tree.word == "not":
        return ~parts[0]
    return pl.all_horizontal(parts) if tree.word == "and" else pl.any_horizontal(parts)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


class _Parser:
    """Recursive descent, a method for each line of the grammar."""

    def __init__(self, text: str, option: str) -> None:
        self._text, self._option, self._next, self._depth = text, option, 0, 0
        self._tokens = list(self._read())

    def parse(self) -> Comparison | Joined:
        """Return the tree of the whole text."""
        tree = self._condition()
        if self._token().kind != "end":
            self._refuse("'and', 'or' or the end")
        return tree

    def _read(self) -> Iterator[_Token]:
        at, end = 0, len(self._text.rstrip())
        while at < end:
            found = _TOKEN.match(self._text, at)
            if not found:
                raise self._error(f"unterminated quote at character {at + 1 + self._blanks(at)}, or a ! without =")
            kind = str(found.lastgroup)
            word = found[kind]
            if kind == "word" and word.lower() in _JOINING:
                kind, word = "joining", word.lower()
            yield _Token(kind, word, found.start(str(found.lastgroup)))
            at = found.end()
        yield _Token("end", "the end", len(self._text))

    def _blanks(self, at: int) -> int:
        return len(self._text[at:]) - len(self._text[at:].lstrip())

    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _took(self, kind: str, text: str | None = None) -> bool:
        """Go past the next token when it is this one."""
        token = self._token()
        fits = token.kind == kind and text in (None, token.text)
        self._next += fits
        return fits

    def _condition(self) -> Comparison | Joined:
        parts = [self._term()]
        while self._took("joining", "or"):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else Joined("or", tuple(parts))

    def _term(self) -> Comparison | Joined:
        parts = [self._factor()]
        while self._took("joining", "and"):
            parts.append(self._factor())
        return parts[0] if len(parts) == 1 else Joined("and", tuple(parts))

    def _factor(self) -> Comparison | Joined:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error(f"has more than {_DEEPEST} nested parentheses or not operators")
        tree = self._inner()
        self._depth -= 1
        return tree

    def _inner(self) -> Comparison | Joined:
        if self._took("joining", "not"):
            return Joined("not", (self._factor(),))
        if self._took("bracket", "("):
            tree = self._condition()
            if not self._took("bracket", ")"):
                self._refuse("')'")
            return tree
        return self._comparison()

    def _comparison(self) -> Comparison:
        name = self._token()
        if not self._took("word"):
            self._refuse("a column name")
        operator = self._token()
        if not self._took("operator"):
            self._refuse(f"= != < <= > >= or ~ after {name.text}")
        value = self._token()
        if not (self._took("word") or self._took("quoted")):
            self._refuse(f"a value after {name.text}{operator.text} (quoted unless it is a plain word)")
        quoted = value.kind == "quoted"
        typed = value.text[1:-1] if quoted else value.text
        return Comparison(name.text, operator.text.replace("==", "="), typed, quoted)

    def _refuse(self, expected: str) -> NoReturn:
        token = self._token()
        found = token.text if token.kind == "end" else f"{token.text!r} (character {token.at + 1})"
        raise self._error(f"expected {expected}, found {found}")

    def _error(self, rule: str) -> SettingsError:
        return SettingsError(self._option, value=self._text, rule=rule, instead=f"such as {EXAMPLE}")
