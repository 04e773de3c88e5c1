"""docs/quantizers.md speaks of every rule, and its commands can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

from ternlab.settings.load import settings_from_config
from ternlab.settings.quant import quant_settings
from tests.commands.run_command import ROOT

PAGE = (ROOT / "docs" / "quantizers.md").read_text()
CHOICES = sorted(path.stem for path in (ROOT / "conf" / "quant").glob("*.yaml") if path.stem != "none")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
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


def test_the_file_of_a_plan_and_the_command_say_the_same(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "quant").mkdir()
    (tmp_path / "quant" / "mine.yaml").write_text(text)
    typed = next(command for command in COMMANDS if "name: uniform, bits: 4" in command)
    found: list[Any] = []
    for words in (["quant=mine", f"hydra.searchpath=[file://{tmp_path}]"], shlex.split(typed)):
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            found.append(OmegaConf.to_container(compose("train", overrides=words), resolve=True))
    assert quant_settings(found[0]["quant"]) == quant_settings(found[1]["quant"])


def test_the_python_of_a_plan_runs_and_names_the_rules(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = [block for block in BLOCKS if "layers=" in block]
    exec(compile(block, "quantizers.md", "exec"), {})
    rules = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()[1:22]}
    assert (rules["conv1"], rules["layer3.0.conv1"], rules["layer4.1.conv2"]) == ("-", "twn", "tga")
    assert rules["fc"] == "uniform4"


def test_the_loop_of_the_page_trains_and_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    labels = torch.arange(32) % 4
    images = torch.randn(4, 1, 4, 4)[labels]
    (block,) = [block for block in BLOCKS if "param_groups" in block]
    exec(compile(block, "quantizers.md", "exec"), {"network": network, "batches": [(images, labels)] * 100})
    assert float(nn.functional.cross_entropy(network(images), labels).detach()) < 0.1
    assert (tmp_path / "network.tern").stat().st_size > 0
