r"""Residual expansion: a sum of several ternary weights of one latent weight.

Zhezhi He, Boqing Gong and Deliang Fan, WACV 2019, arXiv 1807.07948, where the rule is SWS with the factors 0.05 and 0.1
(t_ex = 2) or 0.05, 0.1, 0.15 and 0.2 (t_ex = 4):

    y = sum over k of conv(x, S_k t_k(w)) = conv(x, sum over k of S_k t_k(w))

Here it wraps any ternary rule: summand k is the rule with its threshold factor replaced by the k-th factor.
For rules whose thresholds are computed from w, the supports are nested, and k summands have at most 2 k + 1 levels.

Backward: the sum of the summands' gradients. A single factor gives the plain rule.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ternlab.quantizers.base import Codes, Quantizer
from ternlab.quantizers.options import TernaryOptions


class Residual(Quantizer):
    """The sum of one rule with several thresholds.

    Args:
        weight: the layer's latent weight.
        options: the rule's options, with `rel.factors`.
        rule: the rule's class.
    """

    options: TernaryOptions

    def __init__(self, weight: Tensor, options: TernaryOptions, rule: type[Quantizer]) -> None:
        super().__init__(weight, options)
        self.summands = nn.ModuleList(rule(weight, options.summand(factor)) for factor in options.rel.factors)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the sum of the summands' effective weights."""
        total: Tensor = self.summands[0](weight)
        for summand in self.summands[1:]:
            total = total + summand(weight)
        return total

    @torch.no_grad()
    def codes(self, weight: Tensor) -> Codes:
        """Return one plane per summand."""
        return Codes(tuple(plane for summand in self._rules() for plane in summand.codes(weight).planes))

    def thresholds(self) -> Iterator[nn.Parameter]:
        """Yield the trained thresholds of all summands."""
        for summand in self._rules():
            yield from summand.thresholds()

    def statistics(self, weight: Tensor) -> dict[str, float]:
        """Return the statistics of every summand; from the second summand on, names have a numeric suffix."""
        rows: dict[str, float] = {}
        for number, summand in enumerate(self._rules(), start=1):
            suffix = f"_{number}" if number > 1 else ""
            rows |= {f"{name}{suffix}": value for name, value in summand.statistics(weight).items()}
        return rows

    def _rules(self) -> Iterator[Quantizer]:
        for summand in self.summands:
            assert isinstance(summand, Quantizer)
            yield summand
