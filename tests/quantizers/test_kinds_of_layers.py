"""Every kind of layer: scales of the right filters, attention's projections, and what stays in full precision."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ternlab
from ternlab.core.errors import SettingsError
from ternlab.quantizers.attach import codes, latent_weight, quantize, quantized_layers, quantizer_of
from ternlab.quantizers.weights import quantized_weights

CONVOLUTIONS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "Conv1d": (lambda: nn.Conv1d(6, 4, 3, groups=2), (2, 6, 9)),
    "Conv3d": (lambda: nn.Conv3d(3, 4, (1, 3, 2)), (2, 3, 4, 5, 4)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(6, 4, 3, stride=2), (2, 6, 5)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1), (2, 6, 4, 5)),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(2, 3, 2), (2, 2, 3, 3, 3)),
    "groups": (lambda: nn.ConvTranspose2d(6, 9, 3, groups=3), (2, 6, 4, 5)),
    "depthwise": (lambda: nn.ConvTranspose2d(4, 4, 2, groups=4, bias=False), (2, 4, 4, 5)),
}
RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "tga": ("tga", {}),
    "twn of filters": ("twn", {"granularity": "filter"}),
    "bwn": ("bwn", {}),
    "lsq of filters": ("lsq", {"granularity": "filter"}),
    "seq": ("seq", {}),
    "ttq": ("ttq", {"first_scale": "mean"}),
    "planes of filters": ("sws", {"granularity": "filter", "rel.factors": (0.05, 0.3)}),
}


def filter_of(layer: Any, weight: Tensor, number: int) -> Tensor:
    """Return the weights that compute output channel `number`, found by computing with an image of one at a time."""
    if not isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return weight[number]
    group, place = divmod(number, layer.out_channels // layer.groups)
    inputs = layer.in_channels // layer.groups
    return weight[group * inputs : (group + 1) * inputs, place]


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_filter_is_what_computes_an_output_channel(kind: str) -> None:
    build, shape = CONVOLUTIONS[kind]
    layer: Any = build()
    images = torch.randn(shape)
    for number in range(layer.out_channels):
        with torch.no_grad():
            layer.weight.fill_(1)
            before = layer(images)
            filter_of(layer, layer.weight, number).zero_()
            changed = (layer(images) != before).flatten(2).any(2).any(0)
        assert changed.nonzero().flatten().tolist() == [number]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_each_filter_is_quantized_as_a_filter_of_a_linear_layer(kind: str, rule: str) -> None:
    torch.manual_seed(3)
    build, shape = CONVOLUTIONS[kind]
    layer: Any = build()
    plain = layer.weight.detach().clone()
    name, options = RULES[rule]
    quantize(layer, name, **options)
    filters = torch.stack([filter_of(layer, plain, number).flatten() for number in range(layer.out_channels)])
    twin = nn.Linear(filters.shape[1], filters.shape[0])
    twin.weight = nn.Parameter(filters.clone())
    quantize(twin, name, **options)
    effective = layer.weight.detach()
    for number, expected in enumerate(twin.weight.detach()):
        torch.testing.assert_close(filter_of(layer, effective, number).flatten(), expected)
    found = codes(layer)
    assert found.stacked().shape[1:] == layer.weight.shape and torch.equal(found.effective(), layer.weight)
    own, of_twin = found.planes, codes(twin).planes
    assert [plane.scale.numel() for plane in own] == [plane.scale.numel() for plane in of_twin]
    layer(torch.randn(shape)).square().sum().backward()
    assert torch.isfinite(latent_weight(layer).grad).all() and latent_weight(layer).grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in quantizer_of(layer).parameters())


class Attends(nn.Module):
    """Attention as a user writes it, over tokens of a width."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True, **options)
        self.fc = nn.Linear(8, 3)
        self.other = options

    def forward(self, tokens: Tensor) -> Tensor:
        key = tokens[..., : self.other.get("kdim", 8)]
        value = tokens[..., : self.other.get("vdim", 8)]
        if not self.other:
            key = value = tokens
        return self.fc(self.attn(tokens, key, value, need_weights=False)[0].mean(1))  # type: ignore[no-any-return]


def by_hand(model: Attends, tokens: Tensor) -> Tensor:
    """Attention written with matrix products, from the codes alone."""
    effective = {weight.name: weight.codes().effective() for weight in quantized_weights(model)}
    if "attn.in_proj_weight" in effective:
        query, key, value = effective["attn.in_proj_weight"].chunk(3)
    else:
        query, key, value = (effective[f"attn.{name}_proj_weight"] for name in "qkv")
    heads = []
    for matrix, bias in zip((query, key, value), model.attn.in_proj_bias.chunk(3), strict=True):
        one = F.linear(tokens[..., : matrix.shape[1]], matrix, bias)
        heads.append(one.unflatten(2, (2, 4)).transpose(1, 2))
    query, key, value = heads
    shares = (query @ key.transpose(2, 3) / 2).softmax(3)
    mixed = (shares @ value).transpose(1, 2).flatten(2)
    mixed = F.linear(mixed, effective["attn.out_proj"], model.attn.out_proj.bias)
    return F.linear(mixed.mean(1), effective["fc"], model.fc.bias)


