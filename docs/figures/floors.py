"""Draw the floors of the package: what `make lint` checks, with what each part says of itself.

python docs/figures/floors.py
"""

from __future__ import annotations

import ast
import textwrap
import tomllib
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

WIDTH, MARGIN, GAP = 880, 12, 8
LINE, PADDING = 15, 9
# Width of a letter of the small text, in pixels; for wrapping only.
LETTER = 6.8
STYLE = """
.box{fill:#fff;stroke:#345;stroke-width:1.2}.name{fill:#123;font-weight:600}.text{fill:#456;font-size:12px}
@media (prefers-color-scheme: dark){.box{fill:#1b2430;stroke:#9bb3cc}.name{fill:#e8eef5}.text{fill:#a9bccf}}
"""


def floors() -> list[list[str]]:
    """Return the modules of each floor, from the highest to the lowest."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    (layers,) = [one["layers"] for one in tools["importlinter"]["contracts"] if one["type"] == "layers"]
    return [layer.replace(" : ", " | ").split(" | ") for layer in layers]


def about(module: str) -> str:
    """Return the first sentence of a module's docstring."""
    path = ROOT / "src" / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    return text.partition("\n\n")[0].replace("\n", " ").removesuffix(".")


def drawn(layers: list[list[str]]) -> str:
    """Return the floors as an SVG, each a row of boxes."""
    parts: list[str] = []
    top = MARGIN
    for modules in layers:
        width = (WIDTH - 2 * MARGIN - GAP * (len(modules) - 1)) / len(modules)
        texts = [textwrap.wrap(about(module), int((width - 2 * PADDING) / LETTER)) for module in modules]
        height = 2 * PADDING + LINE * (1 + max(map(len, texts)))
        for place, (module, lines) in enumerate(zip(modules, texts, strict=True)):
            left = MARGIN + place * (width + GAP)
            parts.append(f'<rect class="box" x="{left:.0f}" y="{top}" width="{width:.0f}" height="{height}" rx="4"/>')
            x, y = left + PADDING, top + PADDING + LINE - 4
            parts.append(f'<text class="name" x="{x:.0f}" y="{y}">{module.removeprefix("ternlab.")}</text>')
            for number, line in enumerate(lines, 1):
                parts.append(f'<text class="text" x="{x:.0f}" y="{y + LINE * number}">{escape(line)}</text>')
        top += height + GAP
    label = "The floors of ternlab; imports go down: " + "; ".join(", ".join(row) for row in layers)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top - GAP + MARGIN}" role="img" '
        f'aria-label="{escape(label)}" font-family="system-ui, sans-serif" font-size="13">\n'
        f"<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


if __name__ == "__main__":
    (HERE / "floors.svg").write_text(drawn(floors()))
