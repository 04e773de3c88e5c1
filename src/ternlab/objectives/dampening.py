"""A penalty that pulls latent weights towards their quantized values."""

from __future__ import annotations

import torch
from torch import Tensor

from ternlab.objectives.base import ForwardPass, Term
from ternlab.quantizers.weights import quantized_weights


class Dampening(Term):
    """Oscillation dampening (Nagel et al., ICML 2022, arXiv 2203.11086).

    The sum over all quantized layers of |q - clip(w)|^2, where w is the latent weight, q the effective weight without
    gradient, and clip limits w to the range of the layer's effective weights. So a weight beyond the outermost level,
    whose code cannot oscillate, gets no gradient. As published, this is a sum and not a mean: the weight of the term
    is relative to single weights. For a network in full precision it is 0, without gradient.
    """

    def __call__(self, forward: ForwardPass) -> Tensor:
        """Return the penalty; it does not depend on the images."""
        total = forward.logits.new_zeros(())
        for weight in quantized_weights(forward.network):
            with torch.no_grad():
                effective = weight.codes().effective()
                lowest, highest = effective.aminmax()
            total = total + (effective - weight.latent.clamp(lowest, highest)).square().sum()
        return total
