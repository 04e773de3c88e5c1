"""Published CIFAR checkpoints compute in our network what they compute in their own program."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ternlab.core.errors import SettingsError
from ternlab.models.build import build_model
from ternlab.models.registry import model_settings
from ternlab.models.resnet_cifar.family import Shortcut
from ternlab.models.resnet_cifar.network import CifarResNet
from ternlab.models.resnet_cifar.published import from_published
from ternlab.models.weights import load_weights
from ternlab.quantizers.attach import codes, quantize, quantized_layers

PUBLISHED = Path(os.environ.get("TERNLAB_PUBLISHED", "/nonexistent"))


@dataclass(frozen=True)
class Program:
    """Names of a published program, and how many of the new channels of a shortcut come first."""

    first: tuple[str, str]
    stage: str
    block: tuple[str, str, str, str]
    last: str
    share_before: float


AKAMASTER = Program(("conv1", "bn1"), "layer", ("conv1", "bn1", "conv2", "bn2"), "linear", 0.5)
ELLIOTHE = Program(("conv_1_3x3", "bn_1"), "stage_", ("conv_a", "bn_a", "conv_b", "bn_b"), "classifier", 0.0)
PROGRAMS = pytest.mark.parametrize("program", [AKAMASTER, ELLIOTHE], ids=["akamaster", "elliothe"])


def published_state(program: Program, blocks: int, narrow: int = 16) -> dict[str, Tensor]:
    """A state dict with the names and shapes of the published files, in float64."""
    state: dict[str, Tensor] = {}

    def add(convolution: str, norm: str, given: int, width: int) -> None:
        state[f"{convolution}.weight"] = torch.randn(width, given, 3, 3, dtype=torch.float64) / 10
        for entry in ("weight", "bias", "running_mean", "running_var"):
            state[f"{norm}.{entry}"] = torch.rand(width, dtype=torch.float64) + 0.5

    add(*program.first, 3, narrow)
    widths = (narrow, narrow, 2 * narrow, 4 * narrow)
    for stage, (before, width) in enumerate(itertools.pairwise(widths), start=1):
        for block in range(blocks):
            prefix = f"{program.stage}{stage}.{block}."
            a, norm_a, b, norm_b = (prefix + part for part in program.block)
            add(a, norm_a, width if block else before, width)
            add(b, norm_b, width, width)
    state[f"{program.last}.weight"] = torch.randn(10, 4 * narrow, dtype=torch.float64)
    state[f"{program.last}.bias"] = torch.randn(10, dtype=torch.float64)
    return state


def published_forward(program: Program, state: dict[str, Tensor], blocks: int, x: Tensor) -> Tensor:
    """The published program's network, written with functions only."""

    def layer(x: Tensor, convolution: str, norm: str, stride: int = 1) -> Tensor:
        x = F.conv2d(x, state[f"{convolution}.weight"], stride=stride, padding=1)
        mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        return F.batch_norm(x, mean, variance, state[f"{norm}.weight"], state[f"{norm}.bias"])

    x = layer(x, *program.first).relu()
    for stage in (1, 2, 3):
        for block in range(blocks):
            prefix = f"{program.stage}{stage}.{block}."
            a, norm_a, b, norm_b = (prefix + part for part in program.block)
            shrinks = stage > 1 and block == 0
            out = layer(layer(x, a, norm_a, 2 if shrinks else 1).relu(), b, norm_b)
            if shrinks:
                before = int(x.shape[1] * program.share_before)
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, before, x.shape[1] - before))
            x = (out + x).relu()
    return F.linear(x.mean((2, 3)), state[f"{program.last}.weight"], state[f"{program.last}.bias"])


SHORTCUTS = pytest.mark.parametrize("shortcut", ["zeros_after", "zeros_around"])


@PROGRAMS
@SHORTCUTS
@pytest.mark.parametrize("module", ["", "module."])
def test_published_file_gives_the_published_networks_output(
    program: Program, module: str, shortcut: Shortcut, tmp_path: Path
) -> None:
    state = published_state(program, blocks=3)
    # These files were written by torch.save before 1.6, with the accuracy beside the state dict.
    content = {"state_dict": {module + name: value for name, value in state.items()}, "best_prec1": 91.7}
    torch.save(content, tmp_path / "resnet20.th", _use_new_zipfile_serialization=False)
    model = CifarResNet(3, channels=3, classes=10, shortcut=shortcut).double().eval()
    load_weights(model, str(tmp_path / "resnet20.th"), name="resnet20")
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(model(images), published_forward(program, state, 3, images), rtol=1e-10, atol=1e-10)


@PROGRAMS
@SHORTCUTS
@pytest.mark.parametrize("narrow", [8, 20])
def test_a_published_file_of_another_width_gives_its_networks_output(
    program: Program, narrow: int, shortcut: Shortcut, tmp_path: Path
) -> None:
    state = published_state(program, 3, narrow)
    torch.save(state, tmp_path / "a.pt")
    stages = (narrow, 2 * narrow, 4 * narrow)
    model = CifarResNet(3, channels=3, classes=10, stages=stages, shortcut=shortcut).double().eval()
    load_weights(model, str(tmp_path / "a.pt"), name="resnet20")
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(model(images), published_forward(program, state, 3, images), rtol=1e-10, atol=1e-10)


