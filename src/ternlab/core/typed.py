"""Settings as they are typed on a command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

# Text that Hydra reads as the same text without quotes; spaces, commas, brackets, '=' and `$` have a meaning.
_PLAIN = re.compile(r"[A-Za-z_./~*@+-][\w./~:*@+%-]*")
# Digits that are followed by letters are text too, unless they are a number such as 1e5.
_DIGITS_FIRST = re.compile(r"\d+[A-Za-z_]\w*")
_NOT_TEXT = frozenset(("null", "true", "false", "nan", "inf", "-inf", "+inf"))


def assignment(name: str, value: object) -> str:
    """Return `name=value` as a word to type in a shell: in Hydra's grammar, with quotes where they are needed."""
    return shlex.quote(f"{name}={typed(value)}")


def typed(value: object) -> str:
    """Return a plain value in Hydra's grammar: `null`, `true`, `0.1`, `[1,2]`, `{a:1}`, or text."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{typed(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(map(typed, value)) + "]"
    text = str(value)
    if not isinstance(value, str) or (_PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT):
        return text
    if _DIGITS_FIRST.fullmatch(text) and not _is_number(text):
        return text
    quoted = text.replace("\\", "\\\\").replace('"', '\\"') if text.endswith("\\") else text.replace('"', '\\"')
    return f'"{quoted}"'


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
