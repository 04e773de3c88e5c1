"""HTML building blocks of sections; all text is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from ternlab.reports.page.drawing import Drawing


def section(name: str, title: str, read: str, body: str = "", note: str = "") -> str:
    """Return a section.

    Args:
        name: its ID in the page.
        title: states what the section shows.
        read: how to read it, in a sentence or two.
        body: HTML.
        note: what is left out.
    """
    controls = f'<div class="controls" id="{name}-controls"></div>' if body else ""
    said = f'<p class="note">{escape(note)}</p>' if note else ""
    # Keep a number and its unit on one line.
    unbroken = read.replace(" %", "\N{NO-BREAK SPACE}%")
    head = f'<h2>{escape(title)}</h2><p class="read">{escape(unbroken)}</p>'
    return f'<section id="{name}">{head}{controls}{body}{said}</section>'


def figure(drawing: Drawing, name: str, least: int = 0) -> str:
    """Return the placeholder of a chart, with its text alternative."""
    return holder(name, drawing.charts[name].label, least)


def holder(name: str, label: str, least: int = 0) -> str:
    """Return a placeholder for a chart.

    Args:
        name: name of the placeholder.
        label: what the chart shows.
        least: minimum width in pixels; in a narrower window the placeholder scrolls.
    """
    width = f' style="min-width:{least}px"' if least else ""
    inner = f'<div id="chart-{name}" class="chart"{width}></div>'
    return f'<figure aria-label="{escape(label, quote=True)}"><div class="scroll">{inner}</div></figure>'


def run_link(run_id: str, text: str, kind: str = "") -> str:
    """Return a button that shows the details of a run."""
    run = escape(run_id, quote=True)
    return f'<button type="button" class="{f"link {kind}".strip()}" data-run="{run}">{escape(text)}</button>'


def table(heads: Sequence[tuple[str, str]], rows: Iterable[Sequence[tuple[str, str]]]) -> str:
    """Return a table that scrolls within the page; cells are (HTML, class)."""
    head = "".join(f'<th scope="col" class="{kind}">{escape(text)}</th>' for text, kind in heads)
    body = "".join("<tr>" + "".join(f'<td class="{kind}">{html}</td>' for html, kind in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
