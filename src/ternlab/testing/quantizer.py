"""The contract of a quantization rule, as tests to inherit.

A rule's own tests inherit `QuantizerContract` and declare what the rule guarantees:

    from ternlab.testing import QuantizerContract

    class TestTWN(QuantizerContract):
        rule = "twn"
        options = {"granularity": "filter"}

pytest then collects every method below. They use plain asserts, so other runners can call them too.
"""

from __future__ import annotations

import copy
import importlib
import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ternlab.quantizers.attach import build_quantizer, codes, latent_weight, quantize
from ternlab.quantizers.base import Codes, Quantizer
from ternlab.quantizers.registry import rule_options

INT8 = range(-128, 128)


class QuantizerContract:
    """Tests that every rule must pass; a subclass names the rule and declares what it guarantees.

    Attributes:
        rule: the registered name.
        options: the rule's options, as for `ternlab.quantize`.
        levels: maximum number of distinct effective weights that share a scale.
        symmetric: negated weights give the negated effective weight (except for ties).
        equivariant: weights times c give the effective weight times c, each with its own rule.
        compiles: `torch.compile` can trace the rule; if not, `compiles_not_because` says why.
        compiles_not_because: the reason.
        spread: standard deviation of the weights that the tests draw; change it for a rule for other magnitudes.
    """

    rule: str = ""
    options: Mapping[str, Any] = {}
    levels: int = 3
    symmetric: bool = True
    equivariant: bool = True
    compiles: bool = True
    compiles_not_because: str = ""
    spread: float = 0.1

    def draw(self, seed: int = 0, dtype: torch.dtype = torch.float32, shape: tuple[int, ...] = (6, 4, 3, 3)) -> Tensor:
        """Return Gaussian weights."""
        generator = torch.Generator().manual_seed(seed)
        return (torch.randn(shape, generator=generator, dtype=torch.float64) * self.spread).to(dtype)

    def build(self, weight: Tensor) -> Quantizer:
        """Return the rule, built for `weight`."""
        return build_quantizer(self.rule, weight.detach(), rule_options(self.rule, self.options))

    def trained(self, dtype: torch.dtype = torch.float32) -> tuple[Quantizer, Tensor]:
        """Return a rule and its weight after a few training steps, so that nothing is at its initial value."""
        weight = self.draw(dtype=dtype).requires_grad_()
        rule = self.build(weight)
        optimizer = torch.optim.SGD([weight, *rule.parameters()], lr=0.1 * self.spread)
        for step in range(1, 6):
            optimizer.zero_grad()
            rule(weight).backward(self.draw(step, dtype) / self.spread)
            optimizer.step()
        return rule, weight.detach()

    def gradients(self, rule: nn.Module, weight: Tensor, grad: Tensor) -> dict[str, Tensor]:
        """Return the effective weight and the gradient of the latent weight and of each parameter."""
        latent = weight.detach().clone().requires_grad_()
        rule.zero_grad()
        effective = rule(latent)
        effective.backward(grad)
        found = {"effective weight": effective.detach(), "gradient of the latent weight": latent.grad}
        found |= {f"gradient of {name}": parameter.grad for name, parameter in rule.named_parameters()}
        for name, value in found.items():
            assert value is not None, f"{self.rule}: there is no {name}; it was cut off by a detach or a no_grad"
        return {name: value.clone() for name, value in found.items() if value is not None}

    def test_codes_are_int8_integers_of_the_alphabet_in_the_shape_of_the_weight(self) -> None:
        """Exporting packs the codes by their alphabet."""
        rule, weight = self.trained()
        for plane in rule.codes(weight).planes:
            assert plane.codes.dtype == torch.int8, f"{self.rule}: codes are {plane.codes.dtype}, not int8"
            assert plane.codes.shape == weight.shape, f"{self.rule}: codes have the shape {tuple(plane.codes.shape)}"
            found = set(plane.codes.flatten().tolist())
            assert found <= set(plane.alphabet), f"{self.rule}: codes {found} are not all in {plane.alphabet}"
            assert set(plane.alphabet) <= set(INT8), f"{self.rule}: {plane.alphabet} does not fit int8"

    def test_at_most_the_promised_levels_share_a_scale(self) -> None:
        """A weight with more levels than declared would need more bits than declared."""
        for rule, weight in (self.trained(), (self.build(self.draw()), self.draw())):
            by_filter = any(plane.scale.ndim for plane in rule.codes(weight).planes)
            effective = rule(weight).detach()
            for group in effective.flatten(1) if by_filter else [effective]:
                count = len(set(group.flatten().tolist()))
                assert count <= self.levels, (
                    f"{self.rule}: {count} levels under one scale, but only {self.levels} are declared"
                )

    def test_negated_weights_give_the_negated_effective_weight(self) -> None:
        """Tested if `symmetric` declares it."""
        for seed in range(3 if self.symmetric else 0):
            weight = self.draw(seed)
            one, other = self.build(weight)(weight), self.build(-weight)(-weight)
            assert torch.equal(other, -one), f"{self.rule}: f(-w) differs from -f(w); set symmetric = False if intended"

    def test_scaled_weights_give_the_scaled_effective_weight(self) -> None:
        """Tested if `equivariant` declares it; powers of two lose no precision, so the bits are the same."""
        for factor in (0.125, 2.0, 64.0) if self.equivariant else ():
            weight = self.draw()
            one, other = self.build(weight)(weight), self.build(weight * factor)(weight * factor)
            assert torch.equal(other, one * factor), (
                f"{self.rule}: f({factor} w) differs from {factor} f(w); set equivariant = False if intended"
            )

    def test_forward_is_reproduced_by_the_codes_bit_for_bit(self) -> None:
        """Exported weights must equal trained weights. 0 and -0 count as equal."""
        for dtype in (torch.float32, torch.float64):
            for rule, weight in ((self.build(self.draw(1, dtype)), self.draw(1, dtype)), self.trained(dtype)):
                effective, again = rule(weight).detach(), rule.codes(weight).effective()
                assert effective.dtype == again.dtype == dtype, f"{self.rule}: {effective.dtype} from {dtype} weights"
                assert torch.equal(effective, again), (
                    f"{self.rule}: forward differs from codes().effective() in {dtype} by up to "
                    f"{float((effective - again).abs().max())}"
                )

    def test_gradient_reaches_the_weight_and_every_parameter(self) -> None:
        """A parameter without a gradient is not trained, and DDP waits for it."""
        weight = self.draw()
        found = self.gradients(self.build(weight), weight, self.draw(1))
        for name, value in found.items():
            assert value.isfinite().all(), f"{self.rule}: the {name} is not finite"
            assert value.any(), f"{self.rule}: the {name} is 0 everywhere"
        assert found["gradient of the latent weight"].shape == weight.shape

    def test_two_passes_give_the_same_bits(self) -> None:
        """A run must be reproducible, and the sequential update passes the same batch twice."""
        rule, weight = self.trained()
        one, other = (self.gradients(rule, weight, self.draw(1)) for _ in range(2))
        self.same(one, other, "a second pass")
        first, second = rule.codes(weight), rule.codes(weight)
        assert torch.equal(first.stacked(), second.stacked()), f"{self.rule}: codes differ from pass to pass"

    def test_weights_at_the_limits_give_finite_numbers(self) -> None:
        """Zeros, constants, single weights, and huge or tiny weights occur; NaN would end the run."""
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            usual, shape = self.draw(dtype=dtype), (6, 4, 3, 3)
            for what, first, weight in (
                *(
                    (f"all {size}", None, torch.full(shape, size, dtype=dtype))
                    for size in (0.0, 0.3, -0.3, 1e30, 1e-30)
                ),
                *((f"single {size}", None, torch.full((1, 1), size, dtype=dtype)) for size in (0.0, 0.3, -0.3, 1e30)),
                *((f"size {size}", None, usual * (size / self.spread)) for size in (1e30, 1e-30)),
                ("a filter of zeros", None, torch.cat([usual[:3], torch.zeros_like(usual[3:])])),
                ("zeros after other weights", usual, torch.zeros_like(usual)),
                ("other weights after zeros", torch.zeros_like(usual), usual),
            ):
                rule = self.build(weight if first is None else first)
                found = self.gradients(rule, weight, torch.linspace(-1, 1, weight.numel()).view_as(weight).to(dtype))
                found |= {f"scale {number}": plane.scale for number, plane in enumerate(rule.codes(weight).planes)}
                found |= {name: torch.tensor(value) for name, value in rule.statistics(weight).items()}
                for name, value in found.items():
                    assert value.isfinite().all(), f"{self.rule}: the {name} of weights ({what}, {dtype}) is not finite"
                assert torch.equal(rule.codes(weight).effective(), found["effective weight"]), f"{self.rule}: {what}"

    def test_weights_that_are_not_numbers_are_not_hidden(self) -> None:
        """The loss must become NaN, or a diverged run would continue."""
        for value in (float("nan"), float("inf"), -float("inf")):
            weight = self.draw()
            rule = self.build(weight)
            weight[1, 1] = value
            assert not rule(weight).isfinite().all(), f"{self.rule}: a weight of {value} gives finite effective weights"

    def test_statistics_are_finite_numbers_and_say_the_scale(self) -> None:
        """They are logged for every layer."""
        rule, weight = self.trained()
        found = rule.statistics(weight)
        assert "scale" in found, f"{self.rule}: statistics() has no scale"
        for name, value in found.items():
            assert isinstance(value, float) and abs(value) < float("inf"), f"{self.rule}: {name} = {value!r}"

    def test_state_dict_through_a_file_restores_the_rule(self) -> None:
        """Also if the current weights differ from the original ones, as at the start of a resumed run."""
        rule, weight = self.trained()
        buffer = io.BytesIO()
        torch.save(rule.state_dict(), buffer)
        buffer.seek(0)
        other = self.build(self.draw(7) * 3)
        other.load_state_dict(torch.load(buffer, weights_only=True), strict=True)
        grad = self.draw(1)
        self.same(self.gradients(rule, weight, grad), self.gradients(other, weight, grad), "loading the state")

    def test_deep_copy_is_independent(self) -> None:
        """A copy that shares a tensor would also train the original."""
        rule, weight = self.trained()
        twin, grad = copy.deepcopy(rule), self.draw(1)
        before = self.gradients(rule, weight, grad)
        self.same(before, self.gradients(twin, weight, grad), "copying")
        with torch.no_grad():
            for parameter in (*twin.parameters(), *twin.buffers()):
                parameter.mul_(3).add_(1)
        self.same(before, self.gradients(rule, weight, grad), "changing a copy")

    def test_data_parallel_training_has_the_same_gradients(self) -> None:
        """One process under DDP; its hooks need a gradient for every parameter."""
        # Imported here because not every build of torch has it.
        distributed: Any = importlib.import_module("torch.distributed")
        inputs, alone = self.draw(2, shape=(5, 12)), self.layer(nn.Linear(12, 6))
        inside = copy.deepcopy(alone)
        alone(inputs).square().sum().backward()
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
        try:
            network: nn.Module = nn.parallel.DistributedDataParallel(inside)
            network(inputs).square().sum().backward()
        finally:
            distributed.destroy_process_group()
        for (name, one), other in zip(alone.named_parameters(), inside.parameters(), strict=True):
            assert one.grad is not None and other.grad is not None, f"{self.rule}: no gradient of {name}"
            assert torch.equal(one.grad, other.grad), f"{self.rule}: DDP changes the gradient of {name}"

    def test_autocast_changes_neither_codes_nor_effective_weight(self) -> None:
        """With thresholds of 8 bits of precision, codes would depend on the precision."""
        rule, weight = self.trained()
        plain, effective = rule.codes(weight), rule(weight)
        with torch.autocast("cpu", torch.bfloat16):
            within, inside = rule.codes(weight), rule(weight)
        assert torch.equal(within.stacked(), plain.stacked()), f"{self.rule}: autocast changes codes"
        for one, other in zip(plain.planes, within.planes, strict=True):
            for name in ("scale", "negative_scale", "thresholds"):
                before, after = getattr(one, name), getattr(other, name)
                assert before is None or torch.equal(before, after), f"{self.rule}: autocast changes the {name}"
        assert inside.dtype == weight.dtype, f"{self.rule}: the effective weight is {inside.dtype} under autocast"
        assert torch.equal(inside, effective), f"{self.rule}: autocast changes the effective weight"

    def test_compiling_changes_neither_effective_weight_nor_gradients(self) -> None:
        """Traced by `torch.compile` without a backend compiler; otherwise a reason why the rule cannot be traced."""
        if not self.compiles:
            assert self.compiles_not_because, f"{self.rule}: compiles = False needs compiles_not_because = '...'"
            return
        rule, weight = self.trained()
        plain = self.gradients(rule, weight, self.draw(1))
        torch.compiler.reset()
        compiled: Any = torch.compile(copy.deepcopy(rule), backend="aot_eager")
        found = self.gradients(compiled, weight, self.draw(1))
        self.same(plain, {name.replace("_orig_mod.", ""): value for name, value in found.items()}, "compiling")

    def test_attached_layers_compute_with_their_codes(self) -> None:
        """Convolutions, including grouped ones, and linear layers."""
        convolution = nn.Conv2d(4, 6, 3, groups=2, bias=False)
        for layer, inputs in (
            (convolution, self.draw(2, shape=(2, 4, 5, 5))),
            (nn.Linear(12, 6), self.draw(2, shape=(3, 12))),
        ):
            twin, quantized = copy.deepcopy(layer), self.layer(layer)
            found: Codes = codes(quantized)
            assert torch.equal(found.effective(), layer.weight), f"{self.rule}: {layer} has a different weight"
            with torch.no_grad():
                twin.weight.copy_(found.effective())
                assert torch.equal(twin(inputs), quantized(inputs)), f"{self.rule}: {layer} computes something else"
            quantized(inputs).sum().backward()
            assert latent_weight(quantized).grad is not None, f"{self.rule}: {layer} has no gradient"

    def test_bfloat16_weights_have_statistics_in_float32(self) -> None:
        """Sums and thresholds with 8 bits of precision are too coarse; the effective weight has the layer's dtype."""
        weight = self.draw(dtype=torch.bfloat16)
        rule = self.build(weight)
        effective = rule(weight)
        assert effective.dtype == torch.bfloat16, f"{self.rule}: {effective.dtype} from bfloat16 weights"
        assert torch.equal(effective, rule.codes(weight).effective()), f"{self.rule}: forward differs from the codes"
        for name, parameter in rule.named_parameters():
            assert parameter.dtype == torch.float32, f"{self.rule}: {name} is {parameter.dtype}, not float32"
        wide = self.build(weight.float())
        for plane, exact in zip(rule.codes(weight).planes, wide.codes(weight.float()).planes, strict=True):
            assert plane.scale.dtype == torch.bfloat16, f"{self.rule}: the scale is {plane.scale.dtype}"
            assert torch.equal(plane.codes, exact.codes), f"{self.rule}: codes differ from those of float32 statistics"
            assert torch.equal(plane.scale, exact.scale.bfloat16()), f"{self.rule}: the scale was summed in bfloat16"
            if plane.thresholds is not None:
                assert exact.thresholds is not None and plane.thresholds.dtype == torch.float32
                assert torch.equal(plane.thresholds, exact.thresholds), (
                    f"{self.rule}: thresholds differ from those of float32 statistics"
                )

    def layer(self, layer: nn.Module) -> nn.Module:
        """Return `layer` with random weights, quantized by the rule."""
        weight: Any = layer.weight
        with torch.no_grad():
            weight.copy_(self.draw(3, shape=tuple(weight.shape)))
        return quantize(layer, self.rule, **self.options)

    def same(self, one: Mapping[str, Tensor], other: Mapping[str, Tensor], after: str) -> None:
        """Assert that all tensors are bit-identical."""
        assert one.keys() == other.keys(), f"{self.rule}: {after} changes the parameters"
        for name, value in one.items():
            assert torch.equal(value, other[name]), f"{self.rule}: {after} changes the {name}"
