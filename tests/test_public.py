"""The public surface, and the floors below it as they are drawn."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib

import ternlab
from tests.commands.run_command import ROOT

PAGES = sorted(path for path in ROOT.glob("**/*.md") if ".venv" not in path.parts)


def test_every_public_name_is_there_and_none_is_a_module() -> None:
    assert len(ternlab.__all__) == len(set(ternlab.__all__)) > 40
    for name in ternlab.__all__:
        assert not (ROOT / "src" / "ternlab" / f"{name}.py").exists()
        assert getattr(ternlab, name) is not None
        assert name in dir(ternlab)


def test_the_package_and_the_names_for_parts_without_arithmetic_import_no_torch() -> None:
    code = "import ternlab, sys; ternlab.register_rule, ternlab.Settings; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pages_import_public_names_alone() -> None:
    imported = [
        line
        for page in PAGES
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
        if re.match(r"(from|import) ternlab", line)
    ]
    assert len(imported) > 10
    assert {re.split(r"[ ,]", line)[1] for line in imported} <= {"ternlab", "ternlab.testing"}


def test_every_package_has_its_floor() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    (layers,) = [one["layers"] for one in tools["importlinter"]["contracts"] if one["type"] == "layers"]
    named = {module.split(".")[1] for layer in layers for module in re.split(r" [|:] ", layer)}
    assert {path.parent.name for path in (ROOT / "src" / "ternlab").glob("*/__init__.py")} == named


def test_the_floors_are_drawn_as_they_are_checked() -> None:
    path = ROOT / "docs" / "figures" / "floors.py"
    spec = importlib.util.spec_from_file_location("floors", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # `python docs/figures/floors.py` draws it.
    assert path.with_suffix(".svg").read_text() == module.drawn(module.floors())
