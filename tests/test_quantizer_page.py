"""docs/quantizers.md speaks of every rule, and its commands can be typed."""

from __future__ import annotations

import re
import shlex

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ternlab.settings.load import settings_from_config
from tests.commands.run_command import ROOT

PAGE = (ROOT / "docs" / "quantizers.md").read_text()
CHOICES = sorted(path.stem for path in (ROOT / "conf" / "quant").glob("*.yaml") if path.stem != "none")
COMMANDS = sorted(set(re.findall(r"^    python src/train\.py (.*?)(?:\s{2,}#.*)?$", PAGE, re.MULTILINE)))


@pytest.mark.parametrize("choice", CHOICES)
def test_every_rule_has_a_section_a_command_and_a_picture(choice: str) -> None:
    headings = [word for line in re.findall(r"^## (.*)$", PAGE, re.MULTILINE) for word in line.split(", ")]
    assert choice in headings
    assert any(f"quant={choice}" in command.split() for command in COMMANDS)
    assert f"(figures/{choice}.svg)" in PAGE
    assert (ROOT / "docs" / "figures" / f"{choice}.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_gives_valid_settings(command: str) -> None:
    words = [word for word in shlex.split(command) if word != "-m"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        values = OmegaConf.to_container(compose("train", overrides=words), resolve=True)
    assert isinstance(values, dict)
    settings = settings_from_config({key: values[key] for key in values if key not in ("experiment", "debug")})
    assert settings.quant.active
