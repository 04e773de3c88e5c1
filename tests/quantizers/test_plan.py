"""A plan: which rule each layer has, in whatever way it is typed."""

from __future__ import annotations

import copy
import subprocess
import sys
from fnmatch import fnmatchcase
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ternlab.core.errors import SettingsError
from ternlab.quantizers.attach import codes, quantize, quantized_layers, quantizer_of
from ternlab.quantizers.entries import layer_entries
from ternlab.quantizers.plan import LayerChoice, LayerEntry, LayerRule, layer_plan
from ternlab.quantizers.registry import rule_options
from ternlab.runs.identity import run_id
from ternlab.settings.load import config_of, settings_from_config
from ternlab.settings.quant import QuantSettings, quant_settings

NAMES = ("conv1", "layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1", "fc")
# A pattern of each kind: a name, a part of the names, none but the last, any of two.
PATTERNS = ("conv1", "layer1.*", "layer*", "*.conv1", "fc", "[cf]*", "layer?.0.conv1")
# Each rule with options, as they are typed in an entry.
RULES: tuple[dict[str, Any], ...] = (
    {"name": "tga"},
    {"name": "tga", "threshold": {"init": 0.2, "unit": "sigma"}},
    {"name": "tga", "rel": {"factors": [0.05, 0.1]}},
    {"name": "sws"},
    {"name": "sws", "surrogate": {"kind": "straight"}},
    {"name": "sws", "surrogate": {"kind": "straight", "bound": None}},
    {"name": "lsq", "bits": 4, "granularity": "filter"},
    {"name": "uniform", "bits": 3},
    {"name": "bwn"},
    {"name": "twn", "surrogate": {"kind": "clipped", "bound": 0.5}},
)
NONE = {"name": "none"}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(54, 7),
        nn.Linear(7, 5),
    )  # fmt: skip


def rules_of(model: nn.Module) -> dict[str, tuple[str, Any]]:
    """Return the class and the options of the rule of every quantized layer."""
    return {
        name: (type(quantizer_of(layer)).__name__, quantizer_of(layer).options)
        for name, layer in quantized_layers(model)
    }


def assert_same_codes(one: nn.Module, other: nn.Module) -> None:
    layers, others = dict(quantized_layers(one)), dict(quantized_layers(other))
    assert layers.keys() == others.keys()
    for name, layer in layers.items():
        for plane, twin in zip(codes(layer).planes, codes(others[name]).planes, strict=True):
            assert torch.equal(plane.codes, twin.codes) and torch.equal(plane.effective(), twin.effective())


def entries(*typed: dict[str, Any], rule: LayerRule | None = None) -> LayerChoice:
    return LayerChoice(layers=layer_entries(typed, rule or LayerRule()))


@given(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=5, unique=True), st.data())
def test_the_first_match_counts_and_the_others_have_the_rule_of_the_network(
    patterns: list[str], data: st.DataObject
) -> None:
    typed = [{"match": pattern, **data.draw(st.sampled_from([*RULES, NONE]))} for pattern in patterns]
    network_rule = LayerRule(name="absmean", options=rule_options("absmean", {}))
    expected: dict[str, dict[str, Any] | None] = dict.fromkeys(NAMES)
    for entry in reversed(typed):
        expected |= {name: entry for name in NAMES if fnmatchcase(name, entry["match"])}
    counts = [entry for entry in typed if entry in expected.values()]
    left = [name for name in NAMES if expected[name] is None]
    nothing = all(entry is not None and entry["name"] == "none" for entry in expected.values())
    if len(counts) < len(typed) or not left or nothing:
        with pytest.raises(SettingsError, match=r"has no effect|no layer is left|is left to quantize"):
            layer_plan(NAMES, network_rule, entries(*typed))
        return
    plan = layer_plan(NAMES, network_rule, entries(*typed))
    assert tuple(plan) == NAMES
    for name, entry in expected.items():
        found = plan[name]
        if entry is None:
            assert found == network_rule
        elif entry["name"] == "none":
            assert found is None
        else:
            options = {key: value for key, value in entry.items() if key not in ("match", "name")}
            assert found is not None and found.name == entry["name"]
            assert found.options == rule_options(entry["name"], options)


