"""Training a network whose layers have rules of their own: each parameter has the options of its own rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ternlab.core.errors import SettingsError
from ternlab.export.accounting import sizes
from ternlab.optimizers.groups import threshold_parameters
from ternlab.optimizers.settings import OptimSettings
from ternlab.quantizers.attach import quantize, quantized_layers, quantizer_of
from ternlab.runs.directory import run_directory
from ternlab.runs.identity import run_id
from ternlab.runs.metrics import read_table
from ternlab.settings.quant import quant_settings
from ternlab.trained.network import trained_network
from ternlab.training.fit import fit
from ternlab.training.network import check_layers
from ternlab.training.optimizers import build_optimizer
from ternlab.training.resume import recipe_of
from ternlab.training.update_rule import TernaryOptimizer
from tests.settings_for_tests import tiny_settings

LAYERS: list[dict[str, Any]] = [
    {"match": "0", "name": "lsq", "bits": 4},
    {"match": "2", "threshold.lr": 0.5, "threshold.clamp": None},
    {"match": "4", "name": "ttq"},
]


def network() -> nn.Sequential:
    """Five layers, so that thresholds of one group have another one between them."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3))


def mixed(**quant: Any) -> tuple[nn.Module, TernaryOptimizer]:
    options = {"layers": LAYERS, **quant}
    model = quantize(network(), "tga", **options)
    optimizer = build_optimizer(
        model, OptimSettings(lr=0.01, weight_decay=0.1), quant_settings({"name": "tga", **options})
    )
    assert isinstance(optimizer, TernaryOptimizer)
    return model, optimizer


def threshold(model: nn.Module, place: int) -> nn.Parameter:
    (found,) = quantizer_of(model.get_submodule(str(place))).thresholds()
    return found


def test_each_threshold_has_rate_and_clamp_of_its_own_rule() -> None:
    model, optimizer = mixed()
    groups = [
        (group["lr"], clamp, [id(parameter) for parameter in group["params"]])
        for group, clamp in zip(optimizer.thresholds.param_groups, optimizer.clamps, strict=True)
    ]
    assert groups == [
        (0.01, 1e-3, [id(threshold(model, 1)), id(threshold(model, 3))]),
        (0.5, None, [id(threshold(model, 2))]),
    ]
    everything = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert {id(parameter) for parameter in everything} == {id(parameter) for parameter in model.parameters()}
    assert len(everything) == len(list(model.parameters()))
    scales = next(group for group in optimizer.param_groups if group["name"] == "scales")
    assert scales["weight_decay"] == 0
    assert len(scales["params"]) == 3, "one step of lsq, two scales of ttq"


def test_the_clamp_of_one_rule_does_not_reach_the_thresholds_of_another() -> None:
    model, optimizer = mixed()
    before = [threshold(model, place).item() for place in (1, 2, 3)]

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.stack([3.0 * threshold(model, place) for place in (1, 2, 3)]).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    moved = [old - threshold(model, place).item() for old, place in zip(before, (1, 2, 3), strict=True)]
    # The first step of Nesterov momentum 0.9 is 1.9 gradients.
    assert moved == pytest.approx([0.01 * 1.9e-3, 0.5 * 1.9 * 3, 0.01 * 1.9e-3], rel=1e-2)


@pytest.mark.parametrize("update", ["joint", "sequential"])
def test_one_step_changes_every_parameter(update: str) -> None:
    model, optimizer = mixed(update=update)
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(16, 6, generator=generator), torch.arange(16) % 3
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    passes = 0

    def closure() -> Tensor:
        nonlocal passes
        passes += 1
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert passes == (2 if update == "sequential" else 1)
    assert not [name for name, value in model.named_parameters() if torch.equal(value, before[name])]


def test_a_sequential_rule_of_one_layer_is_seen_by_the_settings() -> None:
    layers = [{"match": "10", "name": "tga", "update": "sequential"}]
    assert quant_settings({"name": "sws", "layers": layers}).sequential
    assert not quant_settings({"name": "sws"}).sequential
    with pytest.raises(SettingsError, match=r"trainer\.accumulate_grad_batches = 2: the two passes"):
        tiny_settings(Path(), quant={"name": "sws", "layers": layers}, trainer__accumulate_grad_batches=2)


QUANT: dict[str, Any] = {
    "name": "tga",
    "init": "scratch",
    "layers": [
        {"match": "1", "name": "uniform", "bits": 4},
        {"match": "4", "threshold.lr": 0.2, "threshold.clamp": None},
    ],
}


def test_a_mixed_run_trains_each_layer_by_its_rule_and_is_read_back(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, quant=QUANT)
    directory = run_directory(tmp_path, run_id(settings))
    assert "-tiny-tga-mixed-s0-" in directory.run_id
    directory.create()
    directory.write_settings(settings)
    outcome = fit(settings, directory)
    assert directory.settings() == settings

    trained = trained_network(directory, "unused").model
    rules = {name: quantizer_of(layer).options.label("rule") for name, layer in quantized_layers(trained)}
    assert rules == {"1": "rule4", "4": "rule", "10": "rule"}
    state = load_file(directory.weights_file)
    assert {name for name in state if name.endswith("0.threshold")} == {
        "4.parametrizations.weight.0.threshold",
        "10.parametrizations.weight.0.threshold",
    }
    assert sizes(trained).quantized_bytes == outcome.metrics["size/quantized_bytes"]
    assert [layer.rule for layer in sizes(trained).layers] == ["uniform4", "tga", "tga"]

    last = {row["layer"]: row for row in read_table(directory.layers_file)[-3:]}
    assert not last["1"]["threshold_gradient"] and not last["1"]["threshold"]
    assert float(last["4"]["threshold_gradient"]) > 0 and float(last["10"]["threshold_gradient"]) > 0


def test_gradients_are_logged_for_the_threshold_that_they_are_of() -> None:
    from ternlab.training.callbacks.layer_stats import _threshold_gradients

    model, optimizer = mixed()

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.stack([place * threshold(model, place) for place in (1, 2, 3)]).sum()
        loss.backward()
        return loss

    optimizer.step(closure)

    class Holder:
        optimizers = (optimizer,)

    found = _threshold_gradients(Holder())  # type: ignore[arg-type]
    assert [found[id(one)] for one in threshold_parameters(model)] == pytest.approx([1.0, 2.0, 3.0])


def test_patterns_of_entries_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    wrong = tiny_settings(tmp_path, quant={"name": "tga", "layers": [{"match": "fc", "name": "twn"}]})
    with pytest.raises(SettingsError, match=r"quant\.layers\.0\.match = fc: matches no layer\n  instead: one of: 1,"):
        check_layers(wrong)
    check_layers(tiny_settings(tmp_path, quant=QUANT))


def test_a_checkpoint_of_another_plan_is_another_recipe(tmp_path: Path) -> None:
    plain = {"name": "tga", "init": "scratch"}
    others = [
        plain,
        {**plain, "layers": [{"match": "1", "name": "twn"}]},
        {**plain, "layers": [{"match": "1", "name": "sws"}]},
    ]
    recipes = [recipe_of(tiny_settings(tmp_path, quant=quant))["rule"] for quant in others]
    assert [recipe["layers"] for recipe in recipes] == [
        None,
        [{"match": "1", "name": "twn"}],
        [{"match": "1", "name": "sws"}],
    ]
