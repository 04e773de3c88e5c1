"""`ternlab diff`: everything in which two runs differ."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from ternlab.core.errors import ExitCode
from ternlab.core.text import aligned
from ternlab.reports.difference import Difference, differences
from ternlab.reports.formatting import format_value
from ternlab.reports.one_run import one_run
from ternlab.reports.terminal import visible
from ternlab.runs.directory import existing_run
from ternlab.runs.record import finite

# A list of all classes would hide everything else.
_LONGEST = 60


def diff(chosen: argparse.Namespace) -> ExitCode:
    """Print in what two runs differ.

    Returns:
        `DONE` if nothing differs, else `FAILED`.

    Raises:
        SettingsError: there is no such run.
        StorageError: a record is not readable.
    """
    first, second = (
        one_run(existing_run(chosen.runs, name, side)) for name, side in ((chosen.first, "A"), (chosen.second, "B"))
    )
    found = differences(first, second)
    if chosen.json:
        plain = {kind: {name: {"a": a, "b": b} for name, (a, b) in rows.items()} for kind, rows in found.items()}
        print(json.dumps(finite({"a": first.run_id, "b": second.run_id, "differences": plain}), allow_nan=False))
    else:
        for side, run in (("A", first), ("B", second)):
            print(f"{side}  {visible(run.run_id)}: {visible(run.status)}")
        print(*_tables(found), sep="\n")
    return ExitCode.FAILED if found else ExitCode.DONE


def _tables(found: dict[str, Difference]) -> Iterator[str]:
    if not found:
        yield "\nnothing differs"
    for kind, rows in found.items():
        shown = format_value if kind == "metric" else _text
        cells = [(visible(name), shown(name, a), shown(name, b)) for name, (a, b) in rows.items()]
        yield ""
        yield from aligned([(kind, "A", "B"), *cells])


def _text(_: str, value: Any) -> str:
    text = "" if value is None else visible(value if isinstance(value, str) else json.dumps(value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
