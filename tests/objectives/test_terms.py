"""Loss terms against closed forms that are computed another way, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ternlab
from ternlab.objectives.base import ForwardPass, Objective, Term, Weighted
from ternlab.objectives.cross_entropy import CrossEntropy
from ternlab.objectives.dampening import Dampening
from ternlab.objectives.distillation import Distillation, Teacher
from ternlab.quantizers.attach import latent_weight, quantized_layers
from ternlab.testing import TermContract


class Fixed(nn.Module):
    """A network with given answers."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: Tensor) -> Tensor:
        """Return them."""
        return self.logits


def draw(seed: int, *shape: int) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def forward(logits: Tensor, network: nn.Module | None = None) -> ForwardPass:
    labels = torch.arange(len(logits)) % logits.shape[1]
    return ForwardPass(network or nn.Identity(), torch.zeros(len(logits), 1), labels, logits)


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_kl_is_its_definition(temperature: float) -> None:
    student, teacher = draw(0, 8, 5).requires_grad_(), draw(1, 8, 5)
    term = Distillation(Teacher(Fixed(teacher)), "kl", temperature)
    value = term(forward(student))
    value.backward()
    p, q = softmax(teacher.numpy() / temperature), softmax(student.detach().numpy() / temperature)
    assert value.item() == pytest.approx(temperature**2 * (p * np.log(p / q)).sum() / 8, rel=1e-12)
    # d/ds of T^2 KL(p || q) is T (q - p), over the number of images.
    assert student.grad is not None
    np.testing.assert_allclose(student.grad.numpy(), temperature * (q - p) / 8, rtol=1e-9, atol=1e-14)


def test_mse_is_its_definition() -> None:
    student, teacher = draw(0, 8, 5).requires_grad_(), draw(1, 8, 5)
    value = Distillation(Teacher(Fixed(teacher)), "mse")(forward(student))
    value.backward()
    difference = student.detach().numpy() - teacher.numpy()
    assert value.item() == pytest.approx((difference**2).sum() / 40, rel=1e-12)
    assert student.grad is not None
    np.testing.assert_allclose(student.grad.numpy(), 2 * difference / 40, rtol=1e-12)


@pytest.mark.parametrize("loss", ["kl", "mse"])
def test_a_network_that_answers_as_its_teacher_is_not_pulled(loss: str) -> None:
    # Logits up to a constant are the same answer for kl.
    teacher = draw(1, 8, 5)
    student = (teacher + (2.0 if loss == "kl" else 0.0)).requires_grad_()
    value = Distillation(Teacher(Fixed(teacher)), loss)(forward(student))  # type: ignore[arg-type]
    value.backward()
    assert student.grad is not None
    assert value.item() == pytest.approx(0, abs=1e-14)
    assert float(student.grad.abs().max()) < 1e-14


def test_logits_of_any_size_give_finite_numbers() -> None:
    student = torch.tensor([[1e4, 0.0], [-1e4, 0.0]], requires_grad=True)
    value = Distillation(Teacher(Fixed(torch.tensor([[0.0, 1e4], [1e4, 0.0]]))), temperature=1.0)(forward(student))
    value.backward()
    assert value.item() == pytest.approx(1e4)
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_a_teacher_is_only_asked() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(16, 3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    teacher = Teacher(network, torch.channels_last)
    images = torch.randn(6, 1, 4, 4)
    first, second = teacher(images), teacher(images.clone())
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in network.parameters())


def test_the_second_pass_over_a_batch_does_not_ask_again() -> None:
    class Counting(Fixed):
        asked = 0

        def forward(self, images: Tensor) -> Tensor:
            self.asked += 1
            return images.sum() + self.logits

    network = Counting(torch.zeros(2, 3))
    teacher = Teacher(network)
    one, other = torch.zeros(2, 1), torch.ones(2, 1)
    assert torch.equal(teacher(one), teacher(one))
    assert network.asked == 1
    assert float(teacher(other)[0, 0]) == 2
    assert float(teacher(one)[0, 0]) == 0
    assert network.asked == 3


