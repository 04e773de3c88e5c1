"""Every rule keeps the contract, and rules that break it are caught."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed import is_initialized

from ternlab.quantizers.registry import RULES, RuleEntry
from ternlab.testing import QuantizerContract
from tests.quantizers import broken_rules

STABLE = {"surrogate": {"kind": "stable"}}


def ternary(weight: Tensor, unit: float) -> Tensor:
    """Return the weight with one positive and one negative value in place of its own, and zeros between."""
    return unit * ((weight > 0.4 * unit).to(weight.dtype) - 1.5 * (weight < -0.6 * unit).to(weight.dtype))


class TestTGA(QuantizerContract):
    rule = "tga"
    symmetric = False  # The published scale adds the mean of the weights.


class TestTGACentered(QuantizerContract):
    rule = "tga"
    options = {"scale": "centered"}


class TestTGAPlainGradient(QuantizerContract):
    rule = "tga"
    options = {"stats_grad": False, "gradient_correction": False, **STABLE}
    symmetric = False


class TestTGAExpanded(QuantizerContract):
    rule = "tga"
    options = {"rel.factors": [0.05, 0.1]}
    levels = 5
    symmetric = False


class TestSWS(QuantizerContract):
    rule = "sws"


class TestSWSFilter(QuantizerContract):
    rule = "sws"
    options = {"granularity": "filter", **STABLE}


class TestREL2(QuantizerContract):
    rule = "sws"
    options = {"rel.factors": [0.05, 0.1]}
    levels = 5


class TestREL4(QuantizerContract):
    rule = "sws"
    options = {"rel.factors": [0.05, 0.1, 0.15, 0.2]}
    levels = 9


class TestTWN(QuantizerContract):
    rule = "twn"
    options = {"factor": 0.7, "granularity": "layer"}


class TestTWNFilter(QuantizerContract):
    rule = "twn"
    options = {"factor": 0.75, "granularity": "filter"}


class TestTWNClipped(QuantizerContract):
    rule = "twn"
    options = {"surrogate": {"kind": "clipped", "bound": 0.1}}


class TestGiven(QuantizerContract):
    rule = "given"

    def draw(self, seed: int = 0, dtype: torch.dtype = torch.float32, shape: tuple[int, ...] = (6, 4, 3, 3)) -> Tensor:
        """Return weights of three values."""
        return ternary(super().draw(seed, dtype, shape), self.spread)


class TestGivenFilter(TestGiven):
    options = {"granularity": "filter", **STABLE}


class TestTTQ(QuantizerContract):
    rule = "ttq"


class TestTTQExpanded(QuantizerContract):
    rule = "ttq"
    options = {"rel.factors": [0.05, 0.3]}
    levels = 9  # Two scales in each of two summands.


class TestTTQFromOne(QuantizerContract):
    rule = "ttq"
    options = {"first_scale": "one"}
    equivariant = False  # Scales that start at 1 do not know the size of the weights.


class TestTTQFromMean(QuantizerContract):
    rule = "ttq"
    options = {"first_scale": "mean", **STABLE}


class TestBWN(QuantizerContract):
    rule = "bwn"
    levels = 2


class TestBWNLayer(QuantizerContract):
    rule = "bwn"
    options = {"granularity": "layer", **STABLE}
    levels = 2


class TestAbsmean(QuantizerContract):
    rule = "absmean"


class TestLSQ(QuantizerContract):
    rule = "lsq"


class TestLSQFilter(QuantizerContract):
    rule = "lsq"
    options = {"granularity": "filter", "surrogate.kind": "straight"}


class TestLSQ2(QuantizerContract):
    rule = "lsq"
    options = {"bits": 2}
    levels = 4
    symmetric = False  # Codes from -2 to 1.


class TestLSQ3(QuantizerContract):
    rule = "lsq"
    options = {"bits": 3, **STABLE}
    levels = 8
    symmetric = False


class TestLSQ4(QuantizerContract):
    rule = "lsq"
    options = {"bits": 4}
    levels = 16
    symmetric = False


class TestLSQ8(QuantizerContract):
    rule = "lsq"
    options = {"bits": 8}
    levels = 256
    symmetric = False


class TestSEQ(QuantizerContract):
    rule = "seq"


class TestSEQLayer(QuantizerContract):
    rule = "seq"
    options = {"granularity": "layer", **STABLE}


class TestUniform2(QuantizerContract):
    rule = "uniform"
    options = {"bits": 2, **STABLE}


class TestUniform4(QuantizerContract):
    rule = "uniform"
    options = {"bits": 4, "granularity": "filter"}
    levels = 15


class TestUniform8(QuantizerContract):
    rule = "uniform"
    options = {"bits": 8}
    levels = 255


def test_every_registered_rule_keeps_the_contract() -> None:
    assert {contract.rule for contract in QuantizerContract.__subclasses__()} >= set(RULES)


def breaking(monkeypatch: pytest.MonkeyPatch, name: str, **promises: Any) -> QuantizerContract:
    """Return the contract of a rule of `broken_rules`, registered for this test alone."""
    module = f"{broken_rules.__name__}:{name}"
    monkeypatch.setitem(RULES, "broken", RuleEntry(broken_rules.BrokenOptions, module))
    contract = QuantizerContract()
    for key, value in {"rule": "broken", **promises}.items():
        setattr(contract, key, value)
    return contract


def methods() -> list[str]:
    return [name for name in dir(QuantizerContract) if name.startswith("test_")]


@pytest.mark.parametrize("name", methods())
def test_the_rule_that_the_broken_ones_are_made_from_keeps_the_contract(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    getattr(breaking(monkeypatch, "Sound"), name)()


@pytest.mark.parametrize(
    ("name", "method", "message"),
    [
        ("WideCodes", "test_codes_are_int8", "int64, not int8"),
        ("FlatCodes", "test_codes_are_int8", "codes have the shape"),
        ("NarrowAlphabet", "test_codes_are_int8", "not all in range"),
        ("FourLevels", "test_at_most", "4 levels under one scale, but only 3 are declared"),
        ("ScaleOfEachWeight", "test_at_most", "levels under one scale"),
        ("MoreAbove", "test_negated", r"f\(-w\) differs from -f\(w\)"),
        ("FixedThreshold", "test_scaled", r"differs from 0.125 f\(w\)"),
        ("OtherForward", "test_forward", "forward differs from codes"),
        ("OnlyFloat32", "test_forward", "float32 from torch.float64 weights"),
        ("DropsTheGradient", "test_gradient", "gradient of the latent weight is 0 everywhere"),
        ("DetachedParameter", "test_gradient", "no gradient of raw"),
        ("InfiniteGradient", "test_gradient", "gradient of the latent weight is not finite"),
        ("RandomCodes", "test_two_passes", "a second pass changes"),
        ("Counting", "test_two_passes", "a second pass changes"),
        ("DividesByTheLargest", "test_weights_at_the_limits", r"\(all 0.0, torch.float32\) is not finite"),
        ("SquaresTheWeights", "test_weights_at_the_limits", r"\(all 1e\+30, torch.float32\) is not finite"),
        ("HidesWhatIsNoNumber", "test_weights_that_are_not", "a weight of nan gives finite effective weights"),
        ("NoScaleInStatistics", "test_statistics", r"statistics\(\) has no scale"),
        ("NotANumber", "test_statistics", "odd = nan"),
        ("ForgetsItsState", "test_state_dict", "loading the state changes the effective weight"),
        ("SharesItsParameter", "test_deep_copy", "changing a copy changes"),
        ("DetachedParameter", "test_data_parallel", "no gradient of parametrizations.weight.0.raw"),
        ("GradientKnowsProcesses", "test_data_parallel", "DDP changes the gradient of"),
        ("CastsUnderAutocast", "test_autocast", "bfloat16 under autocast"),
        ("MultipliesUnderAutocast", "test_autocast", "autocast changes (codes|the thresholds)"),
        ("ElseWhenTraced", "test_compiling", "compiling changes the effective weight"),
        ("KnowsLayers", "test_attached", "has a different weight"),
        ("SumsInTheDtype", "test_bfloat16", "thresholds differ from those of float32"),
        ("NarrowParameter", "test_bfloat16", "raw is torch.bfloat16, not float32"),
    ],
)
def test_a_broken_rule_is_caught_and_the_message_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, name: str, method: str, message: str
) -> None:
    (found,) = (test for test in methods() if test.startswith(method))
    with pytest.raises(AssertionError, match=message):
        getattr(breaking(monkeypatch, name), found)()
    assert not is_initialized(), "the process group is left open"


def test_every_method_of_the_contract_is_failed_by_a_broken_rule() -> None:
    (cases,) = (
        mark.args[1]
        for mark in test_a_broken_rule_is_caught_and_the_message_says_what_is_wrong.pytestmark  # type: ignore[attr-defined]
    )
    assert {test for test in methods() for case in cases if test.startswith(case[1])} == set(methods())


def test_a_rule_that_cannot_be_compiled_must_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    contract = breaking(monkeypatch, "ElseWhenTraced", compiles=False)
    with pytest.raises(AssertionError, match="compiles = False needs compiles_not_because"):
        contract.test_compiling_changes_neither_effective_weight_nor_gradients()
    contract.compiles_not_because = "it asks whether it is traced"
    contract.test_compiling_changes_neither_effective_weight_nor_gradients()
