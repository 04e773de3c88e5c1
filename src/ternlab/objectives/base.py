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
    """One batch and the network's output for it.

    Attributes:
        network: the network in training; `ternlab.quantizers.attach.quantized_layers` finds its quantized layers.
        images: (batch, channels, height, width), as passed to the network.
        labels: (batch,), class indices.
        logits: (batch, classes), float32 or wider.
    """

    network: nn.Module
    images: Tensor
    labels: Tensor
    logits: Tensor


class Term(ABC):
    """One summand of the objective.

    It is an ordinary object, not a torch module: its contents are neither trained nor saved, and a resumed run must be
    able to create it again from the settings. It must not draw random numbers unless every process and every resumed
    run draws the same numbers.

    Args:
        options: the term's options.
    """

    def __init__(self, options: TermOptions | None = None) -> None:
        self.options = options or TermOptions()

    @abstractmethod
    def __call__(self, forward: ForwardPass) -> Tensor:
        """Return the value for one batch: a scalar with a gradient; the mean over the images if it depends on them.

        With several processes, each sees its share of the batch, and gradients are averaged over the processes.
        """

    def to(self, device: torch.device) -> None:
        """Move the term's contents to the training device; called once before the first batch."""
        return


@dataclass(frozen=True)
class Weighted:
    """A term with its weight.

    Attributes:
        name: the term is logged as `loss/NAME`.
        weight: its factor in the sum, at least 0. A term with weight 0 is not computed.
        term: see `Term`.
    """

    name: str
    weight: float
    term: Term


@dataclass(frozen=True)
class Loss:
    """The value of an objective for one batch.

    Attributes:
        total: scalar, from which backward starts.
        terms: the unweighted value of each term by name, without gradient; empty if the total is a single term with
            weight 1.
    """

    total: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)


class Objective:
    """A sum of weighted terms.

    Args:
        terms: the terms, in the order in which they are added; those with weight 0 are dropped.

    Raises:
        ValueError: two terms have the same name, or no term has a weight above 0.
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
        """The names of the terms that are computed and logged; none for a single term with weight 1 (the total)."""
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
        """Move the terms to the training device."""
        for one in self._terms:
            one.term.to(device)


def _weighted(weight: float, value: Tensor) -> Tensor:
    return value if weight == 1 else weight * value
