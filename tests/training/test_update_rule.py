"""The order of the steps, the clamp, the groups of parameters, and going on from a state."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ternlab.optimizers.groups import threshold_parameters
from ternlab.optimizers.registry import optim_settings
from ternlab.optimizers.settings import OptimSettings
from ternlab.quantizers.attach import codes, latent_weight, quantize, quantizer_of
from ternlab.settings.quant import QuantSettings, quant_settings
from ternlab.training.optimizers import build_optimizer
from ternlab.training.update_rule import TernaryOptimizer
from tests.small_network import small_network

VECTORS = Path(__file__).parents[1] / "quantizers" / "tga_vectors.json"
TWO_STEP: dict[str, Any] = json.loads(VECTORS.read_text(encoding="utf-8"))["two_step"]


def settings_of(update: str = "joint", **threshold: Any) -> QuantSettings:
    return quant_settings({"name": "tga", "update": update, "threshold": threshold})


def closure_of(model: nn.Module, optimizer: Optimizer, seed: int = 0) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(6, 2, 6, 6, generator=generator)
    labels = torch.randint(3, (6,), generator=generator)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        return loss

    return closure


def values_of(model: nn.Module) -> list[Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def two_step(sequential: bool) -> list[dict[str, Any]]:
    """Carry out the iterations of the check values; return what each one left behind."""
    layer = nn.Linear(4, 2, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(TWO_STEP["weight"], dtype=torch.float64))
    quantize(layer)
    (threshold,) = threshold_parameters(layer)
    with torch.no_grad():
        threshold.fill_(TWO_STEP["delta"])
    sgd = {"lr": TWO_STEP["lr"], "momentum": TWO_STEP["momentum"], "nesterov": True}
    optimizer = TernaryOptimizer(
        SGD([latent_weight(layer)], **sgd), SGD([threshold], **sgd), sequential=sequential, clamps=[1e-3]
    )
    x, target = (torch.tensor(TWO_STEP[name], dtype=torch.float64) for name in ("x", "target"))
    iterations = []
    for _ in TWO_STEP["iterations"]:
        passes: list[dict[str, Any]] = []

        def closure(passes: list[dict[str, Any]] = passes) -> Tensor:
            optimizer.zero_grad()
            loss = 0.5 * ((layer(x) - target) ** 2).sum() / 3
            loss.backward()
            passes.append({"loss": float(loss.detach()), "codes": codes(layer), "gradient": float(threshold.grad)})
            return loss

        returned = float(optimizer.step(closure).detach())
        iterations.append(
            {
                "passes": passes,
                "returned": returned,
                "raw": optimizer.mean_gradients()[0],
                "delta": float(threshold.detach()),
                "weight": latent_weight(layer).detach().clone(),
            }
        )
    return iterations


def test_three_sequential_iterations_reproduce_the_check_values() -> None:
    for found, expected in zip(two_step(sequential=True), TWO_STEP["iterations"], strict=True):
        first, second = found["passes"]
        assert first["loss"] == pytest.approx(expected["loss_threshold_pass"], abs=1e-10)
        assert first["gradient"] == pytest.approx(expected["grad_delta"], abs=1e-10)
        assert found["raw"] == pytest.approx(abs(expected["grad_delta"]), abs=1e-10)
        assert found["delta"] == pytest.approx(expected["delta_after"], abs=1e-12)
        assert second["loss"] == found["returned"] == pytest.approx(expected["loss_weight_pass"], abs=1e-10)
        assert second["codes"].planes[0].codes.tolist() == expected["ternary_weight_pass"]
        assert float(second["codes"].planes[0].scale) == pytest.approx(expected["S_weight_pass"], abs=1e-10)
        after = torch.tensor(expected["weight_after"], dtype=torch.float64)
        torch.testing.assert_close(found["weight"], after, rtol=0, atol=1e-10)


def test_joint_takes_one_pass_and_steps_the_weights_with_its_gradient() -> None:
    joint = two_step(sequential=False)
    first = TWO_STEP["iterations"][0]
    assert [len(iteration["passes"]) for iteration in joint] == [1, 1, 1]
    assert joint[0]["returned"] == pytest.approx(first["loss_threshold_pass"], abs=1e-10)
    assert joint[0]["delta"] == pytest.approx(first["delta_after"], abs=1e-12), "the first threshold step is the same"
    after = torch.tensor(first["weight_after"], dtype=torch.float64)
    difference = float((joint[0]["weight"] - after).abs().max())
    assert 1e-7 < difference < 1e-2


@pytest.mark.parametrize(("update", "passes"), [("sequential", 2), ("joint", 1)])
def test_batchnorm_sees_the_batch_once_for_each_pass(update: str, passes: int) -> None:
    model = quantize(small_network(bias=False))
    optimizer = build_optimizer(model, OptimSettings(), settings_of(update))
    calls = []
    closure = closure_of(model, optimizer)
    optimizer.step(lambda: (calls.append(1), closure())[1])
    assert len(calls) == int(model[1].num_batches_tracked) == passes


def test_sequential_steps_only_thresholds_before_the_second_pass() -> None:
    model = quantize(small_network(bias=False))
    optimizer = build_optimizer(model, OptimSettings(), settings_of("sequential"))
    thresholds = {name for name, _ in model.named_parameters() if name.endswith("threshold")}
    snapshots: list[dict[str, Tensor]] = [{name: p.detach().clone() for name, p in model.named_parameters()}]
    closure = closure_of(model, optimizer)

    def watched() -> Tensor:
        snapshots.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return closure()

    optimizer.step(watched)
    start, first, second = snapshots
    end = dict(model.named_parameters())
    assert all(torch.equal(start[name], first[name]) for name in start)
    for name in start:
        assert torch.equal(first[name], second[name]) == (name not in thresholds), name
        assert torch.equal(second[name], end[name]) == (name in thresholds), name


def test_a_missing_closure_is_refused_before_anything_moves() -> None:
    model = quantize(small_network(bias=False))
    optimizer = build_optimizer(model, OptimSettings(), settings_of())
    closure_of(model, optimizer)()
    before = values_of(model)
    with pytest.raises(ValueError, match="`closure` is None"):
        optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(before, values_of(model), strict=True))


@pytest.mark.parametrize("clamp", [1e-3, 0.5, None])
def test_gradient_that_was_accumulated_is_clamped_as_a_whole(clamp: float | None) -> None:
    # Two micro-batches of +0.8 and -0.3: the sum 0.5 is clamped, not each part.
    weight, threshold = nn.Parameter(torch.ones(2)), nn.Parameter(torch.tensor(1.0))
    optimizer = TernaryOptimizer(SGD([weight], lr=1.0), SGD([threshold], lr=1.0), sequential=False, clamps=[clamp])

    def closure() -> Tensor:
        optimizer.zero_grad()
        for part in (0.8, -0.3):
            (part * threshold + weight.sum()).backward()
        return torch.zeros(())

    optimizer.step(closure)
    assert float(threshold.detach()) == pytest.approx(1 - min(0.5, clamp or 1.0), abs=1e-6)
    assert weight.tolist() == [-1.0, -1.0], "gradients of weights are not clamped"
    assert optimizer.mean_gradients() == pytest.approx([0.5])


def test_both_signs_of_a_gradient_are_clamped() -> None:
    thresholds = [nn.Parameter(torch.tensor(1.0)) for _ in range(3)]
    optimizer = TernaryOptimizer(
        SGD([nn.Parameter(torch.ones(1))], lr=1.0), SGD(thresholds, lr=1.0), sequential=False, clamps=[0.01]
    )

    def closure() -> Tensor:
        loss = 5 * thresholds[0] - 5 * thresholds[1] + 0.005 * thresholds[2]
        loss.backward()
        return loss

    optimizer.step(closure)
    assert [float(t.detach()) for t in thresholds] == pytest.approx([0.99, 1.01, 0.995], abs=1e-6)


def test_mean_gradients_average_the_passes_since_the_last_call() -> None:
    threshold, unused = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(1.0))
    optimizer = TernaryOptimizer(
        SGD([nn.Parameter(torch.ones(1))], lr=1.0), SGD([threshold, unused], lr=0.1), sequential=False, clamps=[1e-3]
    )
    assert optimizer.mean_gradients() == []

    def passed(gradient: float) -> None:
        def closure() -> Tensor:
            optimizer.zero_grad()
            (gradient * threshold).backward()
            return torch.zeros(())

        optimizer.step(closure)

    for gradient in (2.0, -4.0):
        passed(gradient)
    assert optimizer.mean_gradients() == pytest.approx([3.0, 0.0])
    assert optimizer.mean_gradients() == []
    passed(7.0)
    assert optimizer.mean_gradients() == pytest.approx([7.0, 0.0])


def test_one_schedule_drives_every_group_from_its_own_rate() -> None:
    model = quantize(small_network(bias=False), threshold={"lr": 0.5})
    optimizer = build_optimizer(model, OptimSettings(name="adam", lr=0.04), settings_of(lr=0.5))
    assert isinstance(optimizer, TernaryOptimizer)
    scheduler = LambdaLR(optimizer, lambda step: 0.5**step)
    for step in range(3):
        for group in (*optimizer.weights.param_groups, *optimizer.thresholds.param_groups):
            base = 0.5 if group["name"] == "thresholds" else 0.04
            assert group["lr"] == pytest.approx(base * 0.5**step), (step, group["name"])
        optimizer.step(closure_of(model, optimizer))
        scheduler.step()
    # A state that was loaded has new groups: the schedule must reach these.
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    scheduler.step()
    assert optimizer.thresholds.param_groups[0]["lr"] == pytest.approx(0.5 * 0.5**4)
    assert optimizer.weights.param_groups[0]["lr"] == pytest.approx(0.04 * 0.5**4)


def test_schedule_factor_zero_stops_weights_and_thresholds() -> None:
    model = quantize(small_network(bias=False))
    optimizer = build_optimizer(model, OptimSettings(weight_decay=0.1), settings_of())
    LambdaLR(optimizer, lambda _step: 0.0)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.step(closure_of(model, optimizer))
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("update", ["sequential", "joint"])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_training_goes_on_from_a_saved_state_bit_for_bit(name: str, update: str) -> None:
    def start() -> tuple[nn.Module, TernaryOptimizer, LambdaLR]:
        model = quantize(small_network(bias=False), threshold={"lr": 0.3})
        optim = optim_settings({"name": name, "lr": 0.01, "weight_decay": 1e-3})
        optimizer = build_optimizer(model, optim, settings_of(update, lr=0.3))
        assert isinstance(optimizer, TernaryOptimizer)
        return model, optimizer, LambdaLR(optimizer, lambda step: 1 / (1 + step))

    def train(model: nn.Module, optimizer: TernaryOptimizer, scheduler: LambdaLR, steps: range) -> None:
        for step in steps:
            optimizer.step(closure_of(model, optimizer, seed=step))
            scheduler.step()

    whole = start()
    train(*whole, range(6))
    halves = start()
    train(*halves, range(3))
    buffer = io.BytesIO()
    torch.save([part.state_dict() for part in halves], buffer)
    buffer.seek(0)
    other = start()
    train(*other, range(10, 12))  # What it did before is forgotten.
    for part, state in zip(other, torch.load(buffer, weights_only=True), strict=True):
        part.load_state_dict(state)
    train(*other, range(3, 6))
    for one, two in zip(values_of(whole[0]), values_of(other[0]), strict=True):
        assert torch.equal(one, two)
    assert whole[1].mean_gradients() == other[1].mean_gradients()
    assert [group["lr"] for group in whole[1].param_groups] == [group["lr"] for group in other[1].param_groups]


@pytest.mark.parametrize(("decay_bn", "decay_bias"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_decay_reaches_exactly_the_configured_parameters(name: str, decay_bn: bool, decay_bias: bool) -> None:
    model = quantize(small_network(bias=False))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.7)
    optim = optim_settings({"name": name, "weight_decay": 0.1, "decay_bn": decay_bn, "decay_bias": decay_bias})
    optimizer = build_optimizer(model, optim, settings_of())

    def no_gradient() -> Tensor:
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        return torch.zeros(())

    optimizer.step(no_gradient)
    norms = {"1.weight", "1.bias", "5.weight", "5.bias"}
    for key, parameter in model.named_parameters():
        moved = bool((parameter < 0.7 - 1e-6).all())
        if key.endswith("threshold"):
            expected = False
        elif key in norms:
            expected = decay_bn
        else:
            expected = decay_bias if key.endswith("bias") else True
        assert moved == expected, key
        assert moved or torch.equal(parameter, torch.full_like(parameter, 0.7)), key


def test_every_parameter_is_in_exactly_one_group() -> None:
    model = quantize(small_network(bias=False), exclude=("4",))
    optimizer = build_optimizer(model, OptimSettings(), settings_of())
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    sizes = {group["name"]: len(group["params"]) for group in optimizer.param_groups}
    assert sizes == {"weights": 3, "norms": 4, "biases": 2, "thresholds": 2}


def test_a_shared_parameter_is_stepped_once() -> None:
    model = small_network(bias=False)
    model.add_module("tied", nn.Linear(8, 3))
    model.tied.weight = model[6].weight
    optimizer = build_optimizer(model, OptimSettings(), QuantSettings())
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(grouped) == len(set(grouped))


def test_thresholds_are_stepped_by_nesterov_sgd_whatever_steps_the_weights() -> None:
    model = quantize(small_network(bias=False), threshold={"clamp": 0.2})
    for name, kind in (("sgd", SGD), ("adam", Adam), ("adamw", AdamW)):
        optim = optim_settings({"name": name, "lr": 0.02, "weight_decay": 0.1, "momentum": 0.5})
        optimizer = build_optimizer(model, optim, settings_of("sequential", clamp=0.2))
        assert isinstance(optimizer, TernaryOptimizer) and type(optimizer.weights) is kind
        (group,) = optimizer.thresholds.param_groups
        assert type(optimizer.thresholds) is SGD
        assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (0.02, 0.9, True, 0)
        assert optimizer.sequential and optimizer.clamps == (0.2,)
        assert group["params"] == [next(quantizer_of(model[index]).thresholds()) for index in (0, 4, 6)]


def test_a_network_without_thresholds_gets_the_optimizer_of_its_weights() -> None:
    optimizer = build_optimizer(small_network(bias=False), OptimSettings(), QuantSettings())
    assert type(optimizer) is SGD
