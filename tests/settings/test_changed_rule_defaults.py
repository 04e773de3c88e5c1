"""A rule's option whose default has changed: ids and files of earlier runs keep their meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ternlab.runs.directory import run_directory
from ternlab.runs.identity import identity, run_id
from ternlab.settings.load import config_of, settings_from_config
from ternlab.settings.root import Settings
from ternlab.training.resume import recipe_of

# TTQ's scales started from 1 at first.
OLD = "one"


def mixed(runs: Path, **options: Any) -> Settings:
    entry = {"match": "fc", "name": "ttq", **options}
    return settings_from_config({"quant": {"name": "twn", "layers": [entry]}, "paths": {"runs": str(runs)}})


def first_scale(settings: Settings) -> str:
    found: str = settings.quant.layers[0].options.first_scale  # type: ignore[attr-defined]
    return found


def test_an_id_leaves_an_option_out_at_its_original_default_alone(
    tmp_path: Path,
) -> None:
    before, now = mixed(tmp_path, first_scale=OLD), mixed(tmp_path)
    assert identity(before)["quant"]["layers"] == [{"match": "fc", "name": "ttq"}]
    assert identity(now)["quant"]["layers"] == [{"match": "fc", "name": "ttq", "first_scale": "relative"}]
    assert run_id(before) != run_id(now)
    assert recipe_of(before)["rule"]["layers"] == [{"match": "fc", "name": "ttq"}], "as in earlier checkpoints"


def test_frozen_settings_say_which_default_they_had(tmp_path: Path) -> None:
    for settings in (mixed(tmp_path), mixed(tmp_path, first_scale=OLD)):
        assert settings_from_config(config_of(settings)) == settings


def test_frozen_settings_of_earlier_versions_have_the_original_default(tmp_path: Path) -> None:
    settings = mixed(tmp_path, first_scale=OLD)
    directory = run_directory(settings.paths.runs, run_id(settings))
    directory.create()
    config = config_of(settings)
    config["quant"]["layers"] = [{"match": "fc", "name": "ttq"}]
    directory.config_file.write_text(yaml.safe_dump(config))
    assert first_scale(directory.settings()) == OLD
    assert run_id(directory.settings()) == directory.run_id
    config["quant"] = {"name": "ttq", "layers": []}
    directory.config_file.write_text(yaml.safe_dump(config))
    assert directory.settings().quant.rule.model_dump()["first_scale"] == OLD
