"""What is found out before the first step: images per batch, unused parameters, the cost of the stem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ternlab.core.errors import ExitCode, SettingsError
from ternlab.data.loaders import Share
from ternlab.export.onnx_file import onnx_model, write_onnx
from ternlab.export.runtimes import onnx_runtime
from ternlab.models.build import build_model
from ternlab.models.registry import model_settings
from ternlab.quantizers.attach import quantize
from ternlab.training.network import Shape
from ternlab.training.rehearsal import rehearse_step
from ternlab.training.stem_cost import stem_cost
from ternlab.training.trainer import unused_parameters_explained
from tests.auxiliary import Auxiliary
from tests.commands.run_command import TINY
from tests.commands.warm_command import run
from tests.settings_for_tests import tiny_settings
from tests.training.test_resume import contents, start

SHAPE = Shape(1, 8, 10)


def auxiliary_settings(runs: Path, output: str, **changes: Any) -> Any:
    return tiny_settings(runs, plugins=["tests.auxiliary"], model={"name": f"auxiliary_{output}"}, **changes)


@pytest.mark.parametrize("output", ["tuple", "dict"])
def test_a_network_with_auxiliary_heads_trains_as_one_that_returns_its_logits(output: str, tmp_path: Path) -> None:
    found = contents(*start(auxiliary_settings(tmp_path, output)))
    expected = contents(*start(auxiliary_settings(tmp_path, "tensor")))
    assert found["metrics"] == expected["metrics"]
    assert all(torch.equal(found["weights"][name], value) for name, value in expected["weights"].items())


def test_its_onnx_file_has_the_logits_as_its_only_output(tmp_path: Path) -> None:
    model = quantize(Auxiliary(1, 10, "dict"), "tga").eval()
    proto = onnx_model(model, (1, 8, 8), integers=True)
    assert [output.name for output in proto.graph.output] == ["logits"]
    names = {entry.name for entry in proto.graph.initializer}
    assert {"body.0.weight.0.codes", "head.weight.0.codes"} <= names
    write_onnx(proto, tmp_path / "net.onnx", {})
    images = torch.randn(3, 1, 8, 8)
    with torch.inference_mode():
        expected = model(images)["logits"]
    logits = torch.from_numpy(onnx_runtime(tmp_path / "net.onnx", "").logits(images.numpy()))
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("changes", "world", "message"),
    [
        ({"data__batch_size": 1}, 1, r"data\.batch_size = 1: gives each process one image.*data\.batch_size=2 or more"),
        ({"data__batch_size": 2}, 2, r"data\.batch_size = 2: .*instead: data\.batch_size=4 or more"),
        ({"data__limit_train": 1}, 1, r"data\.limit_train = 1: .*only 1 training images.*data\.limit_train=2 or more"),
    ],
)
def test_one_image_per_batch_is_refused_with_a_remedy(
    changes: dict[str, Any], world: int, message: str, tmp_path: Path
) -> None:
    settings = auxiliary_settings(tmp_path, "tensor", **changes)
    share = Share(min(settings.data.batch_size, settings.data.limit_train or 10**6), 0, world)
    with pytest.raises(SettingsError, match=f"(?s){message}"):
        rehearse_step(Auxiliary(1, 10, "tensor"), SHAPE, share, settings)


def test_the_refusal_comes_before_training(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="one image"):
        start(auxiliary_settings(tmp_path, "tensor", data__batch_size=1))
    # A network with larger feature maps has more than one value per channel.
    start(tiny_settings(tmp_path, data__batch_size=1, data__limit_train=4, trainer__max_epochs=1))


def test_the_rehearsal_finds_unused_parameters_and_changes_nothing(tmp_path: Path) -> None:
    model = quantize(Auxiliary(1, 10, "tuple"), "tga")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    drawn = torch.get_rng_state()
    found = rehearse_step(model, SHAPE, Share(8, 0, 2), auxiliary_settings(tmp_path, "tuple"))
    original = "auxiliary.parametrizations.weight"
    assert found == ["auxiliary.bias", f"{original}.original", f"{original}.0.threshold"]
    assert model.steps == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)


def test_nothing_is_rehearsed_where_nothing_can_be_found(tmp_path: Path) -> None:
    class Fails(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise AssertionError

    assert rehearse_step(Fails(), SHAPE, Share(8), auxiliary_settings(tmp_path, "tuple")) == []


@pytest.mark.parametrize(
    "message",
    [
        "Expected to have finished reduction in the prior iteration before starting a new one.",
        "It looks like your LightningModule has parameters that were not used in producing the loss returned by",
    ],
)
def test_errors_about_gradients_of_processes_name_the_setting(message: str) -> None:
    remedy = r"instead: trainer\.find_unused_parameters=true"
    with pytest.raises(SettingsError, match=remedy), unused_parameters_explained():
        raise RuntimeError(message)
    with pytest.raises(RuntimeError, match="other"), unused_parameters_explained():
        raise RuntimeError("other")


@pytest.mark.slow
def test_two_processes_train_a_network_with_unused_parameters(tmp_path: Path) -> None:
    given = [word for word in TINY if not word.startswith(("model", "plugins", "quant", "trainer.max"))]
    words = (*given, "plugins=[tests.auxiliary]", "quant=none", "trainer.devices=2", "trainer.max_epochs=1")
    code, _, err = run(tmp_path, *words, "model.name=auxiliary_tuple")
    assert code == ExitCode.DONE, err
    assert "parameters that training does not use: auxiliary.weight, auxiliary.bias" in err
    changing = (*words, "model.name=auxiliary_changing")
    code, _, err = run(tmp_path, *changing)
    assert code == ExitCode.BAD_SETTINGS and "instead: trainer.find_unused_parameters=true" in err, err
    code, _, err = run(tmp_path, *changing, "trainer.find_unused_parameters=true")
    assert code == ExitCode.DONE, err


@pytest.mark.parametrize("name", ["resnet18", "alexnet"])
def test_the_cost_of_a_small_stem_is_said_for_larger_images(name: str) -> None:
    settings = model_settings({"name": name})
    line = stem_cost(settings, Shape(3, 64, 200)) or ""
    small, large = (
        _macs(build_model(model_settings({"name": name, "stem": stem}), channels=3, size=64, classes=200))
        for stem in ("small", "imagenet")
    )
    assert line == (
        f"model.stem=auto is small at 64 pixels: {small / 1e9:.2f} GMACs per image; "
        f"model.stem=imagenet takes {large / 1e9:.2f}"
    )
    assert small > 3 * large
    for shape in (Shape(3, 32, 10), Shape(3, 65, 10), Shape(3, 224, 10)):
        assert stem_cost(settings, shape) is None
    assert stem_cost(model_settings({"name": name, "stem": "small"}), Shape(3, 64, 10)) is None
    assert stem_cost(model_settings({"name": "resnet20"}), Shape(3, 64, 10)) is None


def _macs(model: nn.Module) -> int:
    """Count with torch's own counter of operations."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, 64, 64))
    found: int = counter.get_total_flops() // 2
    return found