@pytest.mark.parametrize("options", [{}, {"kdim": 6, "vdim": 5}], ids=["one matrix", "three matrices"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("grad", [True, False])
def test_attention_computes_with_its_codes(options: dict[str, Any], training: bool, grad: bool) -> None:
    torch.manual_seed(0)
    model = quantize(Attends(**options), "twn").train(training)
    projections = [f"attn.{name}_proj_weight" for name in "qkv"] if options else ["attn.in_proj_weight"]
    assert [weight.name for weight in quantized_weights(model)] == [*projections, "attn.out_proj", "fc"]
    tokens = torch.randn(2, 5, 8)
    with torch.set_grad_enabled(grad):
        found = model(tokens)
    # In evaluation mode without gradients torch takes a fused kernel, which reads the weights itself.
    torch.testing.assert_close(found.detach(), by_hand(model, tokens).detach(), rtol=1e-4, atol=1e-5)
    if grad:
        found.square().sum().backward()
        for weight in quantized_weights(model):
            assert weight.latent.grad is not None and weight.latent.grad.abs().sum() > 0


def test_the_fused_encoder_layer_computes_with_the_codes() -> None:
    torch.manual_seed(0)
    model = quantize(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), "bwn").eval()
    assert len(list(quantized_weights(model))) == 4
    tokens = torch.randn(3, 5, 8)
    with torch.no_grad():
        fused = model(tokens)
    torch.testing.assert_close(fused, model(tokens).detach(), rtol=1e-4, atol=1e-5)
    plain = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    state = {**{name: value for name, value in model.state_dict().items() if "parametrizations" not in name}}
    state |= {
        weight.name if weight.parameter != "weight" else f"{weight.name}.weight": weight.codes().effective()
        for weight in quantized_weights(model)
    }
    plain.load_state_dict(state)
    torch.testing.assert_close(fused, plain(tokens).detach(), rtol=1e-4, atol=1e-5)


def test_a_layer_with_several_quantized_weights_asks_which() -> None:
    model = quantize(Attends(kdim=6, vdim=5), "twn")
    layer = dict(quantized_layers(model))["attn"]
    with pytest.raises(ValueError, match="several quantized weights: pass parameter='q_proj_weight'"):
        codes(layer)
    assert codes(layer, "k_proj_weight").planes[0].codes.shape == (8, 6)
    with pytest.raises(ValueError, match="no quantized weight 'weight'"):
        latent_weight(layer, "weight")


def test_attention_is_chosen_and_refused_by_the_names_of_its_weights() -> None:
    model = quantize(Attends(), {"attn.*": "twn", "fc": {"name": "uniform", "bits": 4}})
    assert [weight.name for weight in quantized_weights(model)] == ["attn.in_proj_weight", "attn.out_proj", "fc"]
    with pytest.raises(SettingsError, match=r"attn\.in_proj_weight: this layer's weight is already quantized"):
        quantize(model, include=["attn.*"])
    only = quantize(Attends(), exclude=["attn.in_proj_weight"])
    assert [weight.name for weight in quantized_weights(only)] == ["attn.out_proj", "fc"]


# --- what stays in full precision --------------------------------------------------------------------------------


class Reads(nn.Module):
    """A recurrent network with an embedding, which is tied to the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 6)
        self.lstm = nn.LSTM(6, 6)
        self.norm = nn.LayerNorm(6)
        self.fc = nn.Linear(6, 11, bias=False)
        self.fc.weight = self.words.weight
        self.scale = nn.Parameter(torch.ones(1, 1, 6))


def test_what_stays_in_full_precision_is_named_with_its_share() -> None:
    model = quantize(Reads(), "tga")
    found = ternlab.full_precision(model)
    assert {weight.name: (weight.kind, weight.elements) for weight in found.weights} == {
        "scale": ("Reads", 6),
        "words": ("Embedding", 66),
        "lstm.weight_ih_l0": ("LSTM", 144),
        "lstm.weight_hh_l0": ("LSTM", 144),
    }
    assert (found.others, found.quantized) == (48 + 12, 0), "the tied weight is also used in full precision"
    assert found.elements == found.parameters == sum(parameter.numel() for parameter in Reads().parameters())


def test_shares_add_up_and_choices_are_not_called_unsupported() -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.Linear(5, 4), nn.LSTM(4, 2))
    total = sum(parameter.numel() for parameter in model.parameters())
    found = ternlab.full_precision(quantize(model, "ttq", exclude=["2"]))
    assert found.parameters == total and found.quantized == 18
    assert found.share == pytest.approx(1 - 18 / total)
    assert [(weight.name, weight.supported) for weight in found.weights] == [
        ("2", True),
        ("3.weight_ih_l0", False),
        ("3.weight_hh_l0", False),
    ]
    assert str(found).startswith(f"{total - 18} of {total} parameters (")
    assert "3.weight_ih_l0 (LSTM, 32)" in str(found)


@pytest.mark.parametrize(("hidden", "warned"), [(2, False), (20, True)])
def test_many_weights_of_unsupported_layers_are_said(
    hidden: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    model = nn.Sequential(nn.Linear(40, 40), nn.GRU(hidden, hidden))
    with caplog.at_level(logging.WARNING):
        quantize(model)
    assert ("stay in full precision" in caplog.text) is warned
    if warned:
        assert "60.0 % of the weights" in caplog.text and "1.weight_ih_l0 (GRU, 1,200)" in caplog.text


def test_a_plain_network_is_all_in_full_precision() -> None:
    found = ternlab.full_precision(nn.Linear(3, 2))
    assert (found.share, found.weights[0].name, found.others) == (1, "", 2)
    assert ternlab.full_precision(nn.ReLU()).share == 0
