"""What tests of the rules share: a rule from its name, and one pass forward and backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ternlab.quantizers.attach import build_quantizer
from ternlab.quantizers.base import Plane, Quantizer
from ternlab.quantizers.registry import rule_options

# One rule of each kind that has codes -1, 0, 1, with options that the other tests do not have.
TERNARY_RULES: dict[str, dict[str, Any]] = {
    "sws": {},
    "twn": {"granularity": "filter"},
    "tga": {},
    "ttq": {},
    "seq": {},
    "absmean": {},
    "lsq": {},
}

EXPANDED_FACTOR = {"sws": 0.08, "twn": 0.6, "tga": 0.08, "ttq": 0.08, "seq": 0.7, "absmean": 0.4, "lsq": 0.9}


def build(name: str, weight: Tensor, **options: Any) -> Quantizer:
    """Return the rule `name` made for `weight`."""
    return build_quantizer(name, weight.detach(), rule_options(name, options))


def draw(seed: int = 0, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return Gaussian numbers; without a shape those of a small convolution."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape or (5, 4, 3, 3), generator=generator, dtype=torch.float64).to(dtype)


def plane_of(rule: Quantizer, weight: Tensor) -> Plane:
    """Return the one plane of a rule without expansion."""
    (plane,) = rule.codes(weight).planes
    return plane


def passed(rule: Quantizer, weight: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Return the effective weight and the gradient of the latent weight; parameters keep theirs."""
    latent = weight.detach().clone().requires_grad_()
    rule.zero_grad()
    effective = rule(latent)
    effective.backward(grad)
    assert latent.grad is not None
    return effective.detach(), latent.grad


def grad_of(parameter: Any) -> Tensor:
    """Return the gradient of a parameter."""
    grad: Tensor | None = parameter.grad
    assert grad is not None
    return grad


def noisy_steps(rule: Quantizer, weight: Tensor, steps: int = 1000) -> list[dict[str, Tensor]]:
    """Step the parameters of `rule` with noise larger than they are; return what `codes` gave after each step."""
    generator = torch.Generator().manual_seed(0)
    seen = []
    for _ in range(steps):
        with torch.no_grad():
            for parameter in rule.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_(noise.to(parameter.dtype) * weight.std().to(parameter.dtype))
        plane = plane_of(rule, weight)
        seen.append({"scale": plane.scale, "codes": plane.codes})
        if plane.negative_scale is not None:
            seen[-1]["negative_scale"] = plane.negative_scale
    return seen
