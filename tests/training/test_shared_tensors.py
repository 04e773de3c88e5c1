"""Networks with tied weights, views and extra state train, resume, and come back from every kind of file."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ternlab.core.errors import RunInterrupted, SettingsError
from ternlab.export.folding import inference_network
from ternlab.export.packed import load, read_codes, save
from ternlab.models.registry import register_model
from ternlab.models.stem import StemDropoutSettings
from ternlab.models.weights import load_weights
from ternlab.quantizers.attach import codes, latent_weight, quantized_layers
from ternlab.settings.root import Settings
from ternlab.training.network import Shape, build_network, load_trained, save_weights
from ternlab.training.rehearsal import rehearse_saving
from tests.settings_for_tests import tiny_settings
from tests.shared_tensors import NAME, SharedTensors
from tests.training.test_resume import StopAfter, assert_equal, contents, start

SHAPE = Shape(1, 8, 10)


def settings_of(runs: Path, **changes: Any) -> Settings:
    return tiny_settings(runs, plugins=["tests.shared_tensors"], model={"name": NAME}, **changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    """The network of a finished run, from its file of weights."""
    settings = settings_of(tmp_path_factory.mktemp("runs"))
    directory, _ = start(settings)
    model = build_network(settings, SHAPE, None)
    load_trained(model, directory.weights_file)
    return model.eval()


def images() -> Tensor:
    return torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def assert_same_state(found: nn.Module, expected: nn.Module) -> None:
    assert found.state_dict().keys() == expected.state_dict().keys()
    for name, value in expected.state_dict().items():
        if name == "norm.num_batches_tracked":  # packed files leave it out: it means nothing in inference
            continue
        other = found.state_dict()[name]
        assert torch.equal(other, value) if isinstance(value, Tensor) else other == value, name


@pytest.mark.parametrize("batch", [1, 3, 5])
@pytest.mark.parametrize("quant", ["tga", "none"])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(quant: str, batch: int, tmp_path: Path) -> None:
    changes = {"quant": {"name": quant, "init": "scratch"}} if quant != "none" else {"quant": {"name": "none"}}
    whole = contents(*start(settings_of(tmp_path / "whole", **changes)))
    settings = settings_of(tmp_path / "stopped", **changes)
    with pytest.raises(RunInterrupted):
        start(settings, StopAfter(batch, signal.SIGTERM))
    assert_equal(contents(*start(settings)), whole)


def test_the_file_of_a_run_restores_everything(trained: nn.Module) -> None:
    assert trained.get_extra_state()["batches"] == 12  # six steps of two passes
    layers = dict(quantized_layers(trained))
    assert latent_weight(layers["first"]) is latent_weight(layers["second"])
    assert torch.equal(trained.get_buffer("part"), trained.get_buffer("table")[2:10])
    assert trained.get_buffer("table")[0] == pytest.approx(0.5 * 1.01**12)


def test_a_quantized_run_starts_from_its_baseline(tmp_path: Path) -> None:
    baseline = settings_of(tmp_path, quant={"name": "none"})
    directory, _ = start(baseline)
    plain = build_network(baseline, SHAPE, None)
    load_trained(plain, directory.weights_file)
    model = build_network(settings_of(tmp_path), SHAPE, directory.weights_file)
    assert model.get_extra_state() == plain.get_extra_state() == {"batches": 6, "note": "counted"}
    assert torch.equal(latent_weight(model.get_submodule("second")), plain.get_parameter("first.weight"))


def test_state_dict_files_come_back_into_the_plain_network(trained: nn.Module, tmp_path: Path) -> None:
    plain = inference_network(trained).network
    save_weights(plain, tmp_path / "plain.safetensors")
    torch.save(plain.state_dict(), tmp_path / "plain.pt")
    for file in ("plain.safetensors", "plain.pt"):
        # Thresholds may differ from layer to layer, so a weight is tied no longer once it is quantized.
        model = SharedTensors(1, 10)
        model.second.weight = nn.Parameter(torch.zeros_like(model.first.weight))
        load_weights(model, str(tmp_path / file), name=NAME)
        assert_same_state(model, plain)
        assert torch.equal(model.eval()(images()), trained(images()))


@pytest.mark.parametrize("packing", ["trit5", "bits", "entropy"])
def test_packed_files_come_back_bit_for_bit(packing: Any, trained: nn.Module, tmp_path: Path) -> None:
    save(trained, tmp_path / "net", packing=packing)
    model = load(tmp_path / "net", model=SharedTensors(1, 10))
    assert torch.equal(model(images()), trained(images()))
    assert_same_state(model, inference_network(trained).network)
    for name, layer in quantized_layers(trained):
        (found,), (expected,) = read_codes(tmp_path / "net", SharedTensors(1, 10))[name].planes, codes(layer).planes
        assert torch.equal(found.codes, expected.codes) and torch.equal(found.scale, expected.scale)


class Unstorable(nn.Linear):
    """Has an extra state that only code can restore."""

    def get_extra_state(self) -> object:
        return {"optimizer": torch.optim.SGD(self.parameters(), lr=0.1)}


class Expanded(nn.Linear):
    """Has a buffer whose elements share one place in memory, so that nothing can be copied into it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("same", torch.ones(1).expand(3))


def build_hopeless(settings: StemDropoutSettings, channels: int, size: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * size**2, 12), Unstorable(12, classes))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Unstorable, r"0\._extra_state = dict: .*cannot be saved and read back.*SGD.*\n  instead: return only numbers"),
        (Expanded, r"model = Sequential: .*saved and loaded again.*\n  instead: .*tensor\.clone\(\)"),
    ],
)
def test_what_cannot_be_saved_is_said_with_a_remedy(layer: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        rehearse_saving(nn.Sequential(layer(3, 2)))


def test_a_run_that_could_not_be_saved_does_not_begin(tmp_path: Path) -> None:
    register_model("hopeless", f"{__name__}:build_hopeless")
    with pytest.raises(SettingsError, match=r"2\._extra_state"):
        start(tiny_settings(tmp_path, model={"name": "hopeless"}))
    assert not list(tmp_path.rglob("*.ckpt")) and not list(tmp_path.rglob("metrics.csv"))


def test_the_rehearsal_changes_nothing(trained: nn.Module) -> None:
    before = {name: value.clone() for name, value in trained.state_dict().items() if isinstance(value, Tensor)}
    rehearse_saving(trained)
    assert all(torch.equal(trained.state_dict()[name], value) for name, value in before.items())
