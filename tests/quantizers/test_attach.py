"""Which layers are quantized, what is refused, and reading codes back."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune
from torchvision.models import resnet18

from ternlab.core.errors import SettingsError
from ternlab.quantizers.attach import codes, latent_weight, quantize, quantized_layers, quantizer_of
from ternlab.quantizers.tga import TGA


def plain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, (1, 5), padding=(0, 2), groups=4, bias=False),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 6),
        nn.Linear(6, 5),
    )


def names(model: nn.Module) -> list[str]:
    return [name for name, _ in quantized_layers(model)]


def untouched(model: nn.Module) -> bool:
    return not any(parametrize.is_parametrized(module) for module in model.modules())


def test_every_convolution_and_linear_layer_of_a_torchvision_network_is_quantized_in_its_order() -> None:
    model = resnet18(num_classes=3)
    expected = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert quantize(model) is model
    assert names(model) == expected
    assert len(expected) == 21 and expected[0] == "conv1" and expected[-1] == "fc"
    assert "layer2.0.downsample.0" in expected
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    for _, layer in quantized_layers(model):
        threshold = next(quantizer_of(layer).thresholds())
        assert threshold.grad is not None and threshold.grad.isfinite()


def test_other_parameters_keep_their_names_and_values() -> None:
    model, fresh = quantize(plain()), plain()
    before = dict(fresh.named_parameters())
    for name, parameter in model.named_parameters():
        if name in before:
            assert torch.equal(parameter, before[name])
    for name, layer in quantized_layers(model):
        assert torch.equal(latent_weight(layer), before[f"{name}.weight"])
    assert isinstance(model[1], nn.BatchNorm2d) and not parametrize.is_parametrized(model[1])


def test_layers_with_groups_and_odd_kernels_compute_with_scale_times_codes() -> None:
    model = quantize(plain()).eval()
    for _, layer in quantized_layers(model):
        (found,) = codes(layer).planes
        assert torch.equal(found.effective(), layer.weight)
        assert {-1, 1} <= set(found.codes.unique().tolist()) <= {-1, 0, 1}
    twin = plain().eval()
    with torch.no_grad():
        for name, layer in quantized_layers(model):
            twin.get_submodule(name).weight.copy_(codes(layer).effective())
    images = torch.randn(3, 4, 6, 6)
    assert torch.equal(model(images), twin(images))


def test_first_last_full_leaves_the_first_and_the_last_layer() -> None:
    assert names(quantize(plain(), first_last="full")) == ["3", "6"]
    assert names(quantize(plain(), first_last="ternary")) == ["0", "3", "6", "7"]
    whole = names(quantize(resnet18()))
    assert names(quantize(resnet18(), first_last="full")) == whole[1:-1]


def test_include_and_exclude_choose_layers_by_name_patterns() -> None:
    assert names(quantize(resnet18(), include=("layer1.*",))) == [
        f"layer1.{block}.conv{number}" for block in (0, 1) for number in (1, 2)
    ]
    assert names(quantize(plain(), exclude=["[03]"])) == ["6", "7"]
    assert names(quantize(plain(), include=("0", "6"), exclude=("6",))) == ["0"]
    assert names(quantize(plain(), include=("0", "3"), first_last="full")) == ["3"]


def test_a_single_layer_can_be_quantized_by_itself() -> None:
    layer = quantize(nn.Linear(4, 3))
    assert names(layer) == [""]
    assert codes(layer).planes[0].codes.shape == (3, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "tgaa"}, r"quant = tgaa: no such rule\n  instead: did you mean tga\?"),
        ({"tresholds": {}}, r"quant\.tresholds: there is no such setting\n  instead: did you mean threshold\?"),
        ({"threshold": {"inti": 1}}, r"quant\.threshold\.inti: .*\n  instead: did you mean init\?"),
        ({"threshold.inti": 1}, r"quant\.threshold\.inti: .*\n  instead: did you mean init\?"),
        ({"threshold.init": -1}, r"quant\.threshold\.init = -1: .*greater than or equal to 0"),
        ({"scale": "centred"}, r"quant\.scale = centred: must be 'tga' or 'centered'\n  instead: .*scale=centered"),
        ({"first_last": "fulll"}, r"quant\.first_last = fulll: .*\n  instead: quant\.first_last=full"),
        ({"include": ("conv*",)}, r"quant\.include/exclude = conv\*: matches no layer"),
        ({"exclude": ("8",)}, r"quant\.include/exclude = 8: matches no layer"),
        ({"exclude": ("1",)}, r"matches no layer"),  # BatchNorm is no layer that could be quantized.
        ({"exclude": ("*",)}, r"no convolution or linear layer is left to quantize"),
        ({"include": ("0", "7"), "first_last": "full"}, r"no convolution or linear layer is left"),
    ],
)
def test_impossible_choices_are_refused_and_leave_the_network_as_it_was(
    arguments: dict[str, Any], message: str
) -> None:
    model = plain()
    with pytest.raises(SettingsError, match=message):
        quantize(model, **arguments)
    assert untouched(model)


def test_a_network_without_such_layers_is_refused() -> None:
    with pytest.raises(SettingsError, match="no convolution or linear layer is left"):
        quantize(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)))


def test_a_wrong_pattern_names_near_matches() -> None:
    with pytest.raises(SettingsError, match=r"did you mean .*layer1\.0\.conv1"):
        quantize(resnet18(), exclude=("layer1.0.convv1",))


def test_quantizing_twice_is_refused_and_changes_nothing() -> None:
    model = quantize(plain(), include=("6",))
    with pytest.raises(SettingsError, match="6: this layer's weight is already quantized"):
        quantize(model)
    assert names(model) == ["6"], "the layers before the refused one were left alone"
    assert len(model[6].parametrizations.weight) == 1
    assert names(quantize(model, exclude=("6",))) == ["0", "3", "6", "7"], "the others can still be quantized"


@pytest.mark.parametrize(
    "options", [{"threshold": {"init": 0.3, "unit": "sigma"}}, {"threshold.init": 0.3, "threshold.unit": "sigma"}]
)
def test_nested_and_dotted_options_are_the_same(options: dict[str, Any]) -> None:
    model = quantize(plain(), scale="centered", **options)
    for _, layer in quantized_layers(model):
        quantizer = quantizer_of(layer)
        assert isinstance(quantizer, TGA)
        assert quantizer.options.threshold.init == 0.3 and quantizer.options.scale == "centered"
        assert float(quantizer.threshold.detach()) == pytest.approx(
            0.3 * float(latent_weight(layer).detach().std()), rel=1e-5
        )


def test_options_given_by_the_caller_are_not_changed() -> None:
    threshold: dict[str, Any] = {"init": 0.3}
    quantize(plain(), threshold=threshold, **{"threshold.unit": "sigma"})
    assert threshold == {"init": 0.3}


def test_thresholds_start_from_the_weights_at_that_time() -> None:
    model = plain()
    with torch.no_grad():
        model[0].weight.mul_(10)
    largest = float(model[0].weight.detach().abs().max())
    quantize(model)
    threshold = next(quantizer_of(model[0]).thresholds())
    assert float(threshold.detach()) == pytest.approx(0.05 * largest, rel=1e-6)


def test_codes_of_a_layer_that_is_not_quantized_are_refused() -> None:
    model = quantize(plain(), exclude=("0",))
    for layer in (model[0], model[1]):
        with pytest.raises(ValueError, match=f"`layer` is {type(layer).__name__}, but must be a quantized layer"):
            codes(layer)


def test_a_layer_parametrized_by_something_else_is_not_taken_for_quantized() -> None:
    model = plain()
    nn.utils.parametrizations.weight_norm(model[6])
    assert names(model) == []
    with pytest.raises(ValueError, match="must be a quantized layer"):
        quantizer_of(model[6])


def with_old_weight_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(layer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_old_weight_norm, "is computed from weight_g, weight_v"),
        (nn.utils.spectral_norm, "is computed from weight_orig"),
        (lambda layer: prune.random_unstructured(layer, "weight", amount=0.5), "is computed from weight_orig"),
        (nn.utils.parametrizations.weight_norm, "already has the parametrization _WeightNorm"),
        (lambda layer: nn.LazyLinear(4), "has no shape yet"),
        (lambda layer: nn.Linear(0, 4), "has no weights"),
    ],
    ids=["weight_norm", "spectral_norm", "pruned", "new weight_norm", "lazy", "empty"],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors", "ignore:.*weight_norm. is deprecated")
def test_a_layer_that_cannot_be_quantized_leaves_the_network_as_it_was(change: Any, message: str) -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), change(nn.Linear(4, 4)))
    before = {name: type(module) for name, module in model.named_modules()}
    with pytest.raises(SettingsError, match=rf"^2: .*{message}"):
        quantize(model, "tga")
    assert {name: type(module) for name, module in model.named_modules()} == before
    assert not parametrize.is_parametrized(model[0])
    quantize(model, "tga", exclude=["2"])
    assert names(model) == ["0"]
