"""Defaults have one source: what a person gets, what messages propose, what the page says, what conf/ leaves out."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ternlab.algorithms.registry import ALGORITHMS
from ternlab.commands.choice_defaults import defaults_with_choices
from ternlab.commands.hydra_errors import with_own_default
from ternlab.core.dotted import leaves, put
from ternlab.core.errors import SettingsError
from ternlab.core.registry import Registry
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


def test_without_words_a_person_gets_the_defaults_of_the_classes() -> None:
    """But for the batch of the embedded digits, which are few."""
    assert settings_from_config(composed()) == settings_from_config({"data": {"batch_size": 64}})
    assert sweep_settings(composed(command="multirun")) == sweep_settings({})


# By group: the parts that can be chosen, and what checks one. Other tests register parts of their own.
PARTS: dict[str, tuple[Registry[Any], Callable[[dict[str, Any]], Any]]] = {
    "quant": (RULES, quant_settings),
    "model": (MODELS, model_settings),
    "optim": (OPTIMIZERS, optim_settings),
    "algorithm": (ALGORITHMS, algorithm_settings),
    "cluster": (LAUNCHERS, cluster_settings),
}
# `given` needs weights, and another start than that of the class.
CHOSEN = [
    (group, name)
    for group, (parts, _) in PARTS.items()
    for name in parts
    if str(parts[name]).startswith("ternlab.") and name != "given"
]


@pytest.mark.parametrize(("group", "name"), CHOSEN)
def test_a_choice_has_the_defaults_of_its_class(group: str, name: str) -> None:
    _, checked = PARTS[group]
    assert checked(composed(f"{group}={name}", command="multirun")[group]) == checked({"name": name})


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_a_choice_holds_nothing_that_it_does_not_change(path: Path) -> None:
    own: Any = yaml.safe_load(path.read_text())
    parents = [name for name in own.pop("defaults") if name != "_self_"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        before = OmegaConf.to_container(compose(overrides=[f"+{path.parent.name}={name}" for name in parents]))
    assert isinstance(before, dict)
    repeated = {key for key, value in own.items() if before[path.parent.name][key] == value}
    assert not repeated


def words_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings whose value is one word, by their dotted names."""
    return {name: value for name, value in leaves(config) if value is not None and not isinstance(value, list | dict)}


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
    for name, value in words_of(config).items():
        spoiled = copy.deepcopy(config)
        # No setting is a list of lists.
        put(spoiled, name, [["bad"]])
        with pytest.raises(SettingsError) as error:
            settings_from_config(spoiled)
        found = error.value
        # Composing is the expensive part: where the default is right already, it would find the same.
        message = str(found if found.default == value else with_own_default(found, words, CONF / "train.yaml"))
        # What the words set is no default.
        if "(the default)" in message and not any(word.startswith(f"{name}=") for word in words):
            shown = str(value).lower() if isinstance(value, bool) else value
            assert message.endswith(f"instead: {name}={shown} (the default)")
            told += 1
    assert told > 20


@pytest.mark.parametrize("words", [*CHOICES[:3], []], ids=" ".join)
def test_a_run_is_compared_with_the_defaults_that_help_prints(words: list[str]) -> None:
    config = composed(*words)
    shown = defaults_with_choices(dict(leaves(config)))
    # Which choices were made is what differs from the defaults: `lsq2` is `lsq` with its number of bits.
    made = {"quant.bits", "trainer.accelerator"}
    wanted = {
        name: value for name, value in words_of(config).items() if name not in made and not name.endswith(".name")
    }
    assert {name: shown.get(name) for name in wanted} == wanted
    assert [shown[f"{group}.name"] for group in ("quant", "optim", "logger")] == ["none", "sgd", "local"]


def test_the_default_of_a_class_is_proposed_where_no_command_was_typed() -> None:
    with pytest.raises(SettingsError, match=r"optim\.weight_decay=0\.0001 \(the default\)"):
        settings_from_config({"optim": {"weight_decay": -1}})


def test_the_page_names_the_defaults_that_a_person_gets() -> None:
    page = (ROOT / "docs" / "interface.md").read_text()
    table = page.partition("## Settings that scripts rely on")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) \| (.+?) \|", table, re.MULTILINE)
    config = dict(leaves(composed("quant=tga")))
    assert len(rows) > 12
    for names, defaults in rows:
        values = re.findall(r"\{\}|\[\]|[^, ]+", defaults)
        for name, shown in zip(re.findall(r"`(.+?)`", names), values, strict=True):
            assert yaml.safe_load(shown) == config[name], name


def test_settings_are_what_their_configuration_says_at_every_default() -> None:
    assert settings_from_config(config_of(Settings())) == Settings()
