"""A plan on the command line: trained, frozen, trained again, summarized and exported by real processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ternlab.core.errors import ExitCode
from ternlab.export.info import info
from ternlab.reports.load_runs import gather
from ternlab.reports.removal import in_removal_order
from ternlab.reports.run_rows import flat_config
from ternlab.reports.schema import is_quantized, layer_option
from ternlab.runs.directory import RunDirectory
from ternlab.runs.identity import run_id
from ternlab.settings.load import settings_from_config
from ternlab.settings.quant import quant_settings
from ternlab.sweeps.plan import Plan
from ternlab.sweeps.planner import Composed, make_plan
from ternlab.sweeps.space import space_of
from tests.commands.run_command import ROOT, TINY
from tests.commands.warm_command import run

# The convolutions of the tiny network are 1 and 4, its linear layer is 10.
TYPED = "quant.layers=[{match: 1, name: none}, {match: '4', name: uniform, bits: 4}, {match: 1*, name: sws}]"
FROZEN = [
    {"match": "1", "name": "none"},
    {"match": "4", "name": "uniform", "bits": 4},
    {"match": "1*", "name": "sws"},
]
LABEL = "uniform4-mixed"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished run whose rules are those of single layers."""
    folder = tmp_path_factory.mktemp("mixed")
    code, out, err = run(folder, TYPED, *TINY)
    assert code == ExitCode.DONE, err
    assert LABEL in out
    (path,) = (folder / "logs" / "runs").glob(f"digits-tiny-{LABEL}-s0-*")
    return RunDirectory(path)


def project(directory: RunDirectory) -> Path:
    return directory.path.parents[2]


def composed(*typed: str) -> dict[str, Any]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        values: Any = OmegaConf.to_container(compose("train", list(typed)), resolve=True)
    return {key: value for key, value in values.items() if key not in ("experiment", "debug")}


def test_the_frozen_settings_hold_the_plan_and_are_the_same_run(trained: RunDirectory) -> None:
    assert yaml.safe_load(trained.config_file.read_text())["quant"]["layers"] == FROZEN
    assert run_id(trained.settings()) == trained.run_id
    assert (trained.record() or {})["quant"] == LABEL
    frozen = ("--config-path", str(trained.path), "--config-name", "config")
    code, out, err = run(project(trained), *frozen)
    assert code == ExitCode.DONE, err
    assert "already finished" in err + out
    assert len(list(trained.path.parent.iterdir())) == 2, "the run and its baseline"


def test_the_summary_of_a_run_names_the_rule_of_each_layer(trained: RunDirectory) -> None:
    code, out, err = run(project(trained), f"run={trained.run_id}", "json=true", script="summarize.py")
    assert code == ExitCode.DONE, err
    found = json.loads(out)
    assert found["quant"] == LABEL
    assert [(layer["name"], layer["rule"], layer["bits"]) for layer in found["layers"]] == [
        ("1", None, 32),
        ("4", "uniform4", 4),
        ("10", "sws", 2),
    ]
    assert found["quantized_bytes"] == (trained.record() or {})["metrics"]["size/quantized_bytes"]


def test_the_packed_file_of_a_run_has_the_alphabet_of_each_rule(trained: RunDirectory) -> None:
    code, _, err = run(project(trained), f"run={trained.run_id}", "format=packed", script="export.py")
    assert code == ExitCode.DONE, err
    found = info(trained.path / "export" / "packed.safetensors")
    assert found["rule"] == LABEL
    assert [(layer["name"], layer["levels"], layer["packing"]) for layer in found["layers"]] == [
        ("4", [15], "bits"),
        ("10", [3], "trit5"),
    ]


def test_reports_take_the_run_for_a_quantized_one_with_a_baseline(trained: RunDirectory) -> None:
    runs = {one.run_id: one for one in gather(trained.path.parent).runs}
    assert runs[trained.run_id].quant == LABEL and runs[trained.run_id].quantized
    baseline = runs[runs[trained.run_id].baseline or ""]
    assert not baseline.quantized
    settings, twin = flat_config(trained.config_file), flat_config(baseline.path / "config.yaml")
    assert is_quantized(settings) and not is_quantized(twin)
    assert [one.path for one in in_removal_order([RunDirectory(baseline.path), trained])] == [
        trained.path,
        baseline.path,
    ]
    assert layer_option(settings, "4", "bits") == 4
    assert layer_option(settings, "4", "granularity") == "layer", "the default of uniform"
    assert layer_option(settings, "10", "factor") == 0.05
    assert layer_option(settings, "1", "factor") is None


def test_an_option_of_a_layer_without_an_entry_is_that_of_the_network() -> None:
    settings = {"quant.name": "twn", "quant.granularity": "filter", "quant.layers": FROZEN}
    assert layer_option(settings, "conv", "granularity") == "filter"
    assert layer_option({"quant.name": "bwn"}, "conv", "granularity") == "filter", "the default of bwn"


def test_the_command_line_yaml_and_python_say_the_same(trained: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "quant").mkdir()
    own = {"defaults": ["none", "_self_"], "layers": FROZEN}
    (tmp_path / "quant" / "mine.yaml").write_text(yaml.safe_dump(own))
    from_file = composed("quant=mine", f"hydra.searchpath=[file://{tmp_path}]")["quant"]
    typed = composed(TYPED)["quant"]
    assert quant_settings(from_file) == quant_settings(typed) == quant_settings({"layers": FROZEN})


def test_a_pattern_without_a_layer_ends_the_command_before_the_baseline(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "quant=tga", "quant.layers=[{match: fc, name: none}]", *TINY)
    assert (code, out) == (ExitCode.BAD_SETTINGS, "")
    assert "quant.layers.0.match = fc: matches no layer\n  instead: one of: 1, 10, 4" in err
    assert not (tmp_path / "logs").exists()


def test_a_sweep_goes_through_plans() -> None:
    lists = "[{match: fc, name: none}],[{match: fc, name: uniform, bits: 4}]"
    space = space_of([f"quant.layers={lists}", "quant=tga"])

    def ask(words: list[str]) -> Composed:
        return Composed(composed(*words))

    plan: Plan = make_plan(space, ask, lambda name: name == "quant", "command")
    labels = [settings_from_config(plan.configs[trial.run_id]).quant.label for trial in plan.trials]
    assert labels == ["tga", "tga-mixed"]
    assert len(plan.baselines) == 1, "both have the same twin"
    words = [word for word in plan.trials[1].command.split("'") if word.startswith("quant.layers=")]
    assert quant_settings(composed("quant=tga", *words)["quant"]).label == "tga-mixed"