def test_a_name_with_characters_of_a_pattern_matches_itself() -> None:
    plan = layer_plan(["a[0]", "a0"], LayerRule(), entries({"match": "a[0]", "name": "twn"}))
    assert plan["a[0]"] is not None
    assert plan["a0"] is not None, "it is a pattern as well"


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_one_rule_for_all_is_the_same_however_it_is_typed(rule: dict[str, Any]) -> None:
    options = {key: value for key, value in rule.items() if key != "name"}
    alone = quantize(network(), rule["name"], **options)
    ways: list[nn.Module] = [
        quantize(network(), "none", layers=[{"match": "*", **rule}]),
        quantize(network(), {"*": rule}),
        quantize(network(), "absmean", layers=[{"match": "*", **rule}]),
        quantize(network(), rule["name"], **options, layers=[{"match": "[03]", **rule}]),
        quantize(network(), {"0": rule, "3": rule, "[56]": rule}),
        quantize(network(), rule["name"], **options, layers=[{"match": 0}]),
    ]
    for model in ways:
        assert rules_of(model) == rules_of(alone)
        assert_same_codes(model, alone)

    def run(quant: dict[str, Any]) -> str:
        return run_id(settings_from_config({"quant": quant}))

    whole = run(rule)
    assert run({"name": "none", "layers": [{"match": "*", **rule}]}) == whole
    assert run({"name": "bwn", "layers": [{"match": "*", **rule}]}) == whole
    assert run({**rule, "layers": []}) == whole
    assert run({**rule, "layers": [{"match": "layer1.*", **rule}]}) == whole
    assert run({**rule, "layers": [{"match": "layer1.*"}]}) == whole


@settings(max_examples=20)
@given(st.permutations(RULES))
def test_codes_of_each_layer_are_those_of_the_layer_quantized_alone(rules: list[dict[str, Any]]) -> None:
    chosen = dict(zip(("0", "3", "5", "6"), rules, strict=False))
    mixed = quantize(network(), "none", layers=[{"match": name, **rule} for name, rule in chosen.items()])
    for name, rule in chosen.items():
        options = {key: value for key, value in rule.items() if key != "name"}
        alone = copy.deepcopy(network().get_submodule(name))
        for plane, twin in zip(
            codes(mixed.get_submodule(name)).planes, codes(quantize(alone, rule["name"], **options)).planes, strict=True
        ):
            assert torch.equal(plane.codes, twin.codes) and torch.equal(plane.effective(), twin.effective())
            assert plane.alphabet == twin.alphabet


def test_entries_go_before_the_choice_of_layers() -> None:
    model = quantize(network(), "tga", first_last="full", exclude="5", layers=[{"match": "6", "name": "uniform"}])
    assert {name: kind for name, (kind, _) in rules_of(model).items()} == {"3": "TGA", "6": "Uniform"}


def test_a_mapping_names_the_rule_of_layers_and_leaves_all_others() -> None:
    model = quantize(network(), {"0": None, "[03]": "twn", "6": {"name": "lsq", "bits": 4}})
    assert {name: kind for name, (kind, _) in rules_of(model).items()} == {"3": "TWN", "6": "LSQ"}
    assert quantizer_of(model[6]).options.label("lsq") == "lsq4"
    assert not nn.utils.parametrize.is_parametrized(model[0])


def test_an_entry_without_a_rule_changes_options_of_the_network_s() -> None:
    model = quantize(
        network(), "tga", scale="centered", threshold={"init": 0.3, "unit": "sigma"},
        layers=[{"match": "0", "threshold.init": 0.1}, {"match": "3", "name": "tga"}],
    )  # fmt: skip
    found: dict[str, Any] = {name: options for name, (_, options) in rules_of(model).items()}
    assert [(found[name].threshold.init, found[name].threshold.unit) for name in ("0", "3", "5")] == [
        (0.1, "sigma"),
        (0.05, "max"),
        (0.3, "sigma"),
    ]
    assert [found[name].scale for name in ("0", "3", "5")] == ["centered", "tga", "centered"]


@pytest.mark.parametrize("rule", [*RULES, NONE], ids=str)
def test_an_entry_as_it_is_typed_again_is_the_same_entry(rule: dict[str, Any]) -> None:
    (entry,) = layer_entries([{"match": "fc", **rule}], LayerRule())
    typed = entry.typed()
    assert layer_entries([typed], LayerRule()) == (entry,)
    whole = {**entry.options.model_dump(), **typed} if entry.active else typed
    assert layer_entries([whole], LayerRule()) == (entry,)
    assert layer_entries([whole], LayerRule())[0].typed() == typed, "options at their defaults are left out"


def test_what_is_typed_of_an_entry_is_what_differs() -> None:
    def typed(**values: Any) -> dict[str, Any]:
        return layer_entries([{"match": "fc", **values}], LayerRule())[0].typed()

    assert typed(name="uniform", bits=8) == {"match": "fc", "name": "uniform"}
    assert typed(name="sws", **{"surrogate.kind": "clipped"}) == {"match": "fc", "name": "sws"}
    assert typed(name="sws", surrogate={"kind": "straight"}) == {
        "match": "fc",
        "name": "sws",
        "surrogate": {"kind": "straight"},
    }
    assert typed(name="tga", **{"threshold.init": 0.1}) == {
        "match": "fc",
        "name": "tga",
        "threshold": {"init": 0.1},
    }


