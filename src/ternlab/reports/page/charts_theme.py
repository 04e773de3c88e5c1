"""The theme of the charts: one set of colour names, defined by the page's style sheet or by the values for paper."""

from __future__ import annotations

from typing import Any

# The Okabe-Ito colour-blind-safe palette, with grey instead of black as the seventh colour.
PAPER = {
    "c0": "#0072B2",
    "c1": "#D55E00",
    "c2": "#009E73",
    "c3": "#CC79A7",
    "c4": "#E69F00",
    "c5": "#56B4E9",
    "c6": "#666666",
    "ink": "#1f2328",
    "soft": "#5b636d",
    "line": "#c9ced4",
    "grid": "#eceef1",
    "sheet": "#ffffff",
}
# On a dark sheet the same hues, lighter.
DARK = {
    "c0": "#4AA3E8",
    "c1": "#F0813A",
    "c2": "#2DBD90",
    "c3": "#E29AC6",
    "c4": "#EFB737",
    "c5": "#9AD6F7",
    "c6": "#B3B9C0",
    "ink": "#e6e9ec",
    "soft": "#a2aab3",
    "line": "#4a525b",
    "grid": "#2a3037",
    "sheet": "#15191e",
}
COLOURS = 7
# Colour and shape change together; their counts are coprime, so 35 series are distinct.
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
PAPER_FONT = "Liberation Sans, Arial, Helvetica, sans-serif"

# Blue: the quantized network is better; orange: it is worse. Colour-blind safe.
DIVERGING = "blueorange"


def page_config() -> dict[str, Any]:
    """Return Vega's configuration with colours from the page's style sheet, also for printing."""
    # The figure around a chart has the label; with one on each mark, screen readers would read thousands aloud.
    return {**_config({name: f"var(--{name})" for name in PAPER}, FONT), "aria": False}


def paper_config() -> dict[str, Any]:
    """Return Vega's configuration for files: black on white."""
    return {**_config(PAPER, PAPER_FONT), "background": PAPER["sheet"]}


def _config(colour: dict[str, str], font: str) -> dict[str, Any]:
    text = {"labelColor": colour["ink"], "titleColor": colour["ink"], "labelFontSize": 11, "titleFontSize": 12}
    text |= {"titleFontWeight": "normal", "labelFontWeight": "normal"}
    return {
        "background": "transparent",
        "font": font,
        "view": {"stroke": None},
        "range": {
            "category": [colour[f"c{place}"] for place in range(COLOURS)],
            # Codes: -1, 0, +1, none; grey for zeros, so that what is left of the weights stands out.
            "ordinal": [colour["c1"], colour["line"], colour["c0"], colour["c6"]],
        },
        "axis": {
            **text,
            "domainColor": colour["line"],
            "tickColor": colour["line"],
            "gridColor": colour["grid"],
            "labelPadding": 4,
            "titlePadding": 8,
        },
        "legend": {**text, "orient": "top", "labelLimit": 330, "symbolStrokeWidth": 2, "titleLimit": 330},
        "point": {"filled": True},
        "style": {
            "run": {"opacity": 0.55, "size": 46},
            "group": {"opacity": 1, "size": 110, "stroke": colour["sheet"], "strokeWidth": 1},
            "front": {"color": colour["soft"], "strokeWidth": 1.5, "strokeDash": [4, 3]},
            "ring": {"filled": False, "color": colour["ink"], "strokeWidth": 1.5, "size": 260, "opacity": 1},
            "zero": {"color": colour["soft"], "strokeWidth": 1},
            "interval": {"strokeWidth": 1.5},
            "baseline": {"color": colour["soft"], "strokeWidth": 1.5, "strokeDash": [5, 3]},
            "reference": {"color": colour["soft"], "size": 90, "opacity": 1},
            "curve": {"strokeWidth": 1.6, "opacity": 0.85},
            # Invisible, but reacts to the pointer; the page highlights the one under it.
            "hit": {"opacity": 0, "strokeWidth": 9, "color": colour["ink"]},
            "spot": {"opacity": 0, "size": 90, "color": colour["ink"]},
            "cell": {"stroke": colour["sheet"], "strokeWidth": 2},
            "mark": {"fontSize": 13, "fontWeight": 600},
            "note": {"fontSize": 11},
            "rail": {"color": colour["line"], "strokeWidth": 1},
            "tick": {"fontSize": 11, "color": colour["ink"]},
            "halo": {"fontSize": 11, "stroke": colour["sheet"], "strokeWidth": 4, "color": colour["sheet"]},
            "threshold": {"color": colour["ink"], "strokeWidth": 1.2, "strokeDash": [3, 2]},
            "words": {"fontSize": 11, "color": colour["soft"]},
        },
    }
