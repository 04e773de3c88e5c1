"""Defaults have one source: what a person gets, what messages propose, what the page says, what conf/ leaves out."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ternlab.algorithms.registry import ALGORITHMS
from ternlab.commands.hydra_errors import with_own_default
from ternlab.core.errors import SettingsError
from ternlab.data.registry import DATA_SETS
from ternlab.models.registry import MODELS, model_settings
from ternlab.optimizers.registry import OPTIMIZERS, optim_settings
from ternlab.quantizers.registry import RULES
from ternlab.settings.algorithm import algorithm_settings
from ternlab.settings.load import config_of, settings_from_config
from ternlab.settings.quant import quant_settings
from ternlab.settings.root import Settings
from ternlab.sweeps.launchers import LAUNCHERS, cluster_settings
from ternlab.sweeps.settings import sweep_settings
from tests.commands.run_command import ROOT

CONF = ROOT / "conf"
# Choices that set something: their files say what, and why in a comment.
FILES = sorted(
    path for path in CONF.glob("*/*.yaml") if path.parent.name not in ("experiment", "debug", "file", "hydra")
)


def composed(*words: str, command: str = "train") -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        values: Any = OmegaConf.to_container(compose(command, list(words)), resolve=True)
    return {key: value for key, value in values.items() if key not in ("experiment", "debug")}


def built_in(registry: dict[str, Any]) -> list[str]:
    """Return the names that ternlab brings; other tests register parts of their own."""
    return [name for name in registry if (CONF / GROUPS[id(registry)] / f"{name}.yaml").exists()]


GROUPS = {id(RULES): "quant", id(MODELS): "model", id(OPTIMIZERS): "optim", id(ALGORITHMS): "algorithm",
          id(LAUNCHERS): "cluster", id(DATA_SETS): "data"}  # fmt: skip


def test_without_words_a_person_gets_the_defaults_of_the_classes() -> None:
    """But for the batch of the embedded digits, which are few."""
    assert settings_from_config(composed()) == settings_from_config({"data": {"batch_size": 64}})
    assert sweep_settings(composed(command="multirun")) == sweep_settings({})


@pytest.mark.parametrize("name", built_in(RULES))
def test_a_rule_has_the_defaults_of_its_class(name: str) -> None:
    assert quant_settings(composed(f"quant={name}")["quant"]) == quant_settings({"name": name})


@pytest.mark.parametrize("name", built_in(MODELS))
def test_a_network_has_the_defaults_of_its_class(name: str) -> None:
    assert model_settings(composed(f"model={name}")["model"]) == model_settings({"name": name})


@pytest.mark.parametrize("name", built_in(OPTIMIZERS))
def test_an_optimizer_has_the_defaults_of_its_class(name: str) -> None:
    assert optim_settings(composed(f"optim={name}")["optim"]) == optim_settings({"name": name})


@pytest.mark.parametrize("name", built_in(ALGORITHMS))
def test_an_algorithm_has_the_defaults_of_its_class(name: str) -> None:
    assert algorithm_settings(composed(f"algorithm={name}")["algorithm"]) == algorithm_settings({"name": name})


@pytest.mark.parametrize("name", built_in(LAUNCHERS))
def test_a_launcher_has_the_defaults_of_its_class(name: str) -> None:
    found = composed(f"cluster={name}", command="multirun")["cluster"]
    assert cluster_settings(found) == cluster_settings({"name": name})


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_a_choice_holds_nothing_that_it_does_not_change(path: Path) -> None:
    own: Any = yaml.safe_load(path.read_text())
    parents = [name for name in own.pop("defaults") if name != "_self_"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        before = OmegaConf.to_container(compose(overrides=[f"+{path.parent.name}={name}" for name in parents]))
    assert isinstance(before, dict)
    repeated = {key for key, value in own.items() if before[path.parent.name][key] == value}
    assert repeated <= ({"name"} if path.stem in ("digits", "resnet20") else set())


def leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the settings with one word for a value by their dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= leaves(value, f"{prefix}{key}.")
        elif value is not None and not isinstance(value, list):
            found[f"{prefix}{key}"] = value
    return found


CHOICES = [
    ["quant=tga"],
    ["quant=lsq2", "optim=adam", "data=cifar10"],
    ["quant=uniform", "optim=adamw", "algorithm=distillation", "logger=wandb", "trainer=cpu"],
    ["experiment=imagenet_resnet18_tga", "data.root=x"],
]


@pytest.mark.parametrize("words", CHOICES, ids=" ".join)
def test_a_message_proposes_the_default_that_a_person_gets(words: list[str]) -> None:
    config = composed(*words)
    told = 0
    for name, value in leaves(config).items():
        *parents, last = name.split(".")
        spoiled = copy.deepcopy(config)
        branch = spoiled
        for parent in parents:
            branch = branch[parent]
        # No setting is a list of lists.
        branch[last] = [["bad"]]
        with pytest.raises(SettingsError) as error:
            settings_from_config(spoiled)
        found = error.value
        # Composing is the expensive part: where the default is right already, it would find the same.
        message = str(found if found.default == value else with_own_default(found, words, CONF / "train.yaml"))
        if "(the default)" in message:
            shown = str(value).lower() if isinstance(value, bool) else value
            assert message.endswith(f"instead: {name}={shown} (the default)")
            told += 1
    assert told > 20


def test_the_default_of_a_class_is_proposed_where_no_command_was_typed() -> None:
    with pytest.raises(SettingsError, match=r"optim\.weight_decay=0\.0001 \(the default\)"):
        settings_from_config({"optim": {"weight_decay": -1}})


def test_the_page_names_the_defaults_that_a_person_gets() -> None:
    page = (ROOT / "docs" / "interface.md").read_text()
    table = page.partition("## Settings that scripts rely on")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) \| (.+?) \|", table, re.MULTILINE)
    config = composed("quant=tga")
    assert len(rows) > 12
    for names, defaults in rows:
        values = re.findall(r"\{\}|\[\]|[^, ]+", defaults)
        for name, shown in zip(re.findall(r"`(.+?)`", names), values, strict=True):
            found: Any = config
            for part in name.split("."):
                found = found[part]
            assert yaml.safe_load(shown) == found, name


def test_settings_are_what_their_configuration_says_at_every_default() -> None:
    assert settings_from_config(config_of(Settings())) == Settings()
