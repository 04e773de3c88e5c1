"""Reading a report back: its text, and the JSON inside of it, as a browser would find them."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from ternlab.reports.load_runs import Gathered, gather
from ternlab.reports.page.document import page
from ternlab.reports.page.drawing import Drawing, draw
from ternlab.reports.seed_groups import Group, groups_of


class ReadPage(HTMLParser):
    """The elements of a page.

    Attributes:
        tags: (name, attributes) of every element.
        scripts: (attributes, text) of every script.
        text: what stands outside of scripts and styles.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self._inside = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else ""
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data
        elif self._inside != "style":
            self.text += data

    @property
    def data(self) -> dict[str, Any]:
        """What the page knows."""
        (text,) = [text for attributes, text in self.scripts if attributes.get("type") == "application/json"]
        return dict(json.loads(text))

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Rows of a chart by name, or of `runs` and `groups`."""
        found = self.data
        table = found[name] if name in ("runs", "groups") else found["data"][name]
        return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


def gathered_from(runs: Path, **more: Any) -> tuple[Gathered, tuple[Group, ...], Drawing]:
    """Return what a report of `runs` is made of."""
    gathered = gather(runs, **more)
    groups = groups_of(gathered.runs, gathered.axes)
    return gathered, groups, draw(gathered, groups, curves=40, weights=4)


def page_of(runs: Path, **more: Any) -> ReadPage:
    """Return the page of a report of `runs`, read back."""
    return ReadPage(page(*gathered_from(runs, **more)))
