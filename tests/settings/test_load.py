"""From a configuration to settings and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from pydantic import ValidationError

from ternlab.core.errors import ExitCode, SettingsError
from ternlab.runs.directory import RunDirectory
from ternlab.runs.identity import run_id
from ternlab.settings.load import config_of, settings_from_config, twin_of
from tests.commands.run_command import ROOT

RECIPES = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))
LR = st.floats(1e-8, 100, allow_nan=False)

configs = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**40),
        "model": st.sampled_from([{"name": "resnet20"}, {"name": "alexnet", "dropout": 0.5}, {"weights_skip": ["a*"]}]),
        "data": st.fixed_dictionaries(
            {}, optional={"batch_size": st.integers(1, 999), "limit_train": st.none() | st.integers(1, 9)}
        ),
        "quant": st.sampled_from([{"name": "none"}, {"name": "none", "first_last": "full"}])
        | st.fixed_dictionaries(
            {"name": st.just("tga")},
            optional={
                "init": st.sampled_from(["baseline", "scratch"]),
                "update": st.sampled_from(["joint", "sequential"]),
                "exclude": st.lists(st.text("ab*.", min_size=1), max_size=2),
                "threshold": st.fixed_dictionaries({}, optional={"lr": st.none() | LR, "clamp": st.none() | LR}),
                "scale": st.sampled_from(["tga", "centered"]),
            },
        ),
        "optim": st.fixed_dictionaries(
            {}, optional={"lr": LR, "betas": st.tuples(st.floats(0, 0.99), st.floats(0, 0.99))}
        ),
        "trainer": st.fixed_dictionaries(
            {},
            optional={
                "channels_last": st.sampled_from(["auto", True, False]),
                "precision": st.sampled_from(["32", 32]),
            },
        ),
        "baseline": st.sampled_from([{}, {"overrides": ["optim.lr=0.3"]}, {"run": "some-run"}]),
        "tags": st.lists(st.text(max_size=5), max_size=2),
    },
)


@given(configs)
def test_settings_come_back_from_their_configuration(config: dict[str, Any]) -> None:
    settings = settings_from_config(config)
    back = settings_from_config(config_of(settings))
    assert back == settings
    assert run_id(back) == run_id(settings)
    # Also through the files that hold them, to the last bit of every number.
    assert settings_from_config(yaml.safe_load(yaml.safe_dump(config_of(settings)))) == settings
    assert settings_from_config(json.loads(json.dumps(config_of(settings)))) == settings


def composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        values: Any = OmegaConf.to_container(compose("train", list(overrides)), resolve=True, throw_on_missing=True)
    return {key: value for key, value in values.items() if key not in ("experiment", "debug")}


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_settings_of_a_recipe_come_back_from_a_runs_folder(recipe: str, tmp_path: Path) -> None:
    (tmp_path / "train" / "a").mkdir(parents=True)
    (tmp_path / "train" / "a" / "1.png").write_bytes(b"1")
    settings = settings_from_config(composed(f"experiment={recipe}", f"data.root={tmp_path}"))
    directory = RunDirectory(tmp_path / "run")
    directory.create()
    directory.write_settings(settings)
    assert directory.settings() == settings
    assert run_id(directory.settings()) == run_id(settings)
    twin = twin_of(settings)
    assert settings_from_config(config_of(twin)) == twin


def test_the_command_lines_configuration_has_every_setting_and_none_is_changed_by_the_checks() -> None:
    config = composed()
    assert config.keys() == config_of(settings_from_config({})).keys()
    # An option of other networks, at its default there: it says nothing of this one.
    assert config["model"].pop("dropout") == 0.0
    for section, values in config_of(settings_from_config(config)).items():
        assert config[section] == values, section


def tga(**changes: Any) -> dict[str, Any]:
    return {"quant": {"name": "tga"}, "optim": {"lr": 0.02}, "seed": 4, **changes}


def test_the_twin_is_the_same_recipe_without_quantization() -> None:
    settings = settings_from_config(tga())
    twin = twin_of(settings)
    assert not twin.quant.active
    assert (twin.seed, twin.model, twin.data, twin.optim, twin.trainer) == (
        settings.seed,
        settings.model,
        settings.data,
        settings.optim,
        settings.trainer,
    )
    assert twin_of(twin) == twin


def test_overrides_change_the_twin_alone() -> None:
    overrides = [
        "optim.lr=0.3",
        "optim.schedule.name=cosine",
        "trainer.max_epochs=0",
        "data.flip=true",
        "optim.eps=1e-7",
    ]
    settings = settings_from_config(tga(baseline={"overrides": overrides}))
    twin = twin_of(settings)
    assert (twin.optim.lr, twin.optim.schedule.name, twin.trainer.max_epochs) == (0.3, "cosine", 0)
    assert (twin.data.flip, twin.optim.eps) == (True, 1e-7)
    assert twin.baseline.overrides == ()
    assert settings.optim.lr == 0.02
    plain = settings_from_config({**config_of(twin), "quant": {"name": "none"}})
    assert run_id(plain) == run_id(twin)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optim.lr", "name=value"),
        ("optim.lr=-1", r"optim\.lr = -1"),
        ("optim.lrr=1", r"optim\.lrr"),
        ("optim.lr=[", "is not a valid value"),
        ("seed.a=1", "is not a group of settings"),
        ("quant.name=tga", "full precision"),
        ("+optim.lr=1", r"\+optim"),
        ("a._target_=os.system", "_target_"),
    ],
)
def test_a_bad_override_of_the_baseline_is_refused(override: str, words: str) -> None:
    settings = settings_from_config(tga(baseline={"overrides": [override]}))
    with pytest.raises(SettingsError, match=words):
        twin_of(settings)


@pytest.mark.parametrize(
    "config", [{"_target_": "os.system"}, {"data": {"_target_": "x"}}, {"tags": [{"_recursive_": 1}]}]
)
def test_keys_that_run_code_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="never run code") as error:
        settings_from_config(config)
    assert error.value.exit_code == ExitCode.BAD_SETTINGS


def test_a_plugin_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingsError, match="no_such_module"):
        settings_from_config({"plugins": ["no_such_module"]})


def test_settings_cannot_be_changed() -> None:
    settings = settings_from_config({})
    with pytest.raises(ValidationError):
        settings.seed = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.optim.lr = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"baseline": {"run": "a", "overrides": ["optim.lr=1"]}, "quant": {"name": "tga"}}, "baseline.run=null"),
        ({"quant": {"name": "none", "update": "joint"}}, "full precision"),
        ({"quant": {"name": "tga", "updat": "joint"}}, "update"),
        ({"data": {"name": "parquet"}}, r"data\.root=PATH"),
        ({"trainer": {"devices": 3}}, r"data\.batch_size=126"),
        ({"optim": None}, "optim"),
    ],
)
def test_what_does_not_fit_together_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        settings_from_config(config)
