"""Loss terms and their weighted sum."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ternlab.objectives.registry import TermOptions


@dataclass(frozen=True)
class ForwardPass:
    """One batch and what the network made of it.

    Attributes:
        network: that is trained; quantized layers are found by `ternlab.quantizers.attach.quantized_layers`.
        images: (batch, channels, height, width), as the network saw them.
        labels: (batch,), class numbers.
        logits: (batch, classes), float32 or wider.
    """

    network: nn.Module
    images: Tensor
    labels: Tensor
    logits: Tensor


class Term(ABC):
    """One summand of what is minimised.

    It is an ordinary object and no torch module: what it holds is neither trained nor saved, and a resumed run must be
    able to make it anew from the settings. It must not draw random numbers unless every process and every resumed run
    draws the same.

    Args:
        options: of the term.
    """

    def __init__(self, options: TermOptions | None = None) -> None:
        self.options = options or TermOptions()

    @abstractmethod
    def __call__(self, forward: ForwardPass) -> Tensor:
        """Return the value for one batch: a scalar with a gradient, the mean over the images where it depends on them.

        With several processes each sees its share of the batch, and gradients are averaged over the processes.
        """

    def to(self, device: torch.device) -> None:
        """Move what the term holds to the device that trains; called once before the first batch."""
        return


@dataclass(frozen=True)
class Weighted:
    """A term in a sum.

    Attributes:
        name: it is logged as `loss/NAME`.
        weight: its factor in the sum, at least 0. A term of weight 0 is not computed.
        term: see `Term`.
    """

    name: str
    weight: float
    term: Term


@dataclass(frozen=True)
class Loss:
    """The value of a sum for one batch.

    Attributes:
        total: scalar; what backward starts from.
        terms: the value of each term by its name, before its weight, without gradient; empty where the total is a
            single term of weight 1.
    """

    total: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)


class Objective:
    """A sum of weighted terms.

    Args:
        terms: in the order in which they are added; those of weight 0 are left out.

    Raises:
        ValueError: two terms have the same name, or no term has a weight.
    """

    def __init__(self, terms: Iterable[Weighted]) -> None:
        given = tuple(terms)
        names = [one.name for one in given]
        if len(names) != len(set(names)):
            raise ValueError(f"The loss terms {names} must have different names.")
        self._terms = tuple(one for one in given if one.weight)
        if not self._terms:
            raise ValueError(f"At least one of the loss terms {names} must have a weight above 0.")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the terms that are computed and logged; none for a single term of weight 1: it is the total."""
        if len(self._terms) == 1 and self._terms[0].weight == 1:
            return ()
        return tuple(one.name for one in self._terms)

    def __call__(self, forward: ForwardPass) -> Loss:
        """Return the sum and its terms for one batch."""
        values = [one.term(forward) for one in self._terms]
        total = _weighted(self._terms[0].weight, values[0])
        for one, value in zip(self._terms[1:], values[1:], strict=True):
            total = total + _weighted(one.weight, value)
        logged = self.names
        return Loss(total, {name: value.detach() for name, value in zip(logged, values, strict=True)} if logged else {})

    def to(self, device: torch.device) -> None:
        """Move what the terms hold to the device that trains."""
        for one in self._terms:
            one.term.to(device)


def _weighted(weight: float, value: Tensor) -> Tensor:
    return value if weight == 1 else weight * value