def test_smoothing_is_an_option_of_the_cross_entropy() -> None:
    logits = draw(0, 8, 5)
    labels = forward(logits).labels.numpy()
    target = np.full((8, 5), 0.1 / 5)
    target[np.arange(8), labels] += 0.9
    expected = -(target * np.log(softmax(logits.numpy()))).sum() / 8
    assert float(CrossEntropy(0.1)(forward(logits))) == pytest.approx(expected, rel=1e-12)
    assert float(CrossEntropy()(forward(logits))) == pytest.approx(
        -np.log(softmax(logits.numpy())[np.arange(8), labels]).mean(), rel=1e-12
    )


@pytest.mark.parametrize("rule", ["tga", "twn", "bwn", "uniform"])
def test_dampening_pulls_weights_inside_the_range_towards_their_level(rule: str) -> None:
    torch.manual_seed(0)
    network = ternlab.quantize(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), rule)
    value = Dampening()(forward(torch.zeros(1, 3), network))
    value.backward()
    expected = 0.0
    for _, layer in quantized_layers(network):
        weight, levels = latent_weight(layer), layer.weight.detach().double().numpy()  # type: ignore[union-attr]
        latent = weight.detach().double().numpy()
        inside = (latent > levels.min()) & (latent < levels.max())
        difference = np.where(inside, latent - levels, np.clip(latent, levels.min(), levels.max()) - levels)
        expected += (difference**2).sum()
        assert weight.grad is not None
        np.testing.assert_allclose(weight.grad.numpy(), np.where(inside, 2 * difference, 0), rtol=1e-4, atol=1e-7)
    assert expected > 0
    assert value.item() == pytest.approx(expected, rel=1e-5)
    thresholds = [parameter for name, parameter in network.named_parameters() if "threshold" in name]
    assert all(parameter.grad is None for parameter in thresholds)


def test_dampening_of_a_network_in_full_precision_is_zero() -> None:
    assert float(Dampening()(forward(torch.zeros(1, 3), nn.Linear(2, 3)))) == 0


class TestDampening(TermContract):
    term = "dampening"


class Constant(Term):
    """A term with a given value."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = torch.tensor(value, requires_grad=True)
        self.device: torch.device | None = None

    def __call__(self, forward: ForwardPass) -> Tensor:
        """Return it."""
        return 1 * self.value

    def to(self, device: torch.device) -> None:
        """Remember where to."""
        self.device = device


def test_a_sum_weighs_its_terms_and_names_them() -> None:
    one, other = Constant(2.0), Constant(5.0)
    objective = Objective([Weighted("one", 0.25, one), Weighted("other", 3, other)])
    loss = objective(forward(torch.zeros(1, 2)))
    loss.total.backward()
    assert float(loss.total) == 15.5
    assert {name: float(value) for name, value in loss.terms.items()} == {"one": 2.0, "other": 5.0}
    assert not any(value.requires_grad for value in loss.terms.values())
    assert (float(one.value.grad), float(other.value.grad)) == (0.25, 3)  # type: ignore[arg-type]
    objective.to(torch.device("meta"))
    assert one.device == other.device == torch.device("meta")


def test_a_term_without_weight_is_not_computed() -> None:
    objective = Objective([Weighted("one", 1, Constant(2.0)), Weighted("broken", 0, Constant(math.nan))])
    loss = objective(forward(torch.zeros(1, 2)))
    assert float(loss.total) == 2
    assert loss.terms == {}
    assert objective.names == ()


def test_a_single_term_with_another_weight_is_named() -> None:
    objective = Objective([Weighted("one", 0.5, Constant(2.0))])
    assert objective.names == ("one",)
    assert float(objective(forward(torch.zeros(1, 2))).terms["one"]) == 2


@pytest.mark.parametrize("terms", [[("one", 1.0), ("one", 2.0)], [("one", 0.0)], []])
def test_a_sum_that_is_none(terms: list[tuple[str, float]]) -> None:
    with pytest.raises(ValueError, match="loss terms"):
        Objective(Weighted(name, weight, Constant(1.0)) for name, weight in terms)
