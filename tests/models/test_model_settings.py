"""Settings of the network, and the Hydra files that hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ternlab.core.errors import SettingsError
from ternlab.models.registry import MODELS, model_settings
from ternlab.settings.load import config_of, settings_from_config

CONF = Path(__file__).parents[2] / "conf"

# Other tests register networks of their own.
BUILT_IN = sorted(name for name, entry in MODELS.items() if entry.builder.startswith("ternlab."))


def composed(name: str, overrides: list[str] | None = None) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=[f"+model={name}", *(overrides or [])])
    content = OmegaConf.to_container(config.model, resolve=True, throw_on_missing=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def test_a_conf_file_for_every_built_in_network_and_no_other() -> None:
    assert {path.stem for path in (CONF / "model").glob("*.yaml")} == set(BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
def test_conf_file_holds_every_field_with_its_default(name: str) -> None:
    content = composed(name)
    assert set(content) >= set(MODELS[name].settings.model_fields)
    assert model_settings(content) == model_settings({"name": name})


def test_fields_can_be_overridden_as_the_messages_say() -> None:
    overrides = ["model.weights=a.pt", "model.weights_skip=[fc.*,layer4.1.*]", "model.stem=small"]
    settings = model_settings(composed("resnet18", overrides))
    assert settings.weights_skip == ("fc.*", "layer4.1.*")
    assert (settings.weights, settings.stem) == ("a.pt", "small")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "resnet21"}, "did you mean resnet"),
        ({"name": "resnet20", "dropout": 0.5}, r"model.dropout = 0.5: resnet20 has no such option\n.*model=alexnet"),
        ({"name": "resnet50", "dropout": 0.5}, "resnet50 has no such option"),
        ({"name": "resnet110", "stem": "imagenet"}, "resnet110 has no imagenet stem"),
        ({"name": "alexnet", "dropout": 1.0}, "less than 1"),
        ({"name": "resnet20", "width": 0}, r"model.width = 0: .*greater than 0\n.*model.width=1.0"),
        ({"name": "alexnet", "width": 0.5}, r"alexnet has no such option\n.*model=resnet20"),
        ({"name": "resnet20", "depth": 20}, "model.depth: there is no such setting"),
        ({"depth": 20}, "depth"),
        ({"name": ["resnet20"]}, "model.name"),
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        model_settings(given)


def test_settings_that_can_be_are_taken() -> None:
    assert model_settings({"name": "alexnet", "dropout": 0.5, "stem": "imagenet"}).options() == {
        "dropout": 0.5,
        "stem": "imagenet",
    }
    assert model_settings({"name": "resnet20", "stem": "small"}).options() == {"stem": "small"}
    assert model_settings({"name": "resnet32", "width": 0.5}).options() == {"width": 0.5}


def test_another_network_can_be_chosen_by_its_name_alone() -> None:
    content = {**composed("resnet20"), "name": "alexnet"}
    assert model_settings(content) == model_settings({"name": "alexnet"})


def test_options_survive_the_frozen_configuration() -> None:
    settings = settings_from_config({"model": {"name": "resnet44", "width": 0.25}})
    assert settings_from_config(config_of(settings)) == settings
    assert config_of(settings)["model"]["width"] == 0.25