MIXED: dict[str, Any] = {
    "name": "tga",
    "layers": [{"match": "layer4.*", "name": "uniform", "bits": 4}, {"match": "fc", "name": "none"}],
}


@given(st.lists(st.tuples(st.sampled_from(PATTERNS), st.sampled_from([*RULES, NONE])), max_size=4))
def test_settings_survive_their_file_and_keep_their_id(typed: list[tuple[str, dict[str, Any]]]) -> None:
    layers = [{"match": pattern, **rule} for pattern, rule in dict(typed).items()]
    first = settings_from_config({"quant": {"name": "tga", "layers": layers}})
    again = settings_from_config(config_of(first))
    assert again == first
    assert run_id(again) == run_id(first)
    assert config_of(again) == config_of(first)


def test_options_at_their_defaults_and_the_order_of_keys_are_not_in_the_id() -> None:
    def run(*layers: dict[str, Any]) -> str:
        return run_id(settings_from_config({"quant": {"name": "tga", "layers": list(layers)}}))

    plain = run({"match": "fc", "name": "uniform"})
    assert run({"bits": 8, "name": "uniform", "match": "fc"}) == plain
    assert run({"match": "fc", "name": "uniform", "granularity": "layer", "surrogate.kind": "straight"}) == plain
    others = [
        run({"match": "fc", "name": "uniform", "bits": 4}),
        run({"match": "conv1", "name": "uniform"}),
        run({"match": "fc", "name": "lsq"}),
        run({"match": "fc", "name": "none"}),
        run({"match": "fc", "name": "uniform"}, {"match": "conv1", "name": "none"}),
        run({"match": "conv1", "name": "none"}, {"match": "fc", "name": "uniform"}),
        run(),
    ]
    assert len({plain, *others}) == len(others) + 1


@pytest.mark.parametrize(
    ("quant", "label"),
    [
        (MIXED, "tga-mixed"),
        ({"name": "tga", "layers": [{"match": "fc", "name": "none"}]}, "tga"),
        ({"name": "tga", "layers": [{"match": "fc", "threshold": {"init": 0.1}}]}, "tga"),
        ({"name": "uniform", "bits": 4, "layers": [{"match": "fc", "bits": 8}]}, "uniform4-mixed"),
        ({"name": "none", "layers": [{"match": "fc", "name": "lsq", "bits": 2}]}, "lsq2"),
        (
            {"layers": [{"match": "a", "name": "none"}, {"match": "b", "name": "bwn"}, {"match": "c", "name": "twn"}]},
            "bwn-mixed",
        ),
        ({"name": "none", "layers": [{"match": "*", "name": "sws"}]}, "sws"),
        ({"name": "none"}, "none"),
    ],
)
def test_label_says_that_rules_are_mixed(quant: dict[str, Any], label: str) -> None:
    assert quant_settings(quant).label == label


def test_a_run_that_quantizes_single_layers_is_a_quantized_run() -> None:
    of_one_layer = quant_settings({"layers": [{"match": "fc", "name": "twn"}]})
    assert of_one_layer.active and of_one_layer.name == "none"
    assert not quant_settings({}).active


UNIFORM = {"match": "fc", "name": "uniform"}


