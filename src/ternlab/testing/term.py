"""The contract of a loss term, as tests to inherit.

from ternlab.testing import TermContract

class TestMyTerm(TermContract):
    term = "my_term"
    options = {"bound": 1.0}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ternlab.objectives.base import ForwardPass, Objective, Term, Weighted
from ternlab.objectives.registry import term_class, term_entry
from ternlab.quantizers.attach import quantize


class TermContract:
    """Tests that every loss term must pass; a subclass names the term.

    Attributes:
        term: the registered name.
        options: the term's options.
        rule: rule of the quantized network that the tests pass to the term.
    """

    term: str = ""
    options: Mapping[str, Any] = {}
    rule: str = "tga"

    def build(self) -> Term:
        """Return the term."""
        found: Term = term_class(self.term)(term_entry(self.term).options.model_validate(dict(self.options)))
        return found

    def network(self, rule: str | None) -> nn.Module:
        """Return a small network, quantized or, if `rule` is `None`, in full precision."""
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))
        return network if rule is None else quantize(network, rule)

    def forward(self, network: nn.Module) -> ForwardPass:
        """Return a forward pass of eight images."""
        images = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(1))
        return ForwardPass(network, images, torch.arange(8) % 5, network(images).float())

    def gradients(self, term: Term, network: nn.Module) -> dict[str, Tensor]:
        """Return the value and the gradients of all parameters that have one."""
        network.zero_grad()
        value = term(self.forward(network))
        if value.requires_grad:
            torch.autograd.backward(value)
        found = {name: one.grad.clone() for name, one in network.named_parameters() if one.grad is not None}
        return {"value": value.detach(), **found}

    def test_the_value_is_one_finite_number(self) -> None:
        """It is added to other terms, for quantized and full-precision networks."""
        for rule in (self.rule, None):
            value = self.build()(self.forward(self.network(rule)))
            assert value.shape == (), f"{self.term}: the value has the shape {tuple(value.shape)}"
            assert value.is_floating_point(), f"{self.term}: the value is {value.dtype}"
            assert value.isfinite(), f"{self.term}: the value is {float(value.detach())}"

    def test_a_gradient_reaches_the_network(self) -> None:
        """A term without a gradient has no effect."""
        found = self.gradients(self.build(), self.network(self.rule))
        gradients = {name: value for name, value in found.items() if name != "value"}
        assert any(value.any() for value in gradients.values()), f"{self.term}: no parameter gets a gradient"
        for name, value in gradients.items():
            assert value.isfinite().all(), f"{self.term}: the gradient of {name} is not finite"

    def test_two_terms_give_the_same_bits(self) -> None:
        """A resumed run creates the term again, and a sequential update calls it twice per batch."""
        network, term = self.network(self.rule), self.build()
        first = self.gradients(term, network)
        for again in (self.gradients(term, network), self.gradients(self.build(), network)):
            assert first.keys() == again.keys()
            for name, value in first.items():
                assert torch.equal(value, again[name]), f"{self.term}: {name} differs from call to call"

    def test_the_network_and_random_numbers_are_left_alone(self) -> None:
        """Only the optimizer may change the network, and only dropout may draw random numbers."""
        network, term = self.network(self.rule), self.build()
        forward = self.forward(network)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        state = torch.get_rng_state()
        term(forward)
        assert torch.equal(torch.get_rng_state(), state), f"{self.term}: it draws from torch's generator"
        for name, value in network.state_dict().items():
            assert torch.equal(value, before[name]), f"{self.term}: it changes {name}"

    def test_it_is_a_summand(self) -> None:
        """The sum must be separable into the terms that are logged."""
        forward = self.forward(self.network(self.rule))
        loss = Objective([Weighted(self.term, 0.5, self.build())])(forward)
        assert torch.equal(loss.total.detach(), 0.5 * loss.terms[self.term])
