"""Rules on transposed convolutions, whose output filters are not in the first dimension of the weight.

A convolution's weight has the shape (filters, inputs, ...), a transposed one's (inputs, filters per group, ...), with
the inputs of all groups one after the other. A rule sees both with the filters first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from ternlab.quantizers.base import Codes, Fault, Plane, Quantizer

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class FiltersFirst(Quantizer):
    """Applies a rule to the weight of a transposed convolution, filter by filter.

    Args:
        rule: built for `filters_first(weight, groups)`.
        groups: those of the convolution.
    """

    def __init__(self, weight: Tensor, rule: Quantizer, groups: int) -> None:
        super().__init__(weight, rule.options)
        self.rule = rule
        self.alphabet = rule.alphabet
        self._groups = groups

    def forward(self, weight: Tensor) -> Tensor:
        """Return the effective weight, in the layer's layout."""
        effective: Tensor = self.rule(filters_first(weight, self._groups))
        return as_in_layer(effective, self._groups)

    @torch.no_grad()
    def codes(self, weight: Tensor) -> Codes:
        """Return codes in the layer's layout; scales of filters are (1, filters, 1, ...).

        With several groups they are (groups, 1, filters per group, 1, ...); see `Plane.scale`.
        """
        planes = self.rule.codes(filters_first(weight, self._groups)).planes
        return Codes(tuple(self._in_layer(plane) for plane in planes))

    def thresholds(self) -> Iterator[torch.nn.Parameter]:
        """Yield the rule's trained thresholds."""
        yield from self.rule.thresholds()

    def statistics(self, weight: Tensor) -> dict[str, float]:
        """Return the rule's statistics."""
        return self.rule.statistics(filters_first(weight, self._groups))

    def fault(self, weight: Tensor) -> Fault | None:
        """Return why the rule's layer cannot learn."""
        return self.rule.fault(filters_first(weight, self._groups))

    def _in_layer(self, plane: Plane) -> Plane:
        thresholds = plane.thresholds
        return replace(
            plane,
            codes=as_in_layer(plane.codes, self._groups),
            scale=self._of_filters(plane.scale),
            negative_scale=None if plane.negative_scale is None else self._of_filters(plane.negative_scale),
            thresholds=None if thresholds is None else torch.stack([self._of_filters(each) for each in thresholds]),
        )

    def _of_filters(self, scale: Tensor) -> Tensor:
        if not scale.ndim:
            return scale
        split = scale.reshape(self._groups, -1, *scale.shape[1:]).transpose(1, 2)
        return split.squeeze(0) if self._groups == 1 else split


def as_seen_by_rule(layer: nn.Module, weight: Tensor) -> Tensor:
    """Return a layer's weight with its filters in the first dimension."""
    return filters_first(weight, layer.groups) if isinstance(layer, TRANSPOSED) else weight


def filters_first(weight: Tensor, groups: int) -> Tensor:
    """Return a transposed convolution's weight (inputs, filters / groups, ...) as (filters, inputs / groups, ...)."""
    by_group = weight.reshape(groups, -1, *weight.shape[1:])
    return by_group.transpose(1, 2).flatten(0, 1).contiguous()


def as_in_layer(weight: Tensor, groups: int) -> Tensor:
    """Return the weight (filters, inputs / groups, ...) in the layout of a transposed convolution."""
    by_group = weight.reshape(groups, -1, *weight.shape[1:])
    return by_group.transpose(1, 2).flatten(0, 1).contiguous()


def scale_shape(layer: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the scales of filters of a layer whose weight has the shape `shape`; see `Plane.scale`."""
    if not isinstance(layer, TRANSPOSED) or len(shape) < 2:
        return shape[0], *(1 for _ in shape[1:])
    of_filters = 1, shape[1], *(1 for _ in shape[2:])
    return of_filters if layer.groups == 1 else (layer.groups, *of_filters)
