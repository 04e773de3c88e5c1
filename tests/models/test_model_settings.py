"""Settings of the network, and the Hydra files that hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from pydantic import ValidationError

from ternlab.models.registry import MODELS
from ternlab.settings.model import ModelSettings

CONF = Path(__file__).parents[2] / "conf"

# Other tests register networks of their own.
BUILT_IN = sorted(name for name, builder in MODELS.items() if builder.startswith("ternlab."))


def composed(name: str, overrides: list[str] | None = None) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=[f"+model={name}", *(overrides or [])])
    content = OmegaConf.to_container(config.model, resolve=True, throw_on_missing=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def test_a_conf_file_for_every_built_in_network_and_no_other() -> None:
    assert {path.stem for path in (CONF / "model").glob("*.yaml")} - {"_base"} == set(BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
def test_conf_file_holds_every_field_with_its_default(name: str) -> None:
    content = composed(name)
    assert set(content) == set(ModelSettings.model_fields)
    assert ModelSettings.model_validate(content) == ModelSettings(name=name)


def test_fields_can_be_overridden_as_the_messages_say() -> None:
    overrides = ["model.weights=a.pt", "model.weights_skip=[fc.*,layer4.1.*]", "model.stem=small"]
    settings = ModelSettings.model_validate(composed("resnet18", overrides))
    assert settings.weights_skip == ("fc.*", "layer4.1.*")
    assert (settings.weights, settings.stem) == ("a.pt", "small")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "resnet21"}, "did you mean resnet"),
        ({"name": "resnet20", "dropout": 0.5}, "resnet20 has no dropout layers"),
        ({"name": "resnet50", "dropout": 0.5}, "resnet50 has no dropout layers"),
        ({"name": "resnet110", "stem": "imagenet"}, "resnet110 has no imagenet stem"),
        ({"name": "alexnet", "dropout": 1.0}, "less than 1"),
        ({"depth": 20}, "depth"),
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelSettings.model_validate(given)


def test_settings_that_can_be_are_taken() -> None:
    assert ModelSettings(name="alexnet", dropout=0.5, stem="imagenet").dropout == 0.5
    assert ModelSettings(name="resnet20", stem="small").stem == "small"