@PROGRAMS
def test_skipping_the_classifier_by_our_name_keeps_its_initialization(program: Program, tmp_path: Path) -> None:
    torch.save(published_state(program, blocks=3), tmp_path / "a.pt")
    model = CifarResNet(3, channels=3, classes=100)
    before = model.fc.weight.clone()
    load_weights(model, str(tmp_path / "a.pt"), name="resnet20", skip=["fc.*"])
    assert torch.equal(model.fc.weight, before)
    translated = from_published(torch.load(tmp_path / "a.pt", weights_only=True))
    assert torch.equal(model.get_parameter("layer3.2.conv2.weight"), translated["layer3.2.conv2.weight"].float())


@PROGRAMS
@SHORTCUTS
def test_reordering_keeps_each_tensors_values(program: Program, shortcut: Shortcut) -> None:
    # Per-layer ternary rules see only the values, so their thresholds and scales stay the same.
    state = published_state(program, blocks=1)
    ours = from_published(state, shortcut=shortcut)
    for given, translated in zip(state.values(), ours.values(), strict=True):
        assert torch.equal(given.flatten().sort().values, translated.flatten().sort().values)


@pytest.mark.parametrize(
    ("program", "shortcut", "other"),
    [(AKAMASTER, "zeros_around", "zeros_after"), (ELLIOTHE, "zeros_after", "zeros_around")],
)
def test_the_shortcut_of_the_program_keeps_the_order_of_its_channels(
    program: Program, shortcut: Shortcut, other: Shortcut, caplog: pytest.LogCaptureFixture
) -> None:
    state = published_state(program, blocks=2)
    with caplog.at_level("INFO"):
        kept = from_published(state, shortcut=shortcut)
        assert not caplog.messages
        moved = from_published(state, shortcut=other)
    assert all(ours is given for ours, given in zip(kept.values(), state.values(), strict=True))
    differing = {name for name, value in moved.items() if not torch.equal(value, kept[name])}
    assert {name.split(".")[0] for name in differing} == {"layer2", "layer3", "fc"}
    (message,) = caplog.messages
    assert message.endswith(f"model.shortcut={shortcut} keeps the order of the file.")


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="needs the published checkpoints in TERNLAB_PUBLISHED")
@pytest.mark.parametrize("file", ["resnet20-12fca82f.th", "resnet56-4bfd9763.th"])
def test_codes_of_a_published_network_are_those_of_its_file(file: str) -> None:
    given = torch.load(PUBLISHED / file, map_location="cpu", weights_only=True)["state_dict"]
    name = file.partition("-")[0]
    settings = model_settings({"name": name, "weights": str(PUBLISHED / file), "shortcut": "zeros_around"})
    model = quantize(build_model(settings, channels=3, size=32, classes=10), "tga")
    layers = dict(quantized_layers(model))
    assert len(layers) == int(name.removeprefix("resnet"))
    for layer, found in layers.items():
        weight = given[f"module.{layer.replace('fc', 'linear')}.weight"]
        expected = quantize(nn.Sequential(_layer_of(weight)), "tga")
        assert torch.equal(codes(found).stacked(), codes(expected[0]).stacked()), layer


def _layer_of(weight: Tensor) -> nn.Module:
    filters, inputs, *kernel = weight.shape
    layer = nn.Conv2d(inputs, filters, (kernel[0], kernel[1])) if kernel else nn.Linear(inputs, filters)
    layer.weight = nn.Parameter(weight)
    return layer


def test_a_file_with_our_names_passes_unchanged(network: nn.Module) -> None:
    state = network.state_dict()
    assert from_published(state) is state


def test_a_published_file_of_another_depth_is_refused(tmp_path: Path) -> None:
    torch.save(published_state(ELLIOTHE, blocks=5), tmp_path / "a.pt")
    model = CifarResNet(3, channels=3, classes=10)
    with pytest.raises(SettingsError, match=r"(?s)unexpected in the file: layer1\.3\.conv1\.weight.*model\.name=NAME"):
        load_weights(model, str(tmp_path / "a.pt"), name="resnet20")


def test_a_pattern_may_name_translated_entries_that_only_the_file_has(tmp_path: Path) -> None:
    torch.save(published_state(ELLIOTHE, blocks=4), tmp_path / "a.pt")
    model = CifarResNet(3, channels=3, classes=10)
    load_weights(model, str(tmp_path / "a.pt"), name="resnet20", skip=["layer?.3.*"])
    given = torch.load(tmp_path / "a.pt", weights_only=True)["stage_3.2.conv_b.weight"]
    assert torch.equal(model.get_parameter("layer3.2.conv2.weight"), given.float())