@pytest.mark.parametrize(
    ("quant", "message"),
    [
        ({"layers": [{**UNIFORM, "bits": 9}]}, r"quant\.layers\.0\.bits = 9: must be .*\n  instead: bits: 8 \(the"),
        ({"layers": [UNIFORM, {"match": "a", "name": "twm"}]}, r"quant\.layers\.1\.name = twm: no.*\n.*mean twn"),
        ({"layers": [{**UNIFORM, "bit": 4}]}, r"quant\.layers\.0\.bit: uniform has no such .*\n.*did you mean bits"),
        ({"layers": [{"match": "fc", "bits": 4}]}, r"quant\.layers\.0\.bits: tga has no such option"),
        (
            {"layers": [{"match": "fc", "name": "tga", "threshold": {"inti": 1}}]},
            r"quant\.layers\.0\.threshold\.inti: there is no such setting\n  instead: did you mean init",
        ),
        (
            {"layers": [{"match": "fc", "threshold": 0.3}]},
            r"quant\.layers\.0\.threshold = 0\.3: is a group of settings\n  instead: threshold\.init: 0\.05 \(the sett",
        ),
        ({"layers": [{"name": "uniform"}]}, r"quant\.layers\.0\.match: is missing\n  instead: {match: fc, name: "),
        ({"layers": [{"match": 0.5, "name": "bwn"}]}, r"quant\.layers\.0\.match = 0\.5: .*\n  instead: match: '0\.5'"),
        (
            {"layers": ["fc"]},
            r"quant\.layers\.0 = fc: is not an entry .*\n  instead: {match: fc, name: uniform, bits: 4}",
        ),
        ({"layers": "fc"}, r"quant\.layers = fc: must be a list of entries\n  instead: 'quant\.layers=\[{match: fc"),
        ({"layers": UNIFORM}, r"quant\.layers = .*: must be a list of entries"),
        ({"layers": [{**NONE, "match": "fc", "bits": 4}]}, r"quant\.layers\.0\.bits: full precision .*\n.*name: RULE"),
        (
            {"layers": [UNIFORM, {**UNIFORM, "bits": 4}]},
            r"quant\.layers\.1\.match = fc: is already the pattern of .*layers\.0",
        ),
        ({"layers": [{"match": "*", "name": "bwn"}, UNIFORM]}, r"quant\.layers\.1 = fc: is never reached: .*layers\.0"),
        (
            {"exclude": ["fc"], "layers": [{"match": "*", "name": "bwn"}]},
            r"quant\.exclude = \['fc'\]: has no effect: quant\.layers\.0 matches every layer\n  instead: leave it out",
        ),
        ({"layers": [{"match": "*", "name": "none"}]}, r"quant\.layers: leaves every layer in full precision"),
        (
            {"name": "none", "layers": [{"match": "fc", "bits": 4}]},
            r"quant\.layers\.0\.name: is missing\n.*RULE one of",
        ),
        ({"name": "none", "layers": [{"match": "fc", **NONE}]}, r"quant\.layers: leaves every layer in full precision"),
        (
            {"name": "none", "first_last": "full", "layers": [UNIFORM]},
            r"quant\.first_last = full: has no effect: without a rule for the network",
        ),
        (
            {"layers": [{"match": "fc", "update": "sequential"}]},
            r"quant\.layers\.0\.update = sequential: .*quant\.update=joint\n  instead: update: joint",
        ),
    ],
)
def test_impossible_entries_are_refused_with_what_to_type_instead(quant: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        quant_settings({"name": "tga", **quant})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"layers": [{"match": "fc", "name": "twn"}]},
            r"quant\.layers\.0\.match = fc: matches no layer\n  instead: one",
        ),
        (
            {"layers": [{"match": "[03]", "name": "twn"}, {"match": "3", "name": "bwn"}]},
            r"quant\.layers\.1\.match = 3: has no effect: the entries before it .*\n  instead: move this entry before",
        ),
        (
            {"exclude": "3", "layers": [{"match": "[03]", "name": "twn"}]},
            r"quant\.include/exclude = 3: has no effect: quant\.layers gives the rule",
        ),
        (
            {"layers": [{"match": "[0356]", "name": "twn"}]},
            r"quant = tga: no layer is left .*\n  instead: use quant=none with the same quant\.layers",
        ),
        ({"rule": {"0": "twn"}, "threshold": {"init": 1}}, r"quant\.threshold: does not apply to a mapping"),
        ({"rule": {"0": "twn"}, "exclude": "3"}, r"quant\.exclude: does not apply to a mapping"),
        ({"rule": {"0": 3}}, r"0 = 3: must be a rule's name"),
        ({"rule": {}}, r"no convolution or linear layer is left to quantize"),
        ({"rule": "none"}, r"quant = none: no such rule"),
    ],
)
def test_what_does_not_fit_the_layers_is_refused_and_leaves_the_network(
    arguments: dict[str, Any], message: str
) -> None:
    model = network()
    with pytest.raises(SettingsError, match=message):
        quantize(model, **arguments)
    assert not any(nn.utils.parametrize.is_parametrized(module) for module in model.modules())


def test_entries_are_checked_without_torch() -> None:
    code = (
        "from ternlab.settings.quant import quant_settings; import sys\n"
        f"print(quant_settings({MIXED!r}).label)\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("tga-mixed", 0), done.stderr


def test_the_rules_stand_below_the_settings() -> None:
    code = (
        "import pkgutil, importlib, sys, ternlab.quantizers as rules\n"
        "names = [module.name for module in pkgutil.iter_modules(rules.__path__, 'ternlab.quantizers.')]\n"
        "for name in names: importlib.import_module(name)\n"
        "inside = {name.split('.')[1] for name in sys.modules if name.startswith('ternlab.')}\n"
        "print(sorted(inside))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "['core', 'quantizers']", done.stderr


def test_entries_and_settings_are_values_that_can_be_compared_and_hashed() -> None:
    mixed = quant_settings(MIXED)
    assert isinstance(mixed, QuantSettings) and mixed == quant_settings(copy.deepcopy(MIXED))
    assert len({mixed, quant_settings(MIXED)}) == 1
    assert isinstance(mixed.layers[0], LayerEntry)
