r"""Surrogate gradients: the factor of the gradient on its way to the latent weight.

Rounding has no useful derivative, so every rule passes the gradient of the effective weight to the latent weight,
times a factor. The three surrogates here define it:

    straight  1 (Bengio, Leonard & Courville 2013, arXiv 1308.3432)
    clipped   1 inside, 0 outside: where |w| < bound, or inside the range that the rule clips to
    stable    (1 - c cos(pi (v + round v))) / (1 + c cos(pi (v + round v))), c = sqrt(2) pi A (StableQAT)

where v is the weight's position relative to the levels: levels at integers, boundaries halfway. `stable` is 1 at a
boundary and small at a level; A = 0 gives the plain rule: straight, or clipped for rules with a range.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ternlab.quantizers.options import SurrogateOptions


@torch.no_grad()
def gradient_factor(
    options: SurrogateOptions, weight: Tensor, inside: Tensor | None, position: Callable[[], Tensor]
) -> Tensor | None:
    """Return the factor of each weight's gradient, in the weight's dtype; `None` if it is 1 everywhere.

    Args:
        options: selects the surrogate.
        weight: the latent weight.
        inside: bool mask of the weights inside the rule's range; `None` for rules without a range.
        position: returns v; called only for `stable`.
    """
    if options.kind == "straight":
        return None
    if options.kind == "clipped":
        passed = weight.abs() < options.bound if options.bound is not None else inside
        return None if passed is None else passed.to(weight.dtype)
    place = position()
    wave = math.sqrt(2) * math.pi * options.amplitude * torch.cos(math.pi * (place + place.round()))
    factor = ((1 - wave) / (1 + wave)).to(weight.dtype)
    return factor if inside is None else factor * inside
