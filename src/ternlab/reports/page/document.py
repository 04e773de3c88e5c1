"""A self-contained HTML file: it loads nothing from the network, and cannot."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from ternlab import __version__
from ternlab.reports.load_runs import Gathered
from ternlab.reports.page import sections
from ternlab.reports.page.charts_parts import vega_lite_version
from ternlab.reports.page.charts_theme import DARK, FONT, PAPER
from ternlab.reports.page.drawing import Drawing
from ternlab.reports.page.embedded import page_json
from ternlab.reports.seed_groups import Group

_PROGRAM = ("page_data.js", "page_charts.js", "page_table.js", "page.js")


def page(gathered: Gathered, groups: Sequence[Group], drawing: Drawing) -> str:
    """Return the whole page.

    Args:
        gathered: the runs of the report.
        groups: groups of the finished quantized runs.
        drawing: the charts and their data.
    """
    vega, program = _vega(), _program()
    parts = {
        "TITLE": escape(f"Results of {gathered.source}"),
        "COUNTS": sections.counts(gathered),
        "HEADLINE": sections.headline(gathered, groups),
        "SECTIONS": sections.sections(gathered, groups, drawing),
        "METHODS": sections.methods(),
        "EXAMPLE": escape(_example(groups), quote=True),
        "HASHES": f"{_hash(vega)} {_hash(program)}",
        "STYLE": _style(),
        "DATA": page_json(gathered, groups, drawing),
        "VEGA": vega,
        "PROGRAM": program,
        "VERSION": __version__,
    }
    text = Template(_read("page.html")).substitute(parts)
    # A lone surrogate (from a file name that is not UTF-8) cannot be encoded; JSON has the same escape for it.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _example(groups: Sequence[Group]) -> str:
    return next((group.words.split(" ")[0] for group in groups), "finished")


@functools.cache
def _vega() -> str:
    """Return Vega, Vega-Lite and their embedding as one script."""
    import vl_convert

    # Its types ask for a snippet; without one it is only Vega.
    convert: Any = vl_convert
    return _closed(str(convert.javascript_bundle(vl_version=vega_lite_version())))


def _program() -> str:
    # One scope: the files share names, and none of them leaks into Vega's scope.
    return _closed("(() => {\n" + "\n".join(_read(name) for name in _PROGRAM) + "})();")


def _closed(script: str) -> str:
    """Return a script in which no text can be mistaken for the end of its element."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _style() -> str:
    values = {"LIGHT": _variables(PAPER), "DARK": _variables(DARK), "FONT": FONT}
    return Template(_read("page.css")).substitute(values)


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    return files("ternlab.reports.page").joinpath(name).read_text(encoding="utf-8")
