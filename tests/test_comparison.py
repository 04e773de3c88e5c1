"""The comparison of all rules is fair: nothing but the rule differs."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ternlab.quantizers.registry import RULES
from ternlab.runs.identity import run_id
from ternlab.settings.load import settings_from_config, twin_of
from ternlab.settings.root import Settings
from tests.commands.run_command import ROOT


def composed(*overrides: str) -> tuple[Settings, list[str]]:
    """Return the settings of `experiment=compare_ternary` and the rules that `-m` goes through."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        whole = compose("train", ["experiment=compare_ternary", *overrides], return_hydra_config=True)
    rules = str(whole.hydra.sweeper.params.quant).split(",")
    values = OmegaConf.to_container(whole)
    assert isinstance(values, dict)
    left_out = ("experiment", "debug", "hydra")
    return settings_from_config({str(key): values[key] for key in values if key not in left_out}), rules


_, COMPARED = composed()


def test_every_rule_is_compared_but_the_one_that_is_for_more_bits() -> None:
    names = [composed(f"quant={rule}")[0].quant.label for rule in COMPARED]
    assert len(set(names)) == len(COMPARED)
    assert {name.split("-")[0].removesuffix("2") for name in names} == set(RULES) - {"uniform", "given"}
    assert {"sws-rel2", "sws-rel4", "lsq", "lsq2"} <= set(names)


@pytest.mark.parametrize("rule", COMPARED)
def test_only_the_rule_differs(rule: str) -> None:
    first, other = composed("quant=tga")[0], composed(f"quant={rule}")[0]
    assert other.model_copy(update={"quant": first.quant}) == first
    common = {"init", "init_file", "first_last", "include", "exclude"}
    assert other.quant.model_dump(include=common) == first.quant.model_dump(include=common)
    assert run_id(twin_of(other)) == run_id(twin_of(first)), "they share one baseline"
