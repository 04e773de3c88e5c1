"""Layers stay trainable in a loop that knows nothing of rules, and one that cannot learn is reported once."""

from __future__ import annotations

import copy
import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

import ternlab
from ternlab.quantizers.attach import attach, codes, latent_weight, plan_of, quantize, quantizer_of
from ternlab.quantizers.guard import FIRST_LOOK, unguard
from ternlab.quantizers.plan import LayerChoice, LayerRule
from ternlab.quantizers.registry import rule_options

CLAMP = 1e-3


def classifier(scale: float = 1.0, **options: Any) -> tuple[nn.Module, nn.Parameter, Tensor, Tensor]:
    """Return the last layer of a large network under TGA, its threshold, and features with their labels."""
    torch.manual_seed(0)
    layer = quantize(nn.Linear(1024, 10), "tga", **options)
    labels = torch.arange(64) % 10
    features = scale * (torch.randn(10, 1024)[labels] + torch.randn(64, 1024)).relu()
    (threshold,) = quantizer_of(layer).thresholds()
    return layer, threshold, features, labels


def closure_of(layer: nn.Module, features: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        layer.zero_grad()
        loss = nn.functional.cross_entropy(layer(features), labels)
        loss.backward()
        return loss

    return closure


def zeros(layer: nn.Module) -> float:
    return codes(layer).zeros() / latent_weight(layer).numel()


def test_plain_sgd_over_all_parameters_trains_a_last_layer() -> None:
    layer, threshold, features, labels = classifier()
    optimizer = SGD(layer.parameters(), lr=0.01, momentum=0.9)
    closure = closure_of(layer, features, labels)
    closure()
    assert threshold.grad is not None and abs(float(threshold.grad)) > 1000 * CLAMP
    for _ in range(30):
        closure()
        optimizer.step()
    assert zeros(layer) < 0.5
    assert float(closure().detach()) < 0.1 * math.log(10)


def attached(weight: Tensor) -> nn.Module:
    """Return a layer as a run has it."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data.copy_(weight)
    rule = LayerRule(name="tga", options=rule_options("tga", {}))
    return attach(layer, plan_of(layer, rule, LayerChoice()))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("weights", ["uniform", "gaussian"])
def test_a_threshold_outside_its_range_leaves_codes_and_comes_back(weights: str, sign: int) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(200, 10)
    if weights == "gaussian":
        nn.init.normal_(layer.weight, std=0.05)
    quantize(layer, "tga")
    quantizer, weight = quantizer_of(layer), latent_weight(layer)
    (threshold,) = quantizer.thresholds()
    sigma = float(weight.std())
    with torch.no_grad():
        threshold.fill_(sign * 3.001 * sigma)
    assert 0.3 < zeros(layer) < 0.6, "the threshold with the smallest error"
    assert torch.equal(codes(layer).effective(), layer.weight)
    optimizer = SGD([threshold], lr=1.0)
    features = torch.randn(8, 200)
    for step in range(200):
        before = float(threshold.detach().abs())
        optimizer.zero_grad()
        # Either sign of the gradient occurs.
        (layer(features).sum() * (-1) ** step).backward()
        optimizer.step()
        assert float(threshold.detach().abs()) < before or before < 3 * sigma
        assert zeros(layer) < 1
        if before < (1.72 if weights == "uniform" else 3) * sigma:
            return
    raise AssertionError("the threshold does not come back")


def test_a_run_computes_as_published_also_outside_the_range() -> None:
    torch.manual_seed(0)
    weight = torch.rand(10, 200) - 0.5
    layer = attached(weight)
    (threshold,) = quantizer_of(layer).thresholds()
    with torch.no_grad():
        threshold.fill_(5.0)
    assert not quantizer_of(layer).guarded
    assert zeros(layer) == 1
    layer(torch.randn(3, 200)).sum().backward()
    assert threshold.grad is not None and float(threshold.grad) == 0


def test_inside_its_range_a_guarded_rule_computes_as_published() -> None:
    torch.manual_seed(0)
    plain = attached(torch.randn(10, 200))
    guarded = quantize(nn.Linear(200, 10), "tga")
    guarded.load_state_dict(plain.state_dict())
    features = torch.randn(5, 200)
    for layer in (plain, guarded):
        layer(features).square().sum().backward()
    assert torch.equal(plain(features), guarded(features))
    for one, other in zip(plain.parameters(), guarded.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None and torch.equal(one.grad, other.grad)


STEPS: dict[str, Callable[[Optimizer, Callable[[], Tensor]], Any]] = {
    "after backward": lambda optimizer, closure: (closure(), optimizer.step()),
    "with a closure": lambda optimizer, closure: optimizer.step(closure),
    "with a named closure": lambda optimizer, closure: optimizer.step(closure=closure),
}


@pytest.mark.parametrize("way", STEPS)
def test_gradients_of_thresholds_are_published_until_the_step_clamps_them(way: str) -> None:
    layer, threshold, features, labels = classifier()
    first, before = float(threshold.detach()), layer.bias.detach().clone()
    seen: list[float] = []
    passed = closure_of(layer, features, labels)

    def closure() -> Tensor:
        loss = passed()
        assert threshold.grad is not None
        seen.append(float(threshold.grad))
        return loss

    STEPS[way](SGD(layer.parameters(), lr=0.5), closure)
    assert abs(seen[0]) > CLAMP
    assert first - float(threshold.detach()) == pytest.approx(0.5 * math.copysign(CLAMP, seen[0]), rel=1e-4)
    torch.testing.assert_close(layer.bias.detach(), before - 0.5 * layer.bias.grad)
    assert float(layer.bias.grad.abs().max()) > CLAMP, "other gradients are not clamped"


def test_the_bound_is_that_of_the_rule_and_null_is_none() -> None:
    for clamp in (0.01, None):
        layer, threshold, features, labels = classifier(threshold={"clamp": clamp})
        first = float(threshold.detach())
        closure_of(layer, features, labels)()
        raw = float(threshold.grad)
        SGD(layer.parameters(), lr=1e-3).step()
        moved = (first - float(threshold.detach())) / 1e-3
        assert moved == pytest.approx(raw if clamp is None else math.copysign(clamp, raw), rel=1e-2)


def test_a_copy_is_guarded_too() -> None:
    layer, _, features, labels = classifier()
    twin = copy.deepcopy(layer)
    (threshold,) = quantizer_of(twin).thresholds()
    first = float(threshold.detach())
    optimizer = SGD(twin.parameters(), lr=1.0)
    closure_of(twin, features, labels)()
    optimizer.step()
    assert abs(float(threshold.detach()) - first) == pytest.approx(CLAMP, rel=1e-3)


def test_a_gradient_scaler_does_not_change_the_bound() -> None:
    moved = []
    for enabled in (False, True):
        layer, threshold, features, labels = classifier()
        first = float(threshold.detach())
        scaler = torch.amp.GradScaler("cpu", enabled=enabled, init_scale=1024.0)
        optimizer = SGD(layer.parameters(), lr=1.0)
        scaler.scale(nn.functional.cross_entropy(layer(features), labels)).backward()
        scaler.step(optimizer)
        moved.append(float(threshold.detach()) - first)
    assert moved[0] == moved[1] and abs(moved[0]) == pytest.approx(CLAMP, rel=1e-3)


def test_every_summand_of_an_expansion_is_guarded() -> None:
    layer = quantize(nn.Linear(200, 10), "tga", rel={"factors": [0.05, 0.1]})
    thresholds = list(quantizer_of(layer).thresholds())
    with torch.no_grad():
        for threshold in thresholds:
            threshold.fill_(5.0)
    assert all((plane.codes != 0).any() for plane in codes(layer).planes)
    layer(torch.randn(4, 200)).square().sum().backward()
    before = [float(threshold.detach()) for threshold in thresholds]
    SGD(layer.parameters(), lr=1.0).step()
    for threshold, first in zip(thresholds, before, strict=True):
        assert first - float(threshold.detach()) == pytest.approx(CLAMP, rel=1e-2)


def test_the_training_of_a_run_takes_over() -> None:
    layer, threshold, features, labels = classifier()
    unguard(layer)
    first = float(threshold.detach())
    closure_of(layer, features, labels)()
    SGD(layer.parameters(), lr=1e-3).step()
    assert abs(float(threshold.detach()) - first) > 100 * 1e-3 * CLAMP


def passes(layer: nn.Module, count: int) -> list[str]:
    """Return the warnings of `count` forward passes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(count):
            layer(torch.randn(2, *latent_weight(layer).shape[1:]))
    return [str(warning.message) for warning in caught]


def dead() -> nn.Module:
    """Return a layer all of whose codes are 0, because its trained step has left its weights behind."""
    model = nn.Sequential(nn.Linear(20, 10))
    quantize(model, "lsq")
    with torch.no_grad():
        quantizer_of(model[0]).get_parameter("step").fill_(100.0)
    return model


def test_a_layer_of_zeros_is_reported_once_with_its_name_rule_and_remedy() -> None:
    model = dead()
    assert passes(model[0], FIRST_LOOK - 1) == []
    (message,) = passes(model[0], 20 * FIRST_LOOK)
    assert message.startswith("Layer 0 (lsq): all of its codes are 0")
    assert "instead: a smaller learning rate, or a smaller factor" in message


def test_a_layer_that_dies_later_is_reported_after_at_most_twice_as_many_passes() -> None:
    layer = nn.Sequential(quantize(nn.Linear(20, 10), "lsq"))[0]
    assert passes(layer, 100) == []
    with torch.no_grad():
        quantizer_of(layer).get_parameter("step").fill_(100.0)
    assert len(passes(layer, 100)) == 1


def test_nothing_is_reported_in_evaluation_nor_of_layers_that_learn() -> None:
    model = dead().eval()
    assert passes(model[0], 5 * FIRST_LOOK) == []
    for rule in ("tga", "sws", "twn", "ttq", "bwn", "absmean", "lsq", "seq", "uniform"):
        assert passes(quantize(nn.Linear(20, 10), rule), 5 * FIRST_LOOK) == [], rule


@pytest.mark.parametrize(
    ("rule", "weight", "fault"),
    [
        ("bwn", torch.rand(8, 8) + 0.1, "all of its codes are 1"),
        ("twn", torch.zeros(8, 8), "all of its weights are 0"),
        ("sws", 10 * torch.linspace(-1, 1, 64).view(8, 8), r"\d+% .* get no gradient: .* larger surrogate.bound"),
        ("absmean", torch.linspace(-1, 1, 64).view(8, 8) * 1e-6, "all of its codes are 0"),
    ],
)
def test_faults_of_other_rules(rule: str, weight: Tensor, fault: str) -> None:
    layer = nn.Linear(8, 8)
    layer.weight.data.copy_(weight)
    quantize(layer, rule)
    (message,) = passes(layer, 2 * FIRST_LOOK)
    assert re.search(fault, message, re.DOTALL)


@pytest.mark.parametrize(
    ("threshold", "fault"), [(5.0, "its threshold 5 is beyond 3 sigma"), (0.28, "is beyond all of its weights")]
)
def test_a_threshold_outside_its_range_is_reported(threshold: float, fault: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(16, 10)
    nn.init.uniform_(layer.weight, -0.25, 0.25)
    quantize(layer, "tga")
    with torch.no_grad():
        next(quantizer_of(layer).thresholds()).fill_(threshold)
    (message,) = passes(layer, 2 * FIRST_LOOK)
    assert fault in message
    assert "instead: a smaller threshold.init or threshold.lr (ternlab.param_groups" in message


def test_a_compiled_network_has_no_graph_breaks() -> None:
    layer = dead()
    compiled: Any = torch.compile(layer, backend="eager", fullgraph=True)
    for _ in range(2 * FIRST_LOOK):
        compiled(torch.randn(2, 20))


def test_adam_over_the_groups_trains_a_last_layer() -> None:
    layer, _, features, labels = classifier()
    optimizer = Adam(ternlab.param_groups(layer, lr=0.01, threshold_lr=1e-5))
    closure = closure_of(layer, features, labels)
    for _ in range(60):
        closure()
        optimizer.step()
    assert zeros(layer) < 0.5 and float(closure().detach()) < 0.1 * math.log(10)


@pytest.mark.parametrize("rule", ["tga", "ttq", "twn", "bwn", "lsq"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_said_once(rule: str, value: float, recwarn: pytest.WarningsRecorder) -> None:
    layer = quantize(nn.Linear(8, 8), rule)
    with torch.no_grad():
        latent_weight(layer)[0, 0] = value
    for _ in range(70):
        layer(torch.randn(2, 8))
    (said,) = (str(one.message) for one in recwarn)
    assert f"({rule}): some of its weights are NaN or infinite" in said


def test_a_run_leaves_weights_that_are_not_finite_to_its_loss() -> None:
    weight = torch.full((8, 8), math.nan)
    assert quantizer_of(attached(torch.randn(8, 8))).fault(weight) is None
    assert quantizer_of(quantize(nn.Linear(8, 8), "tga")).fault(weight) is not None
