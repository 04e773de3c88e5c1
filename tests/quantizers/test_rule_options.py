"""Options: what is refused and in which words, and that the shipped configuration holds the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ternlab.commands.defaults import defaults
from ternlab.core.errors import SettingsError
from ternlab.core.registry import Registry
from ternlab.quantizers.registry import RULES, register_rule, rule_class, rule_entry, rule_options
from ternlab.quantizers.rule_options import LSQOptions, TWNOptions
from ternlab.settings.quant import LayerChoice, QuantSettings, quant_settings

CONF = Path(__file__).parents[2] / "conf" / "quant"
COMMON = set(QuantSettings.model_fields) - {"rule"}
# The files that are a rule with other options than its defaults.
VARIANTS: dict[str, dict[str, Any]] = {
    "rel2": {"rel": {"factors": [0.05, 0.1]}},
    "rel4": {"rel": {"factors": [0.05, 0.1, 0.15, 0.2]}},
    "lsq2": {"bits": 2},
}
FILES = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "none")


def merged(name: str) -> dict[str, Any]:
    """Return what a file of the group holds, over the files that it starts from."""
    own = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    values: dict[str, Any] = {}
    for base in own.pop("defaults", []):
        if base.startswith("_") and base != "_self_":
            values |= defaults()[f"quant/{base}"]
        elif base != "_self_":
            values |= merged(base)
    return values | own


@pytest.mark.parametrize("name", FILES)
def test_each_file_holds_exactly_the_options_of_its_rule_with_their_defaults(name: str) -> None:
    values = merged(name)
    rule = values["name"]
    assert set(values) >= COMMON
    assert (rule == name) is (name not in VARIANTS)
    options = {key: value for key, value in values.items() if key not in COMMON}
    own = rule_entry(rule).options().model_dump(mode="json")
    assert options == {**own, **VARIANTS.get(name, {})}
    checked = quant_settings(values).rule
    assert type(checked) is RULES[rule].options
    assert {**checked.model_dump(mode="json"), **VARIANTS.get(name, {})} == options


def test_every_rule_has_a_file_and_every_file_a_registered_rule() -> None:
    assert {merged(name)["name"] for name in FILES} == set(RULES) == set(FILES) - set(VARIANTS)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_has_a_class_whose_options_are_those_of_the_registry(name: str) -> None:
    assert rule_class(name).__annotations__["options"] == RULES[name].options.__name__


@pytest.mark.parametrize("name", RULES)
def test_an_unknown_option_is_refused_and_near_ones_are_named(name: str) -> None:
    with pytest.raises(
        SettingsError, match=r"quant\.surogate: there is no such setting\n  instead: did you mean surrogate"
    ):
        rule_options(name, {"surogate": {}})
    with pytest.raises(SettingsError, match=r"quant\.surrogate\.knd: .*\n  instead: did you mean kind"):
        rule_options(name, {"surrogate.knd": "stable"})
    for field in RULES[name].options.model_fields:
        near = field[:-1] + "xx"
        with pytest.raises(SettingsError, match=rf"quant\.{near}: there is no such setting\n  instead: .*{field}"):
            rule_options(name, {near: 1})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tnw", {}, r"quant = tnw: no such rule\n  instead: did you mean twn"),
        ("lqs", {}, r"did you mean lsq"),
        ("lsq", {"bits": 5}, r"quant\.bits = 5: must be 'ternary', 2, 3, 4 or 8\n  instead: quant\.bits=ternary"),
        ("lsq", {"bits": "ternry"}, r"quant\.bits = ternry: must be .*\n  instead: quant\.bits=ternary"),
        ("lsq", {"bits": 2, "rel": {"factors": [1.0]}}, r"needs ternary weights\n  instead: quant.bits=ternary, or "),
        ("uniform", {"bits": 1}, r"quant\.bits = 1: must be 2, 3, 4, 5, 6, 7 or 8"),
        ("ttq", {"first_scale": "ones"}, r"quant\.first_scale = ones: .*\n  instead: quant\.first_scale=one\b"),
        ("ttq", {"granularity": "filter"}, r"quant\.granularity: there is no such setting"),
        ("sws", {"factor": 0}, r"quant\.factor = 0: must be greater than 0\n  instead: quant\.factor=0\.05"),
        ("twn", {"factor": -0.7}, r"quant\.factor = -0\.7: must be greater than 0\n  instead: quant\.factor=0\.7"),
        ("seq", {"factor": float("nan")}, r"quant\.factor = nan"),
        ("absmean", {"factor": float("inf")}, r"quant\.factor = inf"),
        (
            "tga",
            {"threshold.unit": "sigam"},
            r"quant\.threshold\.unit = sigam: .*\n  instead: quant\.threshold\.unit=sigma",
        ),
        (
            "twn",
            {"surrogate.kind": "clipped"},
            r"has no range of its own\n  instead: quant\.surrogate\.bound=1\.0, or quant\.surrogate\.kind=straight",
        ),
        ("tga", {"surrogate": {"kind": "clipped"}}, r"instead: quant\.surrogate\.bound=1\.0"),
        ("uniform", {"surrogate.kind": "clipped"}, r"instead: quant\.surrogate\.bound=1\.0"),
        ("twn", {"surrogate.kind": "cliped"}, r"quant\.surrogate\.kind = cliped: .*\n  instead: .*kind=clipped"),
        ("twn", {"surrogate": {"kind": "clipped", "bound": 0}}, r"quant\.surrogate\.bound = 0"),
        ("sws", {"rel.factors": [0.05, -1]}, r"quant\.rel\.factors\.1 = -1"),
    ],
)
def test_impossible_options_are_refused_with_what_to_type_instead(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        rule_options(name, options)


@pytest.mark.parametrize("name", [name for name in RULES if "granularity" in RULES[name].options.model_fields])
def test_granularity_is_layer_or_filter(name: str) -> None:
    with pytest.raises(
        SettingsError, match=r"quant\.granularity = filters: must be .*\n  instead: .*granularity=filter$"
    ):
        rule_options(name, {"granularity": "filters"})
    for choice in ("layer", "filter"):
        assert rule_options(name, {"granularity": choice}).model_dump()["granularity"] == choice


@pytest.mark.parametrize("name", RULES)
def test_every_surrogate_is_an_option_of_every_rule(name: str) -> None:
    for surrogate in ({"kind": "straight"}, {"kind": "stable"}, {"kind": "clipped", "bound": 2.0}):
        assert rule_options(name, {"surrogate": surrogate}).surrogate.kind == surrogate["kind"]
    alone = {"surrogate.kind": "clipped"}
    if RULES[name].options.has_range:
        assert rule_options(name, alone).surrogate.bound is None


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({"name": "lsq"}, "lsq"),
        ({"name": "lsq", "bits": 4}, "lsq4"),
        ({"name": "sws", "rel": {"factors": [0.05, 0.1]}}, "sws-rel2"),
        ({"name": "uniform"}, "uniform8"),
        ({"name": "twn"}, "twn"),
    ],
)
def test_label_tells_rules_apart_that_have_the_same_name(options: dict[str, Any], label: str) -> None:
    assert quant_settings(options).label == label


def test_a_rule_registers_once_and_not_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ternlab.quantizers.registry.RULES", Registry("rule", "quant", RULES))
    register_rule("twn", options=TWNOptions, module=RULES["twn"].module)
    with pytest.raises(ValueError, match="already registered"):
        register_rule("twn", options=LSQOptions, module=RULES["twn"].module)
    with pytest.raises(ValueError, match="'none' is reserved"):
        register_rule("none", options=TWNOptions, module="a.b:C")
    with pytest.raises(ValueError, match=r"`module` is 'a\.b\.C', but must be"):
        register_rule("mine", options=TWNOptions, module="a.b.C")


def test_options_of_the_layer_choice_are_not_options_of_a_rule() -> None:
    for entry in RULES.values():
        assert not set(LayerChoice.model_fields) & set(entry.options.model_fields)


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [("sws", {"surrogate.bound": 0.5}, "clipped"), ("lsq", {"surrogate.amplitude": 0.1}, "clipped")],
)
def test_one_option_of_the_surrogate_leaves_the_others_at_the_defaults_of_the_rule(
    name: str, options: dict[str, Any], kind: str
) -> None:
    # From the command line the same words do: there the other options stand in conf/quant.
    assert rule_options(name, options).surrogate.kind == kind
